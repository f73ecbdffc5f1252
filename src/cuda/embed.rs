//! Rows of the embedding table.

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::Mat;

/// Rows of a block.
const ROWS: usize = 8;

pub(super) fn embed<E: Float>(be: &Cuda<E>, table: &Mat<Cuda<E>>, ids: &Buffer<u32>) -> Mat<Cuda<E>> {
    let d = table.cols;
    let mut y = be.alloc(ids.len(), d, ids.live());
    let grid = Grid::of(ids.len().div_ceil(ROWS)).threads(WARP, ROWS);
    be.launch(Kernel::Embed, grid, args![table, ids, &mut y, d, ids.len(), ids.live()]);
    y
}
