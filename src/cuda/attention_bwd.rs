//! Backward through attention.

use super::{Cuda, Float};
use crate::backend::{Attend, AttendGrad, Attended, Grad, Mat};

pub(super) fn attention_saved<E: Float>(_be: &Cuda<E>, _a: &Attend<'_, Cuda<E>>) -> Attended<Cuda<E>> {
    unimplemented!()
}

pub(super) fn attention_bwd<E: Float>(
    _be: &Cuda<E>,
    _a: &Attend<'_, Cuda<E>>,
    (_saved, _d_o): (&Attended<Cuda<E>>, &Mat<Cuda<E>>),
    _dtable: Option<&mut Grad<Cuda<E>>>,
) -> AttendGrad<Cuda<E>> {
    unimplemented!()
}
