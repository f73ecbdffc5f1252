//! From the decoder's rows to tokens and their log-probabilities.

use glimmer::backend::{Backend, Mat, Prediction};

use crate::common::{assert_close, naive, tolerance};
use crate::harness::{ids, normal, operand, steady, widened};

/// Tokens and log-probabilities.
pub fn predicted<B: Backend>(be: &B, x: &Mat<B>, head: &Mat<B>) -> (Vec<u32>, Vec<f64>) {
    let mut found = Prediction::certain(be, vec![u32::MAX; x.rows]);
    be.predict(x, head, &mut found);
    (be.download(&found.token).unwrap(), widened(be.download(&found.log_prob).unwrap()))
}

pub fn predict<B: Backend>(be: &B) {
    let sizes = [(1, 20, 53), (1, 128, 5000), (7, 65, 33), (8, 64, 257), (9, 20, 53), (40, 33, 1000), (150, 40, 300)];
    for (rows, d, v) in sizes {
        let x = normal(be, 0, (rows, d), 1.0);
        let head = normal(be, 1, (v, d), (d as f64).powf(-0.5));
        let what = format!("predict {rows} rows of {v}");
        let (tokens, log_probs) = steady(&what, || predicted(be, &x.mat, &head.mat));
        let logits = naive::linear(&x.plain, &head.plain);
        let best: Vec<usize> = logits.rows().map(naive::argmax).collect();
        assert_eq!(tokens, best.iter().map(|&t| t as u32).collect::<Vec<_>>(), "{what}");
        let wanted: Vec<f64> = logits.rows().zip(best).map(|(row, best)| naive::log_softmax(row)[best]).collect();
        assert_close(&what, &log_probs, &wanted, tolerance::<B::Elem>(d));
    }
}

/// Small whole numbers, so that every machine's sums are exact and equal logits equal.
pub fn predict_resolves_ties_to_the_lowest<B: Backend>(be: &B) {
    for (rows, d) in [(1, 3), (20, 3), (1, 8), (20, 8)] {
        let padded = |row: [f64; 3]| row.into_iter().chain([0.0; 5]).take(d);
        let x = operand(be, d, (0..rows).flat_map(|_| padded([1.0, 2.0, 3.0])).collect());
        for (first, v) in [(0, 1), (0, 130), (1, 2), (31, 40), (64, 130), (129, 130)] {
            let weight = |i| if i < first { 1.0 } else { 2.0 };
            let head = operand(be, d, (0..v).flat_map(|i| padded([0.0, 0.0, weight(i)])).collect());
            let (tokens, log_probs) = steady("predict ties", || predicted(be, &x.mat, &head.mat));
            assert_eq!(tokens, vec![first as u32; rows], "{first} of {v}");
            let mass = (v - first) as f64 + first as f64 * (-3f64).exp();
            // Of one token alone it is 0, exactly.
            assert_close("predict ties", &log_probs, &vec![-mass.ln(); rows], tolerance::<B::Elem>(v));
        }
    }
}

/// A token is named, and its probability says that something is wrong.
pub fn predict_survives_not_a_number<B: Backend>(be: &B) {
    for (rows, d) in [(2, 1), (2, 8), (20, 8)] {
        let padded = |x: f64| [x].into_iter().chain([0.0; 7]).take(d);
        let x = operand(be, d, [1.0, f64::NAN].into_iter().cycle().take(rows).flat_map(padded).collect());
        let head = operand(be, d, [1.0, 3.0, 2.0].into_iter().flat_map(padded).collect());
        let (tokens, log_probs) = predicted(be, &x.mat, &head.mat);
        for (tokens, log_probs) in tokens.chunks(2).zip(log_probs.chunks(2)) {
            assert_eq!(tokens[0], 1);
            assert!(tokens[1] < 3, "no token: {}", tokens[1]);
            assert!(log_probs[0].is_finite() && log_probs[1].is_nan());
        }
    }
}

pub fn log_prob<B: Backend>(be: &B) {
    for (rows, v) in [(0, 5), (1, 1), (1, 5000), (7, 53), (40, 33), (129, 257)] {
        let logits = normal(be, 0, (rows, v), 3.0);
        let targets = ids(1, rows, v);
        let uploaded = be.upload(targets.clone());
        let what = format!("log_prob of [{rows}, {v}]");
        let found = steady(&what, || widened(be.download(&be.log_prob(&logits.mat, &uploaded)).unwrap()));
        let rows = logits.plain.rows().zip(&targets);
        let wanted: Vec<f64> = rows.map(|(row, &target)| naive::log_softmax(row)[target as usize]).collect();
        assert_close(&what, &found, &wanted, tolerance::<B::Elem>(1));
    }
}

pub fn log_prob_of_far_logits<B: Backend>(be: &B) {
    let logits = operand(be, 3, vec![1e4, 0.0, -1e4, -1e15, 1e15, 0.0, 1e-20, 1e-20, -1e4]);
    let found = widened(be.download(&be.log_prob(&logits.mat, &be.upload(vec![2, 0, 1]))).unwrap());
    for (row, (found, target)) in found.into_iter().zip([2, 0, 1]).enumerate() {
        let wanted = naive::log_softmax(logits.plain.row(row))[target];
        assert_close("log_prob of far logits", &[found], &[wanted], tolerance::<B::Elem>(1));
    }
}
