//! Backward through question and passage, one behind the other.

use super::{Cuda, Float};
use crate::backend::{Join, Mat};

pub(super) fn join_bwd<E: Float>(
    _be: &Cuda<E>,
    _dy: &Mat<Cuda<E>>,
    _j: &Join<'_, Cuda<E>>,
) -> (Mat<Cuda<E>>, Mat<Cuda<E>>) {
    unimplemented!()
}
