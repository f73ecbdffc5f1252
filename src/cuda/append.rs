//! The newest tokens' keys and values, put into the cache.

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Cuda, Float};
use crate::backend::{Cache, Mat};

/// Rows of a block.
const ROWS: usize = 8;

pub(super) fn append<E: Float>(be: &Cuda<E>, cache: &mut Cache<Cuda<E>>, k: &Mat<Cuda<E>>, v: &Mat<Cuda<E>>) {
    let (batch, d) = (k.rows, k.cols);
    assert_eq!((v.rows, v.cols), (batch, d), "append: k and v");
    assert_eq!((cache.k.rows, cache.k.cols), (batch * cache.capacity, d), "append: the cache");
    assert!(cache.len < cache.capacity, "append: the cache is full");
    let grid = Grid::of((2 * batch).div_ceil(ROWS)).threads(WARP, ROWS);
    let (capacity, place) = (cache.capacity, cache.len);
    be.launch(Kernel::Append, grid, args![k, v, &mut cache.k, &mut cache.v, batch, d, capacity, place]);
    cache.len += 1;
}
