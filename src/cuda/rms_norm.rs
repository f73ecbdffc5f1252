//! T5's layer norm: no mean, no bias.

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Cuda, Float};
use crate::backend::Mat;

const THREADS: usize = 256;
/// Packs that a thread keeps of its row.
const KEPT: usize = 4;
/// Rows of a block where there are many: so often is the scale read for each.
const ROWS: usize = 16;
/// Blocks that are worth having before any of them takes a second step.
const BLOCKS: usize = 256;

pub(super) fn rms_norm<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, g: &Mat<Cuda<E>>, eps: f64) -> Mat<Cuda<E>> {
    let (n, d) = (x.rows, x.cols);
    assert_eq!((g.rows, g.cols), (1, d), "rms_norm: scale");
    let live = x.buf.live();
    let mut y = be.alloc(n, d, live);
    let packs = if d.is_multiple_of(E::PACK) { d / E::PACK } else { d };
    // The smallest team whose threads can keep a row.
    let team = [WARP, 128].into_iter().find(|team| packs <= KEPT * team).unwrap_or(THREADS);
    let teams = THREADS / team;
    let rows = if n >= ROWS * BLOCKS { ROWS } else { teams };
    let grid = Grid::of(n.div_ceil(rows)).threads(team, teams).shared(d * size_of::<E>());
    be.launch(Kernel::RmsNorm, grid, args![x, g, &mut y, d, eps as f32, rows, n, live]);
    y
}
