//! Compaction of the chosen segments.

use rayon::prelude::*;

use super::elementwise::add_slice;
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
    let places = split(&mut y.buf, &kept.offsets, d);
    places.into_par_iter().zip(&chosen.index[..]).for_each(|(place, &segment)| {
        place.copy_from_slice(&x.buf[rows.offsets[segment as usize] as usize * d..][..place.len()]);
    });
}

/// The rows of each segment, `d` elements each.
pub(super) fn split<'a, T>(mut rest: &'a mut [T], offsets: &[u32], d: usize) -> Vec<&'a mut [T]> {
    let segment = |bounds: &[u32]| {
        let (segment, behind) = std::mem::take(&mut rest).split_at_mut((bounds[1] - bounds[0]) as usize * d);
        rest = behind;
        segment
    };
    offsets.windows(2).map(segment).collect()
}

/// Adds the rows of `dy` to those of `dx` that they were gathered from.
pub(super) fn gather_bwd<T: Real>(
    dy: &Mat<Cpu<T>>,
    rows: &Segments<Cpu<T>>,
    chosen: &Selection<Cpu<T>>,
    dx: &mut Mat<Cpu<T>>,
) {
    let d = dx.cols;
    assert_eq!(dy.cols, d, "gather_bwd: dy and dx");
    let mut segments: Vec<Option<&mut [T]>> = split(&mut dx.buf, &rows.offsets, d).into_iter().map(Some).collect();
    let mut end = 0;
    let mut tasks = Vec::with_capacity(chosen.index.len());
    for &segment in &chosen.index[..] {
        let place = segments[segment as usize].take().expect("a selection names no segment twice");
        let start = end;
        end += place.len();
        tasks.push((place, &dy.buf[start..end]));
    }
    tasks.into_par_iter().for_each(|(place, dy)| add_slice(dy, place));
}

/// Segments of segments.
pub(super) fn merge<T: Real>(be: &Cpu<T>, rows: &Segments<Cpu<T>>, groups: &Segments<Cpu<T>>) -> Segments<Cpu<T>> {
    let lengths =
        groups.offsets.windows(2).map(|w| (rows.offsets[w[1] as usize] - rows.offsets[w[0] as usize]) as usize);
    Segments::packed(be, lengths)
}
