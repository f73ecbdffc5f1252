//! One forward and backward pass of a reader over a batch of questions.

use anyhow::{Context, Result, ensure};

use super::stages::{Joined, Ranked, Read};
use super::teacher::Teacher;
use crate::backend::{Backward, Element, Grad, Noise, check_ids};
use crate::model::{Evidence, Question, Reader, Weights};
use crate::nn::{Done, Recompute, Tree};

/// A question, its passages and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Example<'a> {
    /// With at least one passage.
    pub question: Question<'a>,
    /// Token ids of the answer, at least one; the last is the end of text.
    pub target: &'a [u32],
    /// Which of its passages are evidence; for [`Teacher::Evidence`], and empty where nobody knows.
    pub evidence: &'a [bool],
}

/// Whether the memory encoder learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryEncoder {
    /// With the rest.
    #[default]
    Trained,
    /// Its embedding, position bias and layers stay as they are, so that memories once stored stay valid.
    Frozen,
}

/// How a pass is run, and what its losses are multiplied by.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Whether the memory encoder learns.
    pub memory: MemoryEncoder,
    /// What layers keep.
    pub recompute: Recompute,
    /// Rate of T5's dropout.
    pub dropout: f64,
    /// Of this pass's masks.
    pub seed: u64,
    /// Of each target token's cross-entropy: 1 over the target tokens of the whole batch.
    pub lm_scale: f64,
    /// Of each question's divergence: the distillation's weight over the questions of the whole batch. At 0 nothing is
    /// distilled, and passages that are not read cost nothing beyond their scores.
    pub distill_scale: f64,
    /// Whom the scores follow.
    pub teacher: Teacher,
}

/// Sums over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Cross-entropy of the target tokens, in nats.
    pub lm: f64,
    /// Target tokens.
    pub tokens: usize,
    /// Divergences, in nats.
    pub distill: f64,
    /// Questions.
    pub questions: usize,
}

impl std::ops::AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        self.lm += other.lm;
        self.tokens += other.tokens;
        self.distill += other.distill;
        self.questions += other.questions;
    }
}

/// Gradients of nothing yet.
///
/// # Errors
/// None; a tree's map may have some.
pub fn zero_gradients<B: Backward>(reader: &Reader<B>) -> Result<Weights<Grad<B>>> {
    reader.weights.try_map(&mut |weight| Ok(Grad::zeros(&reader.be, weight.rows, weight.cols)))
}

impl Example<'_> {
    fn check<B: Backward>(&self, reader: &Reader<B>) -> Result<()> {
        self.question.check(&reader.config)?;
        ensure!(!self.target.is_empty(), "its answer has no tokens; even an empty text has its end");
        let (told, passages) = (self.evidence.len(), self.question.passages.len());
        ensure!(
            told == 0 || told == passages,
            "it has {passages} passages, and {told} of them are told to be evidence or not"
        );
        check_ids(self.target, reader.config.vocab_size).context("its answer")
    }
}

/// Adds to `grads` the gradient of `lm_scale · Σ cross-entropy + distill_scale · Σ KL` over the batch (GLIMMER,
/// section 3.2).
///
/// The language model's gradient flows through the passages that are read, the distillation's through the scores of
/// all. The log-probability of the answer from each passage alone has no gradient and, from live encoder A's output
/// on, no dropout.
///
/// # Errors
/// Questions that cannot be read, an empty answer, ids beyond the vocabulary, what the machine reports.
pub fn gradients<B: Backward>(
    reader: &Reader<B>,
    batch: &[Example<'_>],
    pass: &Pass,
    grads: &mut Weights<Grad<B>>,
) -> Result<Losses> {
    gradients_done(reader, batch, pass, (grads, &mut |_| {}))
}

/// [`gradients`], telling `done` of a few at a time as soon as nothing more is added to them: decoder first, then the
/// encoder's layers from the last to the first. Each that the pass adds to, and is trained, is told of once; which and in
/// which order depends on the reader, on `pass.memory` and on where passages come from, and not on the questions.
///
/// # Errors
/// As those of [`gradients`].
pub fn gradients_done<B: Backward>(
    reader: &Reader<B>,
    batch: &[Example<'_>],
    pass: &Pass,
    (grads, done): (&mut Weights<Grad<B>>, Done<'_, B>),
) -> Result<Losses> {
    for (i, example) in batch.iter().enumerate() {
        example.check(reader).with_context(|| format!("question {i} of the batch"))?;
    }
    if batch.is_empty() {
        return Ok(Losses::default());
    }
    let (be, mut noise) = (&reader.be, Noise::new(pass.dropout, pass.seed));
    let questions: Vec<Question<'_>> = batch.iter().map(|example| example.question).collect();
    let targets: Vec<&[u32]> = batch.iter().map(|example| example.target).collect();

    let (h, joined) = Joined::forward(reader, &questions, pass.memory, (&mut noise, pass.recompute))?;
    let prior = reader.prior(&questions);
    let ranked = Ranked::forward(reader, h, prior.as_ref(), (&mut noise, pass.recompute));
    let chosen = be.top_m(&ranked.scores, &joined.groups, reader.glimmer.selected);
    let read = Read::forward(reader, &ranked.live_a, &chosen, (&mut noise, pass.recompute));
    let segments = be.merge(&read.segments, &chosen.groups);
    let evidence = Evidence { rows: &read.rows, segments: &segments };
    let decoder = &reader.weights.decoder;
    let model = (&reader.config, &*reader.weights.encoder.embedding);
    let (logits, taught) = decoder.teach_saved(be, model, &evidence, &targets, (&mut noise, pass.recompute));
    let (log_probs, dlogits) = be.cross_entropy(logits, &be.upload(targets.concat()), pass.lm_scale);
    let distilled = (pass.distill_scale > 0.0)
        .then(|| pass.teacher.teach(reader, &ranked, &joined.groups, (batch, pass.distill_scale)));
    let distilled = distilled.transpose()?;

    let devidence = decoder.teach_backward(
        be,
        &reader.config,
        (taught, &dlogits),
        &evidence,
        (&mut grads.decoder, &mut grads.encoder.embedding, &mut *done),
    );
    let mut dlive_a = be.zeros(ranked.live_a.rows.rows, reader.config.d_model);
    read.backward(reader, devidence, (&ranked.live_a, &chosen), (grads, &mut dlive_a, &mut *done));
    let dh = ranked.backward(reader, distilled.as_ref().map(|d| &d.dscores), dlive_a, (grads, &mut *done));
    joined.backward(reader, &dh, (grads, done));

    let sum = |values: Vec<B::Wide>| values.into_iter().map(Element::to_f64).sum::<f64>();
    Ok(Losses {
        lm: -sum(be.download(&log_probs)?),
        tokens: targets.iter().map(|target| target.len()).sum(),
        distill: distilled.map_or(Ok(0.0), |d| be.download(&d.divergences).map(sum))?,
        questions: batch.len(),
    })
}
