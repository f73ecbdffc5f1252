//! The sum of squares of a gradient.

use anyhow::Result;

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Cuda, Float};
use crate::backend::{Backend, Grad};

/// Numbers of a block, and its threads; `kernels/square_sum.cu` has the same.
const CHUNK: usize = 16_384;
const THREADS: usize = 256;

/// `Σ g²` in 64 bits: of every block on the device, and then over the blocks here.
pub(super) fn square_sum<E: Float>(be: &Cuda<E>, grad: &Grad<Cuda<E>>) -> Result<f64> {
    let len = grad.buf.len();
    let blocks = len.div_ceil(CHUNK);
    let mut parts = be.buffer::<f64>(blocks);
    be.launch(Kernel::SquareSum, Grid::of(blocks).threads(THREADS, 1), args![&grad.buf, &mut parts, len]);
    Ok(be.download(&parts)?.iter().sum())
}
