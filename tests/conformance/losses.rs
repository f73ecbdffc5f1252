//! The losses and their gradients.

use glimmer::backend::{AnswerLogProb, Backward, Distill, DistillDirection, Segments};
use glimmer::train::distill_loss;

use crate::common::naive::{self, Matrix, ranges, softmax};
use crate::common::naive_bwd::{SLOPE_ERROR, slopes};
use crate::common::{assert_close, assert_rows_close, tolerance};
use crate::harness::{Wide, ids, mat, normal, operand, steady, values, wide, wide_values};

/// Log-probabilities and the gradient.
fn found<B: Backward>(be: &B, logits: &Matrix, targets: &[u32], scale: f64) -> (Vec<f64>, Vec<f64>) {
    let uploaded = be.upload(targets.to_vec());
    steady("cross_entropy", || {
        let (log_probs, dlogits) = be.cross_entropy(mat(be, logits), &uploaded, scale);
        (wide_values(be, &log_probs), values(be, &dlogits))
    })
}

pub fn cross_entropy<B: Backward>(be: &B) {
    for (rows, v) in [(0, 5), (1, 1), (1, 5000), (7, 53), (40, 33), (129, 257)] {
        let logits = normal(be, 0, (rows, v), 3.0).plain;
        let targets = ids(1, rows, v);
        let what = format!("cross_entropy of [{rows}, {v}]");
        let (log_probs, dlogits) = found(be, &logits, &targets, 0.3);
        let pairs = || logits.rows().zip(&targets);
        let wanted: Vec<f64> = pairs().map(|(row, &target)| naive::log_softmax(row)[target as usize]).collect();
        assert_close(&what, &log_probs, &wanted, tolerance::<B::Elem>(1));
        let gradient = pairs().flat_map(|(row, &target)| {
            let hit = move |i| if i == target as usize { 1.0 } else { 0.0 };
            softmax(row).into_iter().enumerate().map(move |(i, p)| 0.3 * (p - hit(i)))
        });
        let wanted = Matrix { cols: v, data: gradient.collect() };
        // Logits of ten units, whose error the exponential magnifies.
        assert_rows_close(&what, &dlogits, &wanted, tolerance::<B::Elem>(100));
        if v == 53 {
            let loss = |logits: &Matrix| -> f64 {
                let rows = logits.rows().zip(&targets);
                rows.map(|(row, &target)| -0.3 * naive::log_softmax(row)[target as usize]).sum()
            };
            assert_close(&what, &wanted.data, &slopes(&logits, loss).data, SLOPE_ERROR);
        }
    }
}

pub fn cross_entropy_of_far_logits<B: Backward>(be: &B) {
    let logits = operand(be, 3, vec![1e4, 0.0, -1e4, -1e15, 1e15, 0.0, 1e-20, 1e-20, -1e4]).plain;
    let (log_probs, dlogits) = found(be, &logits, &[2, 1, 0], 1.0);
    let wanted = [naive::log_softmax(logits.row(0))[2], 0.0, -(2f64.ln())];
    assert_close("log-probabilities of far logits", &log_probs, &wanted, tolerance::<B::Elem>(1));
    let wanted = [1.0, 0.0, -1.0, 0.0, 0.0, 0.0, -0.5, 0.5, 0.0];
    assert_close("gradient of far logits", &dlogits, &wanted, tolerance::<B::Elem>(1));
}

const ANSWERS: [usize; 10] = [3, 3, 3, 1, 7, 7, 2, 0, 4, 4];
const GROUPS: [usize; 5] = [3, 0, 1, 2, 4];

struct Case<B: Backward> {
    scores: Wide<B>,
    log_probs: Wide<B>,
    temperature: f64,
    direction: DistillDirection,
    answer: AnswerLogProb,
}

