//! Dropout whose mask is drawn from its place.

use super::{Cuda, Float};
use crate::backend::{Dropout, Mat};

pub(super) fn dropout<E: Float>(_be: &Cuda<E>, _x: &mut Mat<Cuda<E>>, _mask: &Dropout) {
    unimplemented!()
}
