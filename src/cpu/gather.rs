//! Compaction of the chosen segments.

use rayon::prelude::*;

use super::{Cpu, Real};
use crate::backend::{Mat, Segments, Selection};

/// The chosen segments, packed.
pub(super) fn kept<T: Real>(be: &Cpu<T>, rows: &Segments<Cpu<T>>, chosen: &Selection<Cpu<T>>) -> Segments<Cpu<T>> {
    Segments::packed(
        be,
        chosen.index.iter().map(|&i| (rows.offsets[i as usize + 1] - rows.offsets[i as usize]) as usize),
    )
}

pub(super) fn gather<T: Real>(
    x: &Mat<Cpu<T>>,
    rows: &Segments<Cpu<T>>,
    chosen: &Selection<Cpu<T>>,
    kept: &Segments<Cpu<T>>,
    y: &mut Mat<Cpu<T>>,
) {
    let d = x.cols;
    let mut rest = &mut y.buf[..];
    let mut places = Vec::with_capacity(kept.count);
    for bounds in kept.offsets.windows(2) {
        let (place, behind) = rest.split_at_mut((bounds[1] - bounds[0]) as usize * d);
        places.push(place);
        rest = behind;
    }
    places.into_par_iter().zip(&chosen.index[..]).for_each(|(place, &segment)| {
        place.copy_from_slice(&x.buf[rows.offsets[segment as usize] as usize * d..][..place.len()]);
    });
}

/// Segments of segments.
pub(super) fn merge<T: Real>(be: &Cpu<T>, rows: &Segments<Cpu<T>>, groups: &Segments<Cpu<T>>) -> Segments<Cpu<T>> {
    let lengths =
        groups.offsets.windows(2).map(|w| (rows.offsets[w[1] as usize] - rows.offsets[w[0] as usize]) as usize);
    Segments::packed(be, lengths)
}
