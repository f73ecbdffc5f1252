//! The distillation of the decoder's preferences into the reranker.

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{AnswerLogProb, Distill, DistillDirection};

pub(super) fn distill<E: Float>(be: &Cuda<E>, d: &Distill<'_, Cuda<E>>) -> (Buffer<f32>, Buffer<f32>) {
    let passages = d.scores.len();
    assert_eq!(
        (d.answers.count, d.groups.capacity),
        (passages, passages),
        "distill: one answer a score, all in groups"
    );
    let (mut losses, mut dscores) = (be.buffer(d.groups.count), be.buffer(passages));
    let mut answers: Buffer<f64> = be.buffer(passages);
    // As `kernels/distill.cu` counts them.
    let answer = match d.answer {
        AnswerLogProb::Sum => 0,
        AnswerLogProb::Mean => 1usize,
    };
    let direction = match d.direction {
        DistillDirection::LmRank => 0,
        DistillDirection::RankLm => 1usize,
    };
    let args = args![
        d.scores,
        d.log_probs,
        &d.answers.offsets,
        &d.groups.offsets,
        &mut answers,
        &mut losses,
        &mut dscores,
        d.temperature as f32,
        d.scale as f32,
        answer,
        direction,
    ];
    be.launch(Kernel::Distill, Grid::of(d.groups.count).threads(WARP, 1), args);
    (losses, dscores)
}
