//! Backward through T5's layer norm.

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::sum_rows::sum_rows;
use super::{Cuda, Float};
use crate::backend::{Grad, Mat};

const THREADS: usize = 256;
/// Quads that a thread keeps of its row.
const KEPT: usize = 4;
/// Rows of a block, which leaves one row of sums.
const ROWS: usize = 32;

/// `normed` is `x`, `g` and ε.
pub(super) fn rms_norm_bwd<E: Float>(
    be: &Cuda<E>,
    dy: &Mat<Cuda<E>>,
    normed: (&Mat<Cuda<E>>, &Mat<Cuda<E>>, f64),
    dg: &mut Grad<Cuda<E>>,
    dx: &mut Mat<Cuda<E>>,
) {
    let (x, g, eps) = normed;
    let (n, d) = (x.rows, x.cols);
    assert_eq!([(dy.rows, dy.cols), (dx.rows, dx.cols)], [(n, d); 2], "rms_norm_bwd: dy, dx and x");
    assert_eq!([(g.rows, g.cols), (dg.rows, dg.cols)], [(1, d); 2], "rms_norm_bwd: scale");
    let quads = if d.is_multiple_of(4) { d / 4 } else { d };
    // The smallest team whose threads can keep a row.
    let team = [WARP, 64, 128].into_iter().find(|team| quads <= KEPT * team).unwrap_or(THREADS);
    let teams = THREADS / team;
    let blocks = n.div_ceil(ROWS);
    let mut parts = be.buffer(blocks * d);
    let grid = Grid::of(blocks).threads(team, teams).shared((1 + teams) * d * size_of::<f32>());
    be.launch(Kernel::RmsNormBwd, grid, args![dy, x, g, dx, &mut parts, d, eps as f32, ROWS, n, x.buf.live()]);
    sum_rows(be, &parts, blocks, &mut dg.buf);
}
