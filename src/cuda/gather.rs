//! Compaction of the chosen segments.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Cuda, Float};
use crate::backend::{Mat, Segments, Selection};

const THREADS: usize = 256;
/// Rows of a block; `kernels/gather.cu` has the same.
const ROWS: usize = 32;

/// A segment for every place of the selection, the last ones empty where fewer are chosen.
pub(super) fn gather<E: Float>(
    be: &Cuda<E>,
    x: &Mat<Cuda<E>>,
    rows: &Segments<Cuda<E>>,
    chosen: &Selection<Cuda<E>>,
) -> (Mat<Cuda<E>>, Segments<Cuda<E>>) {
    let (d, index) = (x.cols, &chosen.index);
    let count = index.len();
    // A selection names no segment twice.
    let capacity = rows.capacity.min(count * rows.longest);
    let mut kept = be.buffer(count + 1);
    let live = kept.count_at(count, d);
    let mut y = be.alloc(capacity, d, Some(&live));
    let chunks = rows.longest.div_ceil(ROWS).max(1);
    let grid = Grid::of(count.max(1) * chunks).threads(THREADS, 1);
    let args = args![x, &rows.offsets, index, &mut y, &mut kept, d, chunks, count, index.live()];
    be.launch(Kernel::Gather, grid, args);
    (y, Segments { offsets: kept, count, capacity, longest: rows.longest })
}

/// Segments of segments.
pub(super) fn merge<E: Float>(be: &Cuda<E>, rows: &Segments<Cuda<E>>, groups: &Segments<Cuda<E>>) -> Segments<Cuda<E>> {
    let count = groups.count;
    assert!(groups.capacity <= rows.count, "merge: groups of other segments");
    let mut merged = be.buffer(count + 1);
    let grid = Grid::of((count + 1).div_ceil(THREADS)).threads(THREADS, 1);
    be.launch(Kernel::Merge, grid, args![&rows.offsets, &groups.offsets, &mut merged, count]);
    let longest = rows.capacity.min(groups.longest * rows.longest);
    Segments { offsets: merged, count, capacity: rows.capacity, longest }
}
