//! Gradients of what moves rows about, dropout, and passes over whole matrices.

use glimmer::backend::{Backward, Element, Grad, Join, Noise, Pool, Scorer, ScorerGrad, Segments, Selection};

use crate::common::naive::{self, dot};
use crate::common::naive_bwd::{SLOPE_ERROR, slopes, sum};
use crate::common::{assert_close, round, tolerance};
use crate::harness::{grad, grad_values, ids, mat, normal, steady, values, wide};

/// Sizes on either side of those of a pass's tasks.
const LENGTHS_OF_PASSES: [(usize, usize); 5] = [(0, 3), (1, 1), (7, 33), (128, 128), (129, 257)];

pub fn passes<B: Backward>(be: &B) {
    for (rows, cols) in LENGTHS_OF_PASSES {
        let (x, y) = (normal(be, 0, (rows, cols), 1.0), normal(be, 1, (rows, cols), 1.0));
        assert_eq!(values(be, &be.zeros(rows, cols)), vec![0.0; rows * cols]);
        assert_eq!(values(be, &be.copy(&x.mat)), x.plain.data);
        let found = steady("add", || {
            let mut y = mat(be, &y.plain);
            be.add(&x.mat, &mut y);
            values(be, &y)
        });
        assert_eq!(found, x.plain.zip(&y.plain, |x, y| round::<B::Elem>(x + y)).data);
        let mut g = grad(be, &x.plain);
        let found = steady("square_sum", || be.square_sum(&[&g]).unwrap());
        assert_close("square_sum", &[found], &[dot(&x.plain.data, &x.plain.data)], tolerance::<f64>(rows * cols));
        be.clear(&mut g);
        assert_eq!(grad_values(be, &g), vec![0.0; rows * cols]);
    }
}

pub fn dropout<B: Backward>(be: &B) {
    let mut noise = Noise::new(0.2, 5);
    for (rows, cols) in [(0, 4), (1, 1), (3, 4), (17, 5), (2, 256), (40, 259), (3, 1030)] {
        let mask = noise.draw().unwrap();
        let x = normal(be, 0, (rows, cols), 1.0);
        let found = steady("dropout", || {
            let mut x = mat(be, &x.plain);
            be.dropout(&mut x, &mask);
            values(be, &x)
        });
        let kept = |i: usize| mask.kept((i / cols) as u64, (i % cols / 4) as u64)[i % cols % 4];
        let wanted = x.plain.data.iter().enumerate().map(|(i, x)| if kept(i) { x * mask.scale() } else { 0.0 });
        assert_close(
            &format!("dropout of [{rows}, {cols}]"),
            &found,
            &wanted.collect::<Vec<_>>(),
            tolerance::<B::Elem>(1),
        );
        assert_eq!((0..found.len()).position(|i| kept(i) != (found[i] != 0.0)), None, "the mask is exact");
    }
}

pub fn embed_bwd<B: Backward>(be: &B) {
    let start = normal(be, 0, (53, 20), 1.0).plain;
    for count in [0, 1, 7, 65, 700] {
        // Some ids occur often, others never.
        let ids: Vec<u32> = ids(1, count, 60).into_iter().map(|id| id.saturating_sub(9)).collect();
        let uploaded = be.upload(ids.clone());
        let dy = normal(be, 2, (count, 20), 1.0);
        let found = steady("embed_bwd", || {
            let mut dtable = grad(be, &start);
            be.embed_bwd(&dy.mat, &uploaded, &mut dtable);
            grad_values(be, &dtable)
        });
        let mut wanted = start.clone();
        for (&id, dy) in ids.iter().zip(dy.plain.rows()) {
            let row = &mut wanted.data[id as usize * 20..][..20];
            row.iter_mut().zip(dy).for_each(|(y, x)| *y += x);
        }
        assert_close(&format!("embed_bwd of {count}"), &found, &wanted.data, tolerance::<B::Wide>(count));
    }
}

/// Segments with none, one and many rows, in groups with none, one and several segments.
const LENGTHS: [usize; 9] = [3, 0, 1, 40, 0, 7, 1, 30, 2];
const GROUPS: [usize; 5] = [2, 0, 4, 1, 2];

pub fn gather_bwd<B: Backward>(be: &B) {
    let start = normal(be, 0, (LENGTHS.iter().sum(), 20), 1.0).plain;
    let rows = Segments::packed(be, LENGTHS);
    let choices: [(&[u32], &[usize]); 4] =
        [(&[], &[0, 0]), (&[7], &[1]), (&[1, 0, 2, 5, 4], &[2, 0, 3]), (&[8, 0, 1, 4, 3, 7, 2, 5, 6], &[9])];
    for (index, groups) in choices {
        let chosen = Selection { index: be.upload(index.to_vec()), groups: Segments::packed(be, groups.to_vec()) };
        let places: Vec<usize> = index.iter().flat_map(|&i| naive::ranges(&LENGTHS)[i as usize].clone()).collect();
        let dy = normal(be, 1, (places.len(), 20), 1.0);
        let found = steady("gather_bwd", || {
            let mut dx = mat(be, &start);
            be.gather_bwd(&dy.mat, &rows, &chosen, &mut dx);
            values(be, &dx)
        });
        let mut wanted = start.clone();
        for (place, dy) in places.into_iter().zip(dy.plain.rows()) {
            let row = &mut wanted.data[place * 20..][..20];
            row.iter_mut().zip(dy).for_each(|(y, x)| *y = round::<B::Elem>(*y + x));
        }
        assert_eq!(found, wanted.data, "gather_bwd {index:?}");
    }
}

