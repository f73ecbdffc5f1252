//! Backward through T5's layer norm.

use super::{Cuda, Float};
use crate::backend::{Grad, Mat};

/// `normed` is `x`, `g` and ε.
pub(super) fn rms_norm_bwd<E: Float>(
    _be: &Cuda<E>,
    _dy: &Mat<Cuda<E>>,
    _normed: (&Mat<Cuda<E>>, &Mat<Cuda<E>>, f64),
    _dg: &mut Grad<Cuda<E>>,
    _dx: &mut Mat<Cuda<E>>,
) {
    unimplemented!()
}
