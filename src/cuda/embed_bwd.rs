//! The gradient of the embedding table.

use super::{Buffer, Cuda, Float};
use crate::backend::{Grad, Mat};

pub(super) fn embed_bwd<E: Float>(_be: &Cuda<E>, _dy: &Mat<Cuda<E>>, _ids: &Buffer<u32>, _dtable: &mut Grad<Cuda<E>>) {
    unimplemented!()
}