pub fn join_bwd<B: Backward>(be: &B) {
    let asked = [2, 5, 1, 0, 9];
    let d = 3;
    let question = normal(be, 0, (asked.iter().sum(), d), 1.0);
    let passage = normal(be, 1, (LENGTHS.iter().sum(), d), 1.0);
    let (question_rows, passage_rows) = (Segments::packed(be, asked), Segments::packed(be, LENGTHS));
    let groups = Segments::packed(be, GROUPS);
    let join = || Join {
        question: &question.mat,
        question_rows: &question_rows,
        passage: &passage.mat,
        passage_rows: &passage_rows,
        groups: &groups,
    };
    let joined = naive::join((&question.plain, &asked), (&passage.plain, &LENGTHS), &GROUPS).0;
    let dy = normal(be, 2, (joined.count(), d), 1.0);
    let (dquestion, dpassage) = steady("join_bwd", || {
        let (dquestion, dpassage) = be.join_bwd(&dy.mat, &join());
        (values(be, &dquestion), values(be, &dpassage))
    });
    let bound = tolerance::<B::Elem>(4) + SLOPE_ERROR;
    let loss = |question: &naive::Matrix, passage: &naive::Matrix| {
        dot(&dy.plain.data, &naive::join((question, &asked), (passage, &LENGTHS), &GROUPS).0.data)
    };
    assert_close("join: dquestion", &dquestion, &slopes(&question.plain, |q| loss(q, &passage.plain)).data, bound);
    assert_close("join: dpassage", &dpassage, &slopes(&passage.plain, |p| loss(&question.plain, p)).data, bound);
}

pub fn score_bwd<B: Backward>(be: &B) {
    let lengths = [1, 7, 0, 31, 2, 0];
    for d in [1, 5, 33] {
        let rows = Segments::packed(be, lengths);
        let (x, ds) = (normal(be, 0, (lengths.iter().sum(), d), 1.0), normal(be, 1, (lengths.len(), 1), 1.0));
        let ds = wide(be, ds.plain.data);
        let [weight, norm, weight_start, norm_start] = [2, 3, 4, 5].map(|stream| normal(be, stream, (1, d), 1.0));
        let x_start = normal(be, 6, (lengths.iter().sum(), d), 1.0).plain;
        let eps = 0.3;
        for (pool, normed) in [(Pool::First, false), (Pool::First, true), (Pool::Mean, false), (Pool::Mean, true)] {
            let what = format!("score_bwd by {pool:?}, norm {normed}, of width {d}");
            let [dx, dweight, dnorm] = steady(&what, || {
                let mut dx = mat(be, &x_start);
                let (mut dweight, mut dnorm) = (grad(be, &weight_start.plain), grad(be, &norm_start.plain));
                let scorer = Scorer { weight: &weight.mat, norm: normed.then_some(&norm.mat), prior: None, pool, eps };
                let dscorer = ScorerGrad { weight: &mut dweight, norm: normed.then_some(&mut dnorm) };
                be.score_bwd(&ds.buf, (&x.mat, &rows, scorer), dscorer, &mut dx);
                [values(be, &dx), grad_values(be, &dweight), grad_values(be, &dnorm)]
            });
            let loss = |x: &naive::Matrix, weight: &naive::Matrix, norm: &naive::Matrix| {
                let norm = normed.then_some((&norm.data[..], eps));
                dot(&ds.plain.data, &naive::score(x, &lengths, &weight.data, pool, norm))
            };
            let bound = tolerance::<B::Elem>(d + 31) + SLOPE_ERROR;
            let by_x = slopes(&x.plain, |x| loss(x, &weight.plain, &norm.plain));
            assert_close(&format!("{what}: dx"), &dx, &sum(&x_start, &by_x).data, bound);
            let by_weight = slopes(&weight.plain, |weight| loss(&x.plain, weight, &norm.plain));
            assert_close(&format!("{what}: dweight"), &dweight, &sum(&weight_start.plain, &by_weight).data, bound);
            let by_norm = slopes(&norm.plain, |norm| loss(&x.plain, &weight.plain, norm));
            assert_close(&format!("{what}: dnorm"), &dnorm, &sum(&norm_start.plain, &by_norm).data, bound);
        }
    }
}

/// A grown gradient does not lose what is small beside it.
pub fn square_sum_of_many<B: Backward>(be: &B) {
    let n = 300_000;
    let g = Grad { rows: n, cols: 1, buf: be.upload(vec![B::Wide::from_f64(1.0 / 3.0); n]) };
    let third = B::Wide::from_f64(1.0 / 3.0).to_f64();
    let wanted = third * third * n as f64;
    assert_close("square_sum", &[be.square_sum(&[&g]).unwrap()], &[wanted], 1e-10);
    let few = Grad { rows: 1, cols: 5, buf: be.upload(vec![B::Wide::from_f64(2.0); 5]) };
    let none = Grad { rows: 0, cols: 5, buf: be.upload(Vec::new()) };
    let found = [be.square_sum(&[&few, &g, &none, &few, &g]).unwrap(), be.square_sum(&[&none]).unwrap()];
    assert_close("square_sum of several", &found, &[2.0 * wanted + 40.0, 0.0], 1e-10);
    assert_eq!(be.square_sum(&[]).unwrap(), 0.0);
}
