//! Whom the scores follow: the reader itself, or whoever wrote down where the answers stand.

use anyhow::Result;

use super::pass::Example;
use super::stages::Ranked;
use crate::backend::{Backward, Distill, DistillDirection, Element, Segments, Selection};
use crate::model::{Evidence, Reader};

/// What the distribution of the scores over a question's passages is fitted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// The reader's own: what each passage by itself does for the answer's probability (perplexity distillation; GLIMMER,
    /// section 3.2).
    #[default]
    Perplexity,
    /// The task's: each passage of the evidence alike, and nothing else. `KL(p_evidence ‖ p_rank)`; a question without
    /// evidence among its passages teaches nothing. The answer is not read from each passage, so that this costs little.
    Evidence,
}

/// What the distillation comes to.
pub(super) struct Distilled<B: Backward> {
    /// They sum to the loss: one of each question, or of each part that teaches by itself.
    pub divergences: B::Buf<B::Wide>,
    /// `[passages]`.
    pub dscores: B::Buf<B::Wide>,
}

impl Teacher {
    /// The divergences, and the gradient of `scale` times their sum with respect to the scores.
    pub(super) fn teach<B: Backward>(
        self,
        reader: &Reader<B>,
        ranked: &Ranked<B>,
        groups: &Segments<B>,
        (batch, scale): (&[Example<'_>], f64),
    ) -> Result<Distilled<B>> {
        match self {
            Self::Perplexity => by_perplexity(reader, ranked, groups, (batch, scale)),
            Self::Evidence => Ok(by_evidence(reader, ranked, (batch, scale))),
        }
    }
}

/// With every passage given to the decoder by itself.
fn by_perplexity<B: Backward>(
    reader: &Reader<B>,
    ranked: &Ranked<B>,
    groups: &Segments<B>,
    (batch, scale): (&[Example<'_>], f64),
) -> Result<Distilled<B>> {
    let be = &reader.be;
    let everything = Selection::all(be, ranked.live_a.segments.count);
    let encoded = reader.finish(&ranked.live_a, &everything);
    let evidence = Evidence { rows: &encoded.rows, segments: &encoded.segments };
    let repeated: Vec<&[u32]> =
        batch.iter().flat_map(|example| std::iter::repeat_n(example.target, example.question.passages.len())).collect();
    let (decoder, embedding) = (&reader.weights.decoder, &reader.weights.encoder.embedding);
    let logits = decoder.teach(be, &reader.config, embedding, &evidence, &repeated);
    let log_probs = be.log_prob(&logits, &be.upload(repeated.concat()));
    let (divergences, dscores) = be.distill(Distill {
        scores: &ranked.scores,
        log_probs: &log_probs,
        answers: &Segments::packed(be, repeated.iter().map(|target| target.len())),
        groups,
        temperature: reader.glimmer.temperature,
        direction: reader.glimmer.distill_direction,
        answer: reader.glimmer.answer_log_prob,
        scale,
    });
    Ok(Distilled { divergences, dscores })
}

/// The evidence as answers of one token, which have a probability in its passages and hardly any in others.
fn by_evidence<B: Backward>(
    reader: &Reader<B>,
    ranked: &Ranked<B>,
    (batch, scale): (&[Example<'_>], f64),
) -> Distilled<B> {
    /// The logarithm of what the others have, `e⁻⁶⁰`: not 0, whose logarithm is no number to multiply by.
    const ELSEWHERE: f64 = -60.0;
    let (be, temperature) = (&reader.be, reader.glimmer.temperature);
    let (mut log_probs, mut groups) = (Vec::new(), Vec::new());
    for Example { question, evidence, .. } in batch {
        let passages = question.passages.len();
        if evidence.contains(&true) {
            groups.push(passages);
            let log_prob = |&holds: &bool| B::Wide::from_f64(if holds { 0.0 } else { ELSEWHERE * temperature });
            log_probs.extend(evidence.iter().map(log_prob));
        } else {
            // A passage compared with itself alone.
            groups.extend(std::iter::repeat_n(1, passages));
            log_probs.resize(log_probs.len() + passages, B::Wide::from_f64(0.0));
        }
    }
    let answers = Segments::packed(be, std::iter::repeat_n(1, log_probs.len()));
    let (divergences, dscores) = be.distill(Distill {
        scores: &ranked.scores,
        log_probs: &be.upload(log_probs),
        answers: &answers,
        groups: &Segments::packed(be, groups),
        temperature,
        direction: DistillDirection::LmRank,
        answer: reader.glimmer.answer_log_prob,
        scale,
    });
    Distilled { divergences, dscores }
}
