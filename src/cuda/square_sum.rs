//! The sum of squares of gradients.

use anyhow::Result;

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Cuda, Float};
use crate::backend::{Backend, Grad};

/// Numbers of a block, and its threads; `kernels/square_sum.cu` has the same.
const CHUNK: usize = 16_384;
const THREADS: usize = 256;

/// `Σ g²` in 64 bits: of every block on the device, and then, over the blocks of all gradients, here.
pub(super) fn square_sum<E: Float>(be: &Cuda<E>, grads: &[&Grad<Cuda<E>>]) -> Result<f64> {
    let blocks = |grad: &Grad<Cuda<E>>| grad.buf.len().div_ceil(CHUNK);
    let mut parts = be.buffer::<f64>(grads.iter().map(|grad| blocks(grad)).sum());
    let mut first = 0;
    for grad in grads {
        let grid = Grid::of(blocks(grad)).threads(THREADS, 1);
        be.launch(Kernel::SquareSum, grid, args![&grad.buf, &mut parts, first, grad.buf.len()]);
        first += blocks(grad);
    }
    Ok(be.download(&parts)?.iter().sum())
}
