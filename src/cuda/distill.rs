//! The distillation of the decoder's preferences into the reranker.

use super::{Buffer, Cuda, Float};
use crate::backend::{Distill, Mat};

pub(super) fn distill<E: Float>(_be: &Cuda<E>, _d: &Distill<'_, Cuda<E>>) -> (Buffer<f32>, Mat<Cuda<E>>) {
    unimplemented!()
}
