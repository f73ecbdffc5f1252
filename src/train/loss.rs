//! Perplexity distillation: the reranker's distribution over passages and the language model's, held together.

use crate::backend::DistillDirection;

/// The divergence of one question's two distributions over its `k` passages, in nats:
/// `p_rank = softmax(scores / τ)`, `p_LM = softmax(log p(answer | passage, question) / τ)` (GLIMMER, section 3.2).
///
/// # Panics
/// When the two differ in length.
pub fn distill_loss(scores: &[f64], log_probs: &[f64], temperature: f64, direction: DistillDirection) -> f64 {
    assert_eq!(scores.len(), log_probs.len(), "one score and one log-probability a passage");
    let (rank, lm) = (log_softmax(scores, temperature), log_softmax(log_probs, temperature));
    let (p, q) = match direction {
        DistillDirection::LmRank => (lm, rank),
        DistillDirection::RankLm => (rank, lm),
    };
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_softmax(x: &[f64], temperature: f64) -> Vec<f64> {
    let peak = x.iter().copied().fold(f64::NEG_INFINITY, f64::max) / temperature;
    let mass: f64 = x.iter().map(|x| (x / temperature - peak).exp()).sum();
    x.iter().map(|x| x / temperature - peak - mass.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_distributions_diverge_by_nothing() {
        for direction in [DistillDirection::LmRank, DistillDirection::RankLm] {
            assert!(distill_loss(&[0.0; 5], &[-7.0; 5], 0.5, direction).abs() <= 1e-15);
            assert!(distill_loss(&[1.0, 2.0], &[2.0, 1.0], 1.0, direction) > 0.1);
        }
    }

    #[test]
    fn two_passages_worked_out_by_hand() {
        // p_LM = (3/4, 1/4), p_rank = (1/2, 1/2).
        let (scores, log_probs) = ([5.0, 5.0], [3f64.ln(), 0.0]);
        let found = distill_loss(&scores, &log_probs, 1.0, DistillDirection::LmRank);
        assert!((found - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() <= 1e-15);
        let found = distill_loss(&scores, &log_probs, 1.0, DistillDirection::RankLm);
        assert!((found - (0.5 * (2.0f64 / 3.0).ln() + 0.5 * 2f64.ln())).abs() <= 1e-15);
    }
}
