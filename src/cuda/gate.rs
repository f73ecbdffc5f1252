//! The middle of the gated feed-forward by itself.

use super::{Cuda, Float};
use crate::backend::Mat;

pub(super) fn gate<E: Float>(_be: &Cuda<E>, _a: &Mat<Cuda<E>>, _b: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    unimplemented!()
}

pub(super) fn gate_bwd<E: Float>(
    _be: &Cuda<E>,
    _dh: &Mat<Cuda<E>>,
    _a: &Mat<Cuda<E>>,
    _b: &Mat<Cuda<E>>,
) -> (Mat<Cuda<E>>, Mat<Cuda<E>>) {
    unimplemented!()
}
