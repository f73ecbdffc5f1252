//! From segments to scores, and from scores to the best.

use glimmer::backend::{Backend, Pool, Scorer, Segments};

use crate::common::{assert_close, assert_rows_close, naive, tolerance};
use crate::harness::{normal, steady, values, wide, wide_values};

const LENGTHS: [usize; 8] = [1, 7, 0, 300, 2, 31, 0, 700];

pub fn score<B: Backend>(be: &B) {
    for d in [1, 20, 65, 512] {
        let x = normal(be, 0, (LENGTHS.iter().sum(), d), 3.0);
        let rows = Segments::packed(be, LENGTHS);
        let [weight, scale] = [1, 2].map(|stream| normal(be, stream, (1, d), 1.0));
        let prior = wide(be, (0..LENGTHS.len()).map(|i| 0.5 - i as f64).collect());
        for (pool, normed) in [(Pool::First, false), (Pool::First, true), (Pool::Mean, false), (Pool::Mean, true)] {
            let what = format!("score by {pool:?}, norm {normed}, of width {d}");
            let found = steady(&what, || {
                let norm = normed.then_some(&scale.mat);
                let scorer = |prior| Scorer { weight: &weight.mat, norm, prior, pool, eps: 1e-6 };
                let scores = wide_values(be, &be.score(&x.mat, &rows, scorer(None)));
                [scores, wide_values(be, &be.score(&x.mat, &rows, scorer(Some(&prior.buf))))].concat()
            });
            let (found, with_prior) = found.split_at(LENGTHS.len());
            let norm = normed.then_some((&scale.plain.data[..], 1e-6));
            let wanted = naive::score(&x.plain, &LENGTHS, &weight.plain.data, pool, norm);
            assert_close(&what, found, &wanted, tolerance::<B::Wide>(d + 700));
            assert_eq!([found[2], found[6]], [0.0; 2], "{what}: segments without rows");
            let wanted: Vec<f64> = wanted.iter().zip(&prior.plain.data).map(|(score, prior)| score + prior).collect();
            assert_close(&format!("{what}, with priors"), with_prior, &wanted, tolerance::<B::Wide>(d + 700));
        }
    }
}

pub fn mean_pool<B: Backend>(be: &B) {
    for d in [1, 20, 65, 512] {
        let x = normal(be, 0, (LENGTHS.iter().sum(), d), 3.0);
        let rows = Segments::packed(be, LENGTHS);
        let found = steady("mean_pool", || values(be, &be.mean_pool(&x.mat, &rows)));
        let wanted = naive::mean_pool(&x.plain, &LENGTHS);
        assert_rows_close(&format!("mean_pool of width {d}"), &found, &wanted, tolerance::<B::Elem>(700));
    }
}

/// The chosen, group by group.
fn chosen<B: Backend>(be: &B, scores: &[f64], groups: &[usize], m: usize) -> Vec<Vec<u32>> {
    let scores = wide(be, scores.to_vec());
    let groups = Segments::packed(be, groups.to_vec());
    let (index, offsets) = steady("top_m", || {
        let selection = be.top_m(&scores.buf, &groups, m);
        (be.download(&selection.index).unwrap(), be.download(&selection.groups.offsets).unwrap())
    });
    offsets.windows(2).map(|w| index[w[0] as usize..w[1] as usize].to_vec()).collect()
}

pub fn top_m<B: Backend>(be: &B) {
    let groups = [25, 0, 1, 5, 100, 4];
    let scores = normal(be, 0, (groups.iter().sum(), 1), 2.0).plain.data;
    for m in [1, 4, 5, 25, 1000] {
        assert_eq!(chosen(be, &scores, &groups, m), naive::top_m(&scores, &groups, m), "the {m} best");
    }
}

pub fn top_m_of_ties_and_not_a_number<B: Backend>(be: &B) {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let cases: [(&[f64], &[u32]); 6] = [
        (&[0.0; 5], &[0, 1, 2, 3, 4]),
        (&[1.0, 2.0, 1.0, 2.0, 2.0], &[1, 3, 4, 0, 2]),
        (&[nan, 1.0, nan, -inf, inf], &[4, 1, 3, 0, 2]),
        (&[nan, nan], &[0, 1]),
        (&[-0.0, 0.0, -0.0], &[0, 1, 2]),
        (&[1e15, -1e15, 1e-20, 2e-20], &[0, 3, 2, 1]),
    ];
    for (scores, best) in cases {
        for m in 1..=best.len() + 1 {
            let wanted = best[..m.min(best.len())].to_vec();
            assert_eq!(chosen(be, scores, &[scores.len()], m), [wanted], "the {m} best of {scores:?}");
        }
    }
}
