//! The gradient of the embedding table.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Grad, Mat};

/// Tokens that a block places, by its threads; `kernels/embed_bwd.cu` has the same.
const PLACED: usize = 1024;
const THREADS: usize = 256;
/// Threads of a block that has a row of the table.
const ROW_THREADS: usize = 128;

/// `dtable[ids[i]] += dy[i]`. Tokens are first sorted by their ids.
pub(super) fn embed_bwd<E: Float>(be: &Cuda<E>, dy: &Mat<Cuda<E>>, ids: &Buffer<u32>, dtable: &mut Grad<Cuda<E>>) {
    let (n, d) = (ids.len(), dy.cols);
    assert_eq!((dy.rows, d), (n, dtable.cols), "embed_bwd: dy");
    let [mut order, mut sorted] = [(); 2].map(|()| be.buffer::<u32>(n));
    let grid = Grid::of(n.div_ceil(PLACED)).threads(THREADS, 1);
    be.launch(Kernel::EmbedOrder, grid, args![ids, &mut order, &mut sorted, n, ids.live()]);
    let grid = Grid::of(n).threads(ROW_THREADS, 1);
    be.launch(Kernel::EmbedBwd, grid, args![dy, &order, &sorted, &mut dtable.buf, d, n, ids.live()]);
}
