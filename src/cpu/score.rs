//! One number, or one row, a segment.

use rayon::prelude::*;

use super::elementwise::add_slice;
use super::gather::split;
use super::real::{dot, vectorised};
use super::rms_norm::{norm_row, norm_row_bwd};
use super::{Cpu, Real};
use crate::backend::{Mat, Pool, Scorer, ScorerGrad, Segments};

pub(super) fn score<T: Real>(x: &Mat<Cpu<T>>, rows: &Segments<Cpu<T>>, scorer: &Scorer<'_, Cpu<T>>, s: &mut [T]) {
    let d = x.cols;
    assert_eq!((scorer.weight.rows, scorer.weight.cols), (1, d), "score: weight");
    if let Some(prior) = scorer.prior {
        assert_eq!(prior.len(), s.len(), "score: one prior a segment");
    }
    s.par_iter_mut().zip(rows.offsets.par_windows(2)).enumerate().for_each(|(segment, (score, bounds))| {
        let pooled = pool(&x.buf[bounds[0] as usize * d..bounds[1] as usize * d], d, scorer.pool);
        *score = vectorised!(match scorer.norm {
            None => dot(&pooled, &scorer.weight.buf),
            Some(g) => {
                let mut normed = vec![T::ZERO; d];
                norm_row(&pooled, &g.buf, scorer.eps, &mut normed);
                dot(&normed, &scorer.weight.buf)
            }
        });
        *score += scorer.prior.map_or(T::ZERO, |prior| prior[segment]);
    });
}

/// A segment as one row, zeros where it has none.
fn pool<T: Real>(segment: &[T], d: usize, pool: Pool) -> Vec<T> {
    let mut pooled = vec![T::ZERO; d];
    match pool {
        Pool::First if segment.is_empty() => {}
        Pool::First => pooled.copy_from_slice(&segment[..d]),
        Pool::Mean => mean(segment, &mut pooled),
    }
    pooled
}

/// What one segment's score adds to the gradients of the scorer.
struct Share<T> {
    weight: Vec<T>,
    norm: Vec<T>,
}

/// The operands of `score`.
pub(super) type Scored<'a, T> = (&'a Mat<Cpu<T>>, &'a Segments<Cpu<T>>, Scorer<'a, Cpu<T>>);

pub(super) fn score_bwd<T: Real>(
    ds: &[T],
    scored: Scored<'_, T>,
    dscorer: ScorerGrad<'_, Cpu<T>>,
    dx: &mut Mat<Cpu<T>>,
) {
    let (x, rows, scorer) = scored;
    let d = x.cols;
    assert_eq!(ds.len(), rows.count, "score_bwd: one gradient a segment");
    assert_eq!((dx.rows, dx.cols), (x.rows, d), "score_bwd: dx and x");
    assert_eq!(scorer.norm.is_some(), dscorer.norm.is_some(), "score_bwd: a norm and its gradient");
    let places = split(&mut dx.buf, &rows.offsets, d);
    let segments = places.into_par_iter().zip(rows.offsets.par_windows(2)).zip(ds);
    let shares: Vec<Share<T>> = segments
        .map(|((dx, bounds), &ds)| {
            let segment = &x.buf[bounds[0] as usize * d..bounds[1] as usize * d];
            vectorised!(segment_bwd(ds, segment, &scorer, dx))
        })
        .collect();
    for share in &shares {
        add_slice(&share.weight, &mut dscorer.weight.buf);
    }
    if let Some(dnorm) = dscorer.norm {
        shares.iter().for_each(|share| add_slice(&share.norm, &mut dnorm.buf));
    }
}

#[inline(always)]
fn segment_bwd<T: Real>(ds: T, segment: &[T], scorer: &Scorer<'_, Cpu<T>>, dx: &mut [T]) -> Share<T> {
    let weight = &scorer.weight.buf;
    let d = weight.len();
    let pooled = pool(segment, d, scorer.pool);
    let mut share = Share { weight: pooled.clone(), norm: vec![T::ZERO; d] };
    let mut dpooled: Vec<T> = weight.iter().map(|&w| ds * w).collect();
    if let Some(g) = scorer.norm {
        norm_row(&pooled, &g.buf, scorer.eps, &mut share.weight);
        let dnormed = std::mem::replace(&mut dpooled, vec![T::ZERO; d]);
        norm_row_bwd(&dnormed, (&pooled, &g.buf, scorer.eps), &mut share.norm, &mut dpooled);
    }
    for w in &mut share.weight {
        *w *= ds;
    }
    match scorer.pool {
        // Of a segment without rows, none.
        Pool::First => add_slice(&dpooled, dx),
        Pool::Mean => {
            let scale = T::ONE / T::from_f64((segment.len() / d).max(1) as f64);
            dpooled.iter_mut().for_each(|x| *x *= scale);
            dx.chunks_exact_mut(d).for_each(|dx| add_slice(&dpooled, dx));
        }
    }
    share
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
