//! What is made of logits and of scores.

use glimmer::backend::{
    AnswerLogProb, Backend, Backward, Distill, DistillDirection, Grad, Mat, Pool, Scorer, ScorerGrad, Segments,
};
use glimmer::cuda::Float;
use half::bf16;

use crate::attention::normal;
use crate::{Counted, assert_no_excess, assert_within, moved};

/// Logits are read once, and their gradients are written in their place.
#[test]
fn cross_entropy_passes_once() {
    fn check<E: Float>() {
        let (counted, rows, vocabulary) = (Counted::<E>::new(), 2, 32128);
        let logits = Mat::upload(&counted.be, rows, vocabulary, vec![E::from_f64(0.0); rows * vocabulary]);
        let target = counted.be.upload(vec![7; rows]);
        let launches = counted.count(|be| be.cross_entropy(logits, &target, 1.0));
        assert_eq!(launches.len(), 1, "cross-entropy is a launch");
        let least = 2 * rows * vocabulary * size_of::<E>();
        assert_within("bytes", moved(&launches[0]) / least as f64, 1.05);
        assert_no_excess("cross_entropy", "global stores", launches[0].global_stores);
    }
    check::<bf16>();
    check::<f32>();
}

/// A warp a question: the log-probabilities of the answers' tokens are read once. As much again are the few numbers of each
/// passage, of which some are read by themselves, a sector each, and some several times.
#[test]
fn distillation_reads_log_probabilities_once() {
    let (counted, questions, passages, answer) = (Counted::<bf16>::new(), 2, 25, 32);
    let (be, all) = (&counted.be, questions * passages);
    let (scores, log_probs) = (be.upload(vec![0.5; all]), be.upload(vec![-1.0; all * answer]));
    let (answers, groups) = (Segments::equal(be, all, answer), Segments::equal(be, questions, passages));
    let launches = counted.count(|be| {
        be.distill(Distill {
            scores: &scores,
            log_probs: &log_probs,
            answers: &answers,
            groups: &groups,
            temperature: 1.0,
            direction: DistillDirection::LmRank,
            answer: AnswerLogProb::Sum,
            scale: 1.0,
        })
    });
    let [distill] = &launches[..] else { panic!("{} launches", launches.len()) };
    assert_eq!(distill.grid, [questions as u32, 1, 1]);
    // Of a passage, besides its tokens: its score, the end of its answer, that answer's log-probability, its gradient.
    let least = all * 4 * (answer + 1 + 1 + 2 + 1);
    assert_within("bytes", moved(distill) / least as f64, 2.0);
}

/// The rows that a score is made of are read once, and so are their gradients, which are written once.
#[test]
fn score_bwd_passes_once() {
    let (counted, lengths, d) = (Counted::<bf16>::new(), [352, 352], 768);
    let be = &counted.be;
    let (n, rows) = (lengths.iter().sum(), Segments::packed(be, lengths));
    let (x, mut dx) = (normal(be, 0, n, d), normal(be, 1, n, d));
    let [weight, norm] = [2, 3].map(|stream| normal(be, stream, 1, d));
    let (ds, [mut dweight, mut dnorm]) = (be.upload(vec![0.5, -1.0]), [(); 2].map(|()| Grad::zeros(be, 1, d)));
    let launches = counted.count(|be| {
        let scorer = Scorer { weight: &weight, norm: Some(&norm), prior: None, pool: Pool::Mean, eps: 1e-6 };
        let dscorer = ScorerGrad { weight: &mut dweight, norm: Some(&mut dnorm) };
        be.score_bwd(&ds, (&x, &rows, scorer), dscorer, &mut dx);
    });
    let bytes: f64 = launches.iter().map(moved).sum();
    assert_within("bytes", bytes / (3 * n * d * size_of::<bf16>()) as f64, 1.05);
}
