//! Question and passage, one behind the other.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Cuda, Float};
use crate::backend::{Join, Mat, Segments};

const THREADS: usize = 256;
/// Rows of a block; `kernels/join.cu` has the same.
const ROWS: usize = 32;

pub(super) fn join<E: Float>(be: &Cuda<E>, j: &Join<'_, Cuda<E>>) -> (Mat<Cuda<E>>, Segments<Cuda<E>>) {
    let d = j.question.cols;
    assert_eq!(d, j.passage.cols, "join: widths");
    assert_eq!(j.question_rows.count, j.groups.count, "join: one group of passages a question");
    assert_eq!(j.passage_rows.count, j.groups.capacity, "join: every passage belongs to a question");
    let count = j.passage_rows.count;
    // The host knows the longest question, but not how many passages each has.
    let capacity = j.passage_rows.capacity + count * j.question_rows.longest;
    let longest = j.question_rows.longest + j.passage_rows.longest;
    let mut joined = be.buffer(count + 1);
    let live = joined.count_at(count, d);
    let mut y = be.alloc(capacity, d, Some(&live));
    let chunks = longest.div_ceil(ROWS).max(1);
    let grid = Grid::of(count.max(1) * chunks).threads(THREADS, 1);
    let (asked, told, groups) = (&j.question_rows.offsets, &j.passage_rows.offsets, &j.groups.offsets);
    let args = args![j.question, asked, j.passage, told, groups, &mut y, &mut joined, d, j.groups.count, chunks, count];
    be.launch(Kernel::Join, grid, args);
    (y, Segments { offsets: joined, count, capacity, longest })
}
