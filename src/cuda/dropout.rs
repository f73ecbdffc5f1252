//! Dropout whose mask is drawn from its place.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Cuda, Float};
use crate::backend::{Dropout, Mat};

/// Threads of a block, each of which has the columns of one random word; `kernels/flat.cuh` has the same.
const THREADS: usize = 256;

/// `x = mask ⊙ x · scale`.
pub(super) fn dropout<E: Float>(be: &Cuda<E>, x: &mut Mat<Cuda<E>>, mask: &Dropout) {
    let (rows, cols) = (x.rows, x.cols);
    let grid = Grid::of((rows * cols.div_ceil(4)).div_ceil(THREADS)).threads(THREADS, 1);
    let (stream, scale) = (mask.stream.state(), mask.scale() as f32);
    be.launch(Kernel::Dropout, grid, args![&*x, stream, usize::from(mask.threshold), scale, cols, rows, x.buf.live()]);
}
