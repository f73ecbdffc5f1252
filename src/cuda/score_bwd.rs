//! Backward through the scorer.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Mat, Pool, Scorer, ScorerGrad, Segments};

/// Threads of a block that adds up rows; `kernels/pool.cuh` has the same.
const THREADS: usize = 512;
/// Threads of a block that adds up segments; `kernels/score_bwd.cu` has the same.
const SUM_THREADS: usize = 128;

/// The operands of `score`.
type Scored<'a, E> = (&'a Mat<Cuda<E>>, &'a Segments<Cuda<E>>, Scorer<'a, Cuda<E>>);

pub(super) fn score_bwd<E: Float>(
    be: &Cuda<E>,
    ds: &Buffer<f32>,
    (x, rows, scorer): Scored<'_, E>,
    dscorer: ScorerGrad<'_, Cuda<E>>,
    dx: &mut Mat<Cuda<E>>,
) {
    let (segments, d) = (rows.count, x.cols);
    assert_eq!(ds.len(), segments, "score_bwd: one gradient a segment");
    assert_eq!((dx.rows, dx.cols), (x.rows, d), "score_bwd: dx and x");
    assert_eq!((scorer.weight.rows, scorer.weight.cols), (1, d), "score_bwd: weight");
    assert_eq!((dscorer.weight.rows, dscorer.weight.cols), (1, d), "score_bwd: gradient of the weight");
    assert_eq!(scorer.norm.is_some(), dscorer.norm.is_some(), "score_bwd: a norm and its gradient");
    // Rows of a segment that are pooled, at most.
    let most = match scorer.pool {
        Pool::First => 1,
        Pool::Mean => rows.longest,
    };
    let mut shares: Buffer<f32> = be.buffer(segments * d);
    let grid = Grid::of(segments).threads(THREADS, 1).shared(d * size_of::<f32>());
    let args = args![x, &rows.offsets, ds, scorer.weight, scorer.norm, dx, &mut shares, d, scorer.eps as f32, most];
    be.launch(Kernel::ScoreBwd, grid, args);
    let dnorm = dscorer.norm.map(|dnorm| &dnorm.buf);
    let grid = Grid::of(d.div_ceil(SUM_THREADS)).threads(SUM_THREADS, 1);
    let args = args![&shares, scorer.weight, scorer.norm, &mut dscorer.weight.buf, dnorm, segments, d];
    be.launch(Kernel::ScoreBwdSums, grid, args);
}
