//! The best segments of each group.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Segments, Selection};

const THREADS: usize = 128;

/// How many are chosen is known on the device alone, where some group may have fewer than `m`.
pub(super) fn top_m<E: Float>(
    be: &Cuda<E>,
    scores: &Buffer<f32>,
    groups: &Segments<Cuda<E>>,
    m: usize,
) -> Selection<Cuda<E>> {
    let count = groups.count;
    assert!(groups.capacity <= scores.len(), "top_m: a score a segment");
    let m = m.min(groups.longest);
    let capacity = groups.capacity.min(count * m);
    let (mut index, mut kept) = (be.buffer(capacity), be.buffer(count + 1));
    let grid = Grid::of(count.max(1)).threads(THREADS, 1);
    be.launch(Kernel::TopM, grid, args![scores, &groups.offsets, &mut index, &mut kept, m, count]);
    let index = index.with_live(Some(kept.count_at(count, 1)));
    Selection { index, groups: Segments { offsets: kept, count, capacity, longest: m } }
}
