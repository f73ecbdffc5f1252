//! Backward through products with a weight matrix.

use super::{Cuda, Float};
use crate::backend::{Grad, Mat};

/// Of `y = x·Wᵀ`: `dx = dy·W`.
pub(super) fn linear_dx<E: Float>(_be: &Cuda<E>, _dy: &Mat<Cuda<E>>, _w: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    unimplemented!()
}

/// Of `y = x·Wᵀ`: `dw += dyᵀ·x`.
pub(super) fn linear_dw<E: Float>(_be: &Cuda<E>, _dy: &Mat<Cuda<E>>, _x: &Mat<Cuda<E>>, _dw: &mut Grad<Cuda<E>>) {
    unimplemented!()
}
