//! Perplexity distillation: a few numbers a question, all in 64 bits.

use super::{Buffer, Cpu, Real};
use crate::backend::{AnswerLogProb, Distill, DistillDirection};

/// Each question's divergence; `dscores [s]` is the gradient of `scale` times their sum.
pub(super) fn distill<T: Real>(d: &Distill<'_, Cpu<T>>, dscores: &mut [T]) -> Buffer<T> {
    let passages = d.scores.len();
    assert_eq!(
        (d.answers.count, d.groups.capacity),
        (passages, passages),
        "distill: one answer a score, all in groups"
    );
    let answers: Vec<f64> = d
        .answers
        .offsets
        .windows(2)
        .map(|bounds| {
            let tokens = &d.log_probs[bounds[0] as usize..bounds[1] as usize];
            let sum: f64 = tokens.iter().map(|x| x.to_f64()).sum();
            match d.answer {
                AnswerLogProb::Sum => sum,
                AnswerLogProb::Mean => sum / tokens.len().max(1) as f64,
            }
        })
        .collect();
    let scores: Vec<f64> = d.scores.iter().map(|x| x.to_f64()).collect();
    let losses = d.groups.offsets.windows(2).map(|bounds| {
        let group = bounds[0] as usize..bounds[1] as usize;
        let rank = log_softmax(&scores[group.clone()], d.temperature);
        let lm = log_softmax(&answers[group.clone()], d.temperature);
        let (loss, slopes) = divergence(&rank, &lm, d.direction);
        for (place, slope) in dscores[group].iter_mut().zip(slopes) {
            *place = T::from_f64(d.scale * slope / d.temperature);
        }
        T::from_f64(loss)
    });
    Buffer::from(losses.collect::<Vec<T>>())
}

/// The divergence of two distributions, given by their logarithms, and its derivatives with respect to `rank`'s logits.
fn divergence(rank: &[f64], lm: &[f64], direction: DistillDirection) -> (f64, Vec<f64>) {
    let pairs = || rank.iter().zip(lm);
    match direction {
        DistillDirection::LmRank => {
            let loss = pairs().map(|(rank, lm)| lm.exp() * (lm - rank)).sum();
            (loss, pairs().map(|(rank, lm)| rank.exp() - lm.exp()).collect())
        }
        DistillDirection::RankLm => {
            let loss = pairs().map(|(rank, lm)| rank.exp() * (rank - lm)).sum();
            (loss, pairs().map(|(rank, lm)| rank.exp() * (rank - lm - loss)).collect())
        }
    }
}

/// `log softmax(x / τ)`.
fn log_softmax(x: &[f64], temperature: f64) -> Vec<f64> {
    let peak = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mass: f64 = x.iter().map(|x| ((x - peak) / temperature).exp()).sum();
    x.iter().map(|x| (x - peak) / temperature - mass.ln()).collect()
}
