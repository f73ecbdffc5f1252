//! Backward through the scorer.

use super::{Cuda, Float};
use crate::backend::{Mat, Scorer, ScorerGrad, Segments};

pub(super) fn score_bwd<E: Float>(
    _be: &Cuda<E>,
    _ds: &Mat<Cuda<E>>,
    _scored: (&Mat<Cuda<E>>, &Segments<Cuda<E>>, Scorer<'_, Cuda<E>>),
    _dscorer: ScorerGrad<'_, Cuda<E>>,
    _dx: &mut Mat<Cuda<E>>,
) {
    unimplemented!()
}
