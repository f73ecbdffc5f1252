//! The second half of sums over many rows: what blocks made parts of, added up in one order.

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};

/// `y[c] += Σ_r parts[r, c]`. `parts [rows, cols]`, `y [cols]`.
pub(super) fn sum_rows<E: Float>(be: &Cuda<E>, parts: &Buffer<f32>, rows: usize, y: &mut Buffer<f32>) {
    /// Warps of a block; `kernels/sum_rows.cu` has the same.
    const WARPS: usize = 8;
    let cols = y.len();
    assert_eq!(parts.len(), rows * cols, "sum_rows: parts");
    if rows > 0 {
        let grid = Grid::of(cols.div_ceil(WARP)).threads(WARPS * WARP, 1);
        be.launch(Kernel::SumRows, grid, args![parts, y, rows, cols]);
    }
}
