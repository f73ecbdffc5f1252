//! Cross-entropy with its gradient, in the memory of the logits.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Buffer, Cuda, Float};
use crate::backend::Mat;

const THREADS: usize = 512;

pub(super) fn cross_entropy<E: Float>(
    be: &Cuda<E>,
    mut logits: Mat<Cuda<E>>,
    target: &Buffer<u32>,
    scale: f64,
) -> (Buffer<f32>, Mat<Cuda<E>>) {
    let (n, v) = (logits.rows, logits.cols);
    assert_eq!(n, target.len(), "cross_entropy: one target a row");
    let live = logits.buf.live().cloned();
    let mut found = be.buffer(n);
    let grid = Grid::of(n).threads(THREADS, 1);
    be.launch(Kernel::CrossEntropy, grid, args![&mut logits, target, &mut found, v, scale as f32, n, live.as_ref()]);
    (found.with_live(live.map(|live| live.of_width(1))), logits)
}
