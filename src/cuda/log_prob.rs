//! From logits to log-probabilities.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Buffer, Cuda, Float};
use crate::backend::Mat;

const THREADS: usize = 256;

pub(super) fn log_prob<E: Float>(be: &Cuda<E>, logits: &Mat<Cuda<E>>, target: &Buffer<u32>) -> Buffer<f32> {
    let (n, v) = (logits.rows, logits.cols);
    assert_eq!(n, target.len(), "log_prob: one target a row");
    let live = logits.buf.live();
    let mut found = be.buffer(n);
    let grid = Grid::of(n).threads(THREADS, 1);
    be.launch(Kernel::LogProb, grid, args![logits, target, &mut found, v, n, live]);
    found.with_live(live.map(|live| live.of_width(1)))
}
