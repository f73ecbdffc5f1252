//! Backward through the compaction of chosen segments.

use super::{Cuda, Float};
use crate::backend::{Mat, Segments, Selection};

pub(super) fn gather_bwd<E: Float>(
    _be: &Cuda<E>,
    _dy: &Mat<Cuda<E>>,
    _rows: &Segments<Cuda<E>>,
    _chosen: &Selection<Cuda<E>>,
    _dx: &mut Mat<Cuda<E>>,
) {
    unimplemented!()
}
