//! Backward through the compaction of chosen segments.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Cuda, Float};
use crate::backend::{Mat, Segments, Selection};

const THREADS: usize = 256;
/// Rows of a block; `kernels/gather_bwd.cu` has the same.
const ROWS: usize = 32;

/// Adds the rows of `dy` to those of `dx` that they were gathered from.
pub(super) fn gather_bwd<E: Float>(
    be: &Cuda<E>,
    dy: &Mat<Cuda<E>>,
    rows: &Segments<Cuda<E>>,
    chosen: &Selection<Cuda<E>>,
    dx: &mut Mat<Cuda<E>>,
) {
    let (d, index) = (dx.cols, &chosen.index);
    assert_eq!(dy.cols, d, "gather_bwd: dy and dx");
    let chunks = rows.longest.div_ceil(ROWS);
    let grid = Grid::of(index.len() * chunks).threads(THREADS, 1);
    be.launch(Kernel::GatherBwd, grid, args![dy, &rows.offsets, index, dx, d, chunks, index.len(), index.live()]);
}
