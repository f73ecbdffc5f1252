//! Backward through question and passage, one behind the other.

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Cuda, Float};
use crate::backend::{Join, Mat};

const THREADS: usize = 256;
/// Rows of a block; `kernels/join_bwd.cu` has the same.
const ROWS: usize = 32;

/// The gradients of the questions, each the sum over its passages, and of the passages.
pub(super) fn join_bwd<E: Float>(
    be: &Cuda<E>,
    dy: &Mat<Cuda<E>>,
    j: &Join<'_, Cuda<E>>,
) -> (Mat<Cuda<E>>, Mat<Cuda<E>>) {
    let d = dy.cols;
    let [mut dquestion, mut dpassage] = [j.question, j.passage].map(|x| be.alloc(x.rows, x.cols, x.buf.live()));
    let (asked, passages) = (j.groups.count, j.passage_rows.count);
    let [question_chunks, passage_chunks] = [j.question_rows, j.passage_rows].map(|rows| rows.longest.div_ceil(ROWS));
    let grid = Grid::of(asked * question_chunks + passages * passage_chunks).threads(THREADS, 1);
    let (questions, passage_rows, groups) = (&j.question_rows.offsets, &j.passage_rows.offsets, &j.groups.offsets);
    let results = args![&mut dquestion, &mut dpassage, d, asked, question_chunks, passage_chunks];
    be.launch(Kernel::JoinBwd, grid, &[&args![dy, questions, passage_rows, groups][..], results].concat());
    (dquestion, dpassage)
}
