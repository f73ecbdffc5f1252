//! One number, or one row, a segment.

use rayon::prelude::*;

use super::real::{dot, vectorised};
use super::rms_norm::norm_row;
use super::{Cpu, Real};
use crate::backend::{Mat, Pool, Scorer, Segments};

pub(super) fn score<T: Real>(
    x: &Mat<Cpu<T>>,
    rows: &Segments<Cpu<T>>,
    scorer: &Scorer<'_, Cpu<T>>,
    s: &mut Mat<Cpu<T>>,
) {
    let d = x.cols;
    assert_eq!((scorer.weight.rows, scorer.weight.cols), (1, d), "score: weight");
    s.buf.par_iter_mut().zip(rows.offsets.par_windows(2)).for_each(|(score, bounds)| {
        let segment = &x.buf[bounds[0] as usize * d..bounds[1] as usize * d];
        let mut pooled = vec![T::ZERO; d];
        match scorer.pool {
            Pool::First => pooled.copy_from_slice(segment.get(..d).unwrap_or(&vec![T::ZERO; d])),
            Pool::Mean => mean(segment, &mut pooled),
        }
        *score = vectorised(|| match scorer.norm {
            None => dot(&pooled, &scorer.weight.buf),
            Some(g) => {
                let mut normed = vec![T::ZERO; d];
                norm_row(&pooled, &g.buf, scorer.eps, &mut normed);
                dot(&normed, &scorer.weight.buf)
            }
        });
    });
}

pub(super) fn mean_pool<T: Real>(x: &Mat<Cpu<T>>, rows: &Segments<Cpu<T>>, y: &mut Mat<Cpu<T>>) {
    let d = x.cols;
    y.buf.par_chunks_mut(d).zip(rows.offsets.par_windows(2)).for_each(|(y, bounds)| {
        mean(&x.buf[bounds[0] as usize * d..bounds[1] as usize * d], y);
    });
}

/// The mean of a segment's rows, zeros of none.
fn mean<T: Real>(segment: &[T], y: &mut [T]) {
    y.fill(T::ZERO);
    if segment.is_empty() {
        return;
    }
    let scale = T::ONE / T::from_f64((segment.len() / y.len()) as f64);
    for row in segment.chunks_exact(y.len()) {
        for (y, &x) in y.iter_mut().zip(row) {
            *y += x;
        }
    }
    for y in y {
        *y *= scale;
    }
}
