//! One number, or one row, a segment.

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Mat, Pool, Scorer, Segments};

/// Threads of a block that adds up rows; `kernels/pool.cuh` has the same.
const THREADS: usize = 512;
/// Threads of a block that has one row; `kernels/score.cu` has the same.
const FIRST_THREADS: usize = 128;

pub(super) fn score<E: Float>(
    be: &Cuda<E>,
    x: &Mat<Cuda<E>>,
    rows: &Segments<Cuda<E>>,
    scorer: &Scorer<'_, Cuda<E>>,
) -> Buffer<f32> {
    let d = x.cols;
    assert_eq!((scorer.weight.rows, scorer.weight.cols), (1, d), "score: weight");
    if let Some(norm) = scorer.norm {
        assert_eq!((norm.rows, norm.cols), (1, d), "score: scale of the norm");
    }
    if let Some(prior) = scorer.prior {
        assert_eq!(prior.len(), rows.count, "score: one prior a segment");
    }
    let mut s = be.buffer(rows.count);
    let (kernel, threads) = match scorer.pool {
        Pool::First => (Kernel::ScoreFirst, FIRST_THREADS),
        Pool::Mean => (Kernel::ScoreMean, THREADS),
    };
    let grid = Grid::of(rows.count).threads(threads, 1);
    let eps = scorer.eps as f32;
    be.launch(kernel, grid, args![x, &rows.offsets, scorer.weight, scorer.norm, scorer.prior, &mut s, d, eps]);
    s
}

pub(super) fn mean_pool<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, rows: &Segments<Cuda<E>>) -> Mat<Cuda<E>> {
    let d = x.cols;
    let mut y = be.alloc(rows.count, d, None);
    let packs = if d.is_multiple_of(E::PACK) { d / E::PACK } else { d };
    let chunks = packs.div_ceil(WARP);
    let grid = Grid::of(rows.count * chunks).threads(THREADS, 1);
    be.launch(Kernel::MeanPool, grid, args![x, &rows.offsets, &mut y, d, chunks]);
    y
}