impl<B: Backward> Case<B> {
    /// Losses and the gradient of 0.7 times their sum.
    fn found(&self, be: &B) -> (Vec<f64>, Vec<f64>) {
        let (answers, groups) = (Segments::packed(be, ANSWERS), Segments::packed(be, GROUPS));
        steady("distill", || {
            let (losses, dscores) = be.distill(Distill {
                scores: &self.scores.buf,
                log_probs: &self.log_probs.buf,
                answers: &answers,
                groups: &groups,
                temperature: self.temperature,
                direction: self.direction,
                answer: self.answer,
                scale: 0.7,
            });
            (wide_values(be, &losses), wide_values(be, &dscores))
        })
    }

    fn wanted(&self, scores: &Matrix) -> Vec<f64> {
        let answer = |tokens: std::ops::Range<usize>| {
            let sum: f64 = self.log_probs.plain.data[tokens.clone()].iter().sum();
            if self.answer == AnswerLogProb::Mean { sum / tokens.len().max(1) as f64 } else { sum }
        };
        let answers: Vec<f64> = ranges(&ANSWERS).into_iter().map(answer).collect();
        let group = |group: std::ops::Range<usize>| {
            distill_loss(&scores.data[group.clone()], &answers[group], self.temperature, self.direction)
        };
        ranges(&GROUPS).into_iter().map(group).collect()
    }
}

pub fn distill<B: Backward>(be: &B) {
    for direction in [DistillDirection::LmRank, DistillDirection::RankLm] {
        for answer in [AnswerLogProb::Sum, AnswerLogProb::Mean] {
            for temperature in [1.0, 0.3] {
                let scores = wide(be, normal(be, 0, (ANSWERS.len(), 1), 1.0).plain.data);
                let log_probs = normal(be, 1, (ANSWERS.iter().sum(), 1), 1.0).plain.map(|x| -x.abs());
                let log_probs = wide(be, log_probs.data);
                let case = Case { scores, log_probs, temperature, direction, answer };
                let (losses, dscores) = case.found(be);
                let what = format!("distill {direction:?} {answer:?} at {temperature}");
                let bound = tolerance::<B::Wide>(10);
                assert_close(&what, &losses, &case.wanted(&case.scores.plain), bound);
                let wanted = slopes(&case.scores.plain, |s| 0.7 * case.wanted(s).iter().sum::<f64>());
                assert_close(&what, &dscores, &wanted.data, bound + 100.0 * SLOPE_ERROR);
            }
        }
    }
}

/// Distributions that agree, as far as the machine's numbers can: no divergence, and nothing to learn.
pub fn distill_of_equal_distributions<B: Backward>(be: &B) {
    for direction in [DistillDirection::LmRank, DistillDirection::RankLm] {
        // Sums of the answers' tokens are 4 below the scores, exactly; the empty answer's is 0.
        let scores: Vec<f64> = (0..ANSWERS.len()).map(|i| if ANSWERS[i] == 0 { 4.0 } else { i as f64 }).collect();
        let tokens = ANSWERS
            .iter()
            .zip(&scores)
            .flat_map(|(&count, score)| (0..count).map(move |t| if t == 0 { score - 4.0 } else { 0.0 }));
        let log_probs = wide(be, tokens.collect());
        let scores = wide(be, scores);
        let case = Case { scores, log_probs, temperature: 2.0, direction, answer: AnswerLogProb::Sum };
        let (losses, dscores) = case.found(be);
        let largest = losses.iter().chain(&dscores).fold(0.0, |m: f64, x| m.max(x.abs()));
        assert!(largest <= 1e-15, "{largest:e}");
    }
}

/// Where probabilities vanish, gradients are still numbers.
pub fn distill_of_far_scores<B: Backward>(be: &B) {
    for direction in [DistillDirection::LmRank, DistillDirection::RankLm] {
        let scores = wide(be, (0..ANSWERS.len()).map(|i| 1e4 * i as f64).collect());
        let log_probs = wide(be, (0..ANSWERS.iter().sum()).map(|i| -1e3 * i as f64).collect());
        let case = Case { scores, log_probs, temperature: 0.1, direction, answer: AnswerLogProb::Sum };
        let (losses, dscores) = case.found(be);
        assert_close("far scores", &losses, &case.wanted(&case.scores.plain), tolerance::<B::Wide>(10));
        assert!(dscores.iter().all(|x| x.is_finite()), "{dscores:?}");
    }
}
