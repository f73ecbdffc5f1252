//! From the decoder's rows to tokens: the logits are never in memory.

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::product::{Forms, MEDIUM, Shape};
use super::{Cuda, Float};
use crate::backend::{Mat, Prediction};

const PARTS: Forms = Forms {
    tiles: &[(MEDIUM, Kernel::PredictPartsMedium)],
    few: Some(Kernel::PredictPartsFew),
    plain: Kernel::PredictPartsPlain,
    plain_few: Kernel::PredictPartsPlainFew,
};

/// Tokens of a part, and what is written of one; `kernels/predict.cu` has the same.
const PART_TOKENS: usize = 64;
type Part = [u32; 4];
/// Rows that a block finds the answers of, each by a warp.
const ROWS: usize = 4;

pub(super) fn predict<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, head: &Mat<Cuda<E>>, next: &mut Prediction<Cuda<E>>) {
    assert_eq!(x.cols, head.cols, "predict: x and head");
    let (rows, inner, v) = (x.rows, x.cols, head.rows);
    let live = x.buf.live();
    let mut parts = be.buffer::<Part>(rows * v.div_ceil(PART_TOKENS));
    let shape = Shape { rows, inner, outputs: v, products: 1, writes_pieces: true };
    be.multiply(&PARTS, &shape, args![x, head, &mut parts, rows, inner, v, live], &[]);

    let (token, log_prob) = (&mut next.token, &mut next.log_prob);
    assert!(token.len() == rows && log_prob.len() == rows, "predict: a token a row");
    let grid = Grid::of(rows.div_ceil(ROWS)).threads(ROWS * WARP, 1);
    be.launch(Kernel::Predict, grid, args![&parts, &mut *token, &mut *log_prob, rows, v, live]);
    let of_one = live.map(|live| live.of_width(1));
    token.set_live(of_one.clone());
    log_prob.set_live(of_one);
}
