//! Passes over whole matrices.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Buffer, Cuda, Float};
use crate::backend::Mat;

/// Threads of a block, each of which has 16 bytes of every matrix; `kernels/flat.cuh` has the same.
const THREADS: usize = 256;

pub(super) fn zeros<E: Float>(be: &Cuda<E>, rows: usize, cols: usize) -> Mat<Cuda<E>> {
    let mut y = be.alloc(rows, cols, None);
    y.buf.clear();
    y
}

pub(super) fn copy<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    let mut y = be.alloc(x.rows, x.cols, x.buf.live());
    y.buf.copy_from(&x.buf);
    y
}

pub(super) fn clear(buf: &mut Buffer<f32>) {
    buf.clear();
}

pub(super) fn add<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, y: &mut Mat<Cuda<E>>) {
    assert_eq!((y.rows, y.cols), (x.rows, x.cols), "add: x and y");
    let live = x.buf.live().or(y.buf.live());
    be.launch(Kernel::Add, flat(x), args![x, &*y, x.cols, x.rows, live]);
}

/// As many threads as a matrix has packs.
pub(super) fn flat<E: Float>(x: &Mat<Cuda<E>>) -> Grid {
    Grid::of((x.rows * x.cols).div_ceil(E::PACK * THREADS)).threads(THREADS, 1)
}
