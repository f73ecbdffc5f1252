//! The middle of the gated feed-forward by itself.

use super::elementwise::flat;
use super::kernels::Kernel;
use super::launch::args;
use super::{Cuda, Float};
use crate::backend::Mat;

pub(super) fn gate<E: Float>(be: &Cuda<E>, a: &Mat<Cuda<E>>, b: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    assert_eq!((b.rows, b.cols), (a.rows, a.cols), "gate: a and b");
    let live = a.buf.live();
    let mut h = be.alloc(a.rows, a.cols, live);
    be.launch(Kernel::Gate, flat(a), args![a, b, &mut h, a.cols, a.rows, live]);
    h
}

pub(super) fn gate_bwd<E: Float>(
    be: &Cuda<E>,
    dh: &Mat<Cuda<E>>,
    a: &Mat<Cuda<E>>,
    b: &Mat<Cuda<E>>,
) -> (Mat<Cuda<E>>, Mat<Cuda<E>>) {
    let shape = (a.rows, a.cols);
    assert_eq!([(dh.rows, dh.cols), (b.rows, b.cols)], [shape; 2], "gate_bwd: dh, a and b");
    let live = a.buf.live();
    let [mut da, mut db] = [(); 2].map(|()| be.alloc(a.rows, a.cols, live));
    be.launch(Kernel::GateBwd, flat(a), args![dh, a, b, &mut da, &mut db, a.cols, a.rows, live]);
    (da, db)
}
