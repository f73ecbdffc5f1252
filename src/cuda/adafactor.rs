//! Adafactor.

use super::{Cuda, Float};
use crate::backend::{AdafactorStep, Grad, Mat, Moments};

pub(super) fn adafactor<E: Float>(
    _be: &Cuda<E>,
    _w: &mut Mat<Cuda<E>>,
    _grad: &Grad<Cuda<E>>,
    _moments: &mut Moments<Cuda<E>>,
    _step: AdafactorStep,
) {
    unimplemented!()
}
