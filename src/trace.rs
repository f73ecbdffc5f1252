//! Every intermediate of a forward pass, by name: how a port of weights is checked, and how two implementations
//! are held against each other.

mod gradients;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::backend::{Backend, DistillDirection, Element, Segments, Selection};
use crate::io::Checkpoint;
use crate::model::{Encoded, Evidence, Passages, Question, Reader, Scored};
use crate::train::distill_loss;
pub use gradients::trace_gradients;

/// A batch of questions, each with the same number of passages and one target answer.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Token ids of each question.
    pub questions: Vec<Vec<u32>>,
    /// Token ids of each passage of each question.
    pub passages: Vec<Vec<Vec<u32>>>,
    /// Token ids of each answer.
    pub targets: Vec<Vec<u32>>,
    /// Lengths that questions, passages and answers are padded to in the result.
    pub padded: [usize; 3],
}

impl Inputs {
    /// Reads `question_ids [b, lq]`, `question_len [b]`, `passage_ids [b, k, lp]`, `passage_len [b, k]`,
    /// `target_ids [b, lt]` and `target_len [b]`, all integers.
    ///
    /// # Errors
    /// A file that is none, a tensor that is missing or does not fit the others.
    pub fn read(path: &Path) -> Result<Self> {
        let file = Checkpoint::open_file(path)?;
        let read = || {
            let (questions, lq) = Ragged::read(&file, "question")?.rows(1)?;
            let (targets, lt) = Ragged::read(&file, "target")?.rows(1)?;
            let (passages, lp) = Ragged::read(&file, "passage")?.rows(2)?;
            let (batch, k) = (questions.len(), passages.len() / questions.len().max(1));
            ensure!(batch > 0 && k > 0, "there are {batch} questions with {k} passages each");
            ensure!(
                targets.len() == batch && passages.len() == batch * k,
                "{batch} questions, {} answers, {} passages: there must be an answer a question, and as many \
                 passages for each",
                targets.len(),
                passages.len()
            );
            let passages = passages.chunks(k).map(<[_]>::to_vec).collect();
            anyhow::Ok(Self { questions, passages, targets, padded: [lq, lp, lt] })
        };
        read().with_context(|| format!("{} is no input of a trace", path.display()))
    }
}

impl Inputs {
    /// The passages, as a reader takes them.
    pub fn texts(&self) -> Vec<Vec<&[u32]>> {
        self.passages.iter().map(|texts| texts.iter().map(Vec::as_slice).collect()).collect()
    }

    /// The questions with those passages, `texts`.
    pub fn questions<'a>(&'a self, texts: &'a [Vec<&'a [u32]>]) -> Vec<Question<'a>> {
        let pairs = self.questions.iter().zip(texts);
        pairs.map(|(ids, texts)| Question { ids, passages: Passages::Tokens(texts) }).collect()
    }
}

/// Padded rows of ids and their true lengths.
struct Ragged {
    name: &'static str,
    shape: Vec<usize>,
    ids: Vec<i32>,
    lengths: Vec<i32>,
}

impl Ragged {
    fn read(file: &Checkpoint, name: &'static str) -> Result<Self> {
        let (shape, ids) = file.read_i32(&format!("{name}_ids"))?;
        let (lengths_shape, lengths) = file.read_i32(&format!("{name}_len"))?;
        ensure!(
            shape.split_last().is_some_and(|(_, outer)| outer == lengths_shape),
            "{name}_ids is {shape:?} and {name}_len {lengths_shape:?}; the second must be the first without its last"
        );
        Ok(Self { name, shape, ids, lengths })
    }

    /// The rows without their padding, and the length padded to. `outer` dimensions come before the tokens.
    fn rows(self, outer: usize) -> Result<(Vec<Vec<u32>>, usize)> {
        let Self { name, shape, ids, lengths } = self;
        ensure!(shape.len() == outer + 1, "{name}_ids is {shape:?}; {} dimensions are needed", outer + 1);
        let padded = shape[outer];
        let rows = lengths.iter().enumerate().map(|(row, &length)| {
            let length = usize::try_from(length).ok().filter(|&l| (1..=padded).contains(&l));
            let length = length.with_context(|| format!("{name}_len[{row}] is not within 1 to {padded}"))?;
            let ids = ids[row * padded..][..length].iter();
            ids.map(|&id| u32::try_from(id).with_context(|| format!("{name}_ids has the negative id {id}"))).collect()
        });
        Ok((rows.collect::<Result<_>>()?, padded))
    }
}

/// A named result.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// As in the reference files.
    pub name: String,
    /// Padded.
    pub shape: Vec<usize>,
    /// Row-major; zero in the padding.
    pub values: Values,
}

/// Numbers of a [`Tensor`].
#[derive(Clone, Debug)]
pub enum Values {
    /// Activations and losses.
    Real(Vec<f64>),
    /// Places and ids.
    Integer(Vec<i32>),
}

/// Runs a forward pass and returns every intermediate:
///
/// | name | shape | what |
/// |---|---|---|
/// | `memory.question`, `memory.passage` | `[b, lq, d]`, `[b, k, lp, d]` | the memory encoder's output |
/// | `live_a` | `[b, k, lq + lp, d]` | live encoder A's output |
/// | `scores` | `[b, k]` | the reranker's scores |
/// | `selected` | `[b, m]` | the passages read, best first |
/// | `live_b` | `[b, m, lq + lp, d]` | live encoder B's output after the final norm |
/// | `logits` | `[b, lt, v]` | the decoder's, under teacher forcing |
/// | `lm_logprob` | `[b, k]` | log-probability of the answer, each passage alone |
/// | `lm_loss` | `[1]` | cross-entropy, the mean over all target tokens |
/// | `distill_loss`, `distill_loss_rank_lm` | `[1]` | `KL(p_LM ‖ p_rank)` and `KL(p_rank ‖ p_LM)`, means over the batch |
/// | `generated` | `[b, max_tokens]` | the greedy answer |
///
/// # Errors
/// Inputs that the model cannot read, and what the machine reports.
pub fn trace<B: Backend>(reader: &Reader<B>, inputs: &Inputs, max_tokens: usize) -> Result<Vec<Tensor>> {
    let (be, config) = (&reader.be, &reader.config);
    let [lq, lp, lt] = inputs.padded;
    let (batch, k) = (inputs.questions.len(), inputs.passages[0].len());
    let m = reader.glimmer.selected.min(k);
    let texts = inputs.texts();
    let questions = inputs.questions(&texts);
    let targets: Vec<&[u32]> = inputs.targets.iter().map(Vec::as_slice).collect();
    for target in &targets {
        crate::backend::check_ids(target, config.vocab_size)?;
    }

    let asked: Vec<&[u32]> = inputs.questions.iter().map(Vec::as_slice).collect();
    let mut out = Out { be, tensors: Vec::new() };
    out.padded("memory.question", &[batch, lq, config.d_model], &reader.encode_questions(&asked)?)?;
    out.padded("memory.passage", &[batch, k, lp, config.d_model], &reader.encode_memory(&texts.concat())?)?;
    let scored = reader.score(&questions)?;
    out.padded("live_a", &[batch, k, lq + lp, config.d_model], &scored.live_a)?;
    let scores = out.real("scores", &[batch, k], &scored.scores)?;
    let chosen = be.top_m(&scored.scores, &scored.groups, reader.glimmer.selected);
    let index = be.download(&chosen.index)?.into_iter().enumerate();
    let index = index.map(|(i, passage)| passage as i32 - (i / m * k) as i32);
    out.push("selected", &[batch, m], Values::Integer(index.collect()));
    let encoded = reader.finish(&scored.live_a, &chosen);
    out.padded("live_b", &[batch, m, lq + lp, config.d_model], &encoded)?;

    let segments = be.merge(&encoded.segments, &chosen.groups);
    let evidence = Evidence { rows: &encoded.rows, segments: &segments };
    let (embedding, decoder) = (&reader.weights.encoder.embedding, &reader.weights.decoder);
    let logits = decoder.teach(be, config, embedding, &evidence, &targets);
    let nll = be.download(&be.log_prob(&logits, &be.upload(targets.concat())))?;
    let lm_loss = -nll.iter().map(|x| x.to_f64()).sum::<f64>() / nll.len() as f64;
    let rows = Segments::packed(be, targets.iter().map(|t| t.len()));
    out.padded("logits", &[batch, lt, config.vocab_size], &Encoded { rows: logits, segments: rows })?;
    let alone = log_prob_alone(reader, &scored, &targets, k)?;
    let distill = |direction| {
        let pairs = scores.chunks(k).zip(alone.chunks(k));
        let total: f64 = pairs.map(|(s, l)| distill_loss(s, l, reader.glimmer.temperature, direction)).sum();
        Values::Real(vec![total / batch as f64])
    };
    let (lm_rank, rank_lm) = (distill(DistillDirection::LmRank), distill(DistillDirection::RankLm));
    out.push("lm_logprob", &[batch, k], Values::Real(alone));
    out.push("lm_loss", &[1], Values::Real(vec![lm_loss]));
    out.push("distill_loss", &[1], lm_rank);
    out.push("distill_loss_rank_lm", &[1], rank_lm);

    let mut generated = vec![0; batch * max_tokens];
    let answers = decoder.greedy(be, config, embedding, &evidence, max_tokens)?;
    for (row, answer) in generated.chunks_mut(max_tokens).zip(answers) {
        row.iter_mut().zip(answer.tokens).for_each(|(place, token)| *place = token as i32);
    }
    out.push("generated", &[batch, max_tokens], Values::Integer(generated));
    Ok(out.tensors)
}

/// `log p(answer | passage, question)` with each of the `k` passages given to the decoder by itself, summed over
/// the answer's tokens. → `[b · k]`.
fn log_prob_alone<B: Backend>(
    reader: &Reader<B>,
    scored: &Scored<B>,
    targets: &[&[u32]],
    k: usize,
) -> Result<Vec<f64>> {
    let be = &reader.be;
    let encoded = reader.finish(&scored.live_a, &Selection::all(be, scored.live_a.segments.count));
    let evidence = Evidence { rows: &encoded.rows, segments: &encoded.segments };
    let repeated: Vec<&[u32]> = targets.iter().flat_map(|target| std::iter::repeat_n(*target, k)).collect();
    let embedding = &reader.weights.encoder.embedding;
    let logits = reader.weights.decoder.teach(be, &reader.config, embedding, &evidence, &repeated);
    let log_probs = be.download(&be.log_prob(&logits, &be.upload(repeated.concat())))?;
    let mut rest = log_probs.as_slice();
    let sum = |target: &&[u32]| {
        let (own, behind) = rest.split_at(target.len());
        rest = behind;
        own.iter().map(|x| x.to_f64()).sum()
    };
    Ok(repeated.iter().map(sum).collect())
}

struct Out<'a, B: Backend> {
    be: &'a B,
    tensors: Vec<Tensor>,
}

impl<B: Backend> Out<'_, B> {
    fn push(&mut self, name: &'static str, shape: &[usize], values: Values) {
        self.tensors.push(Tensor { name: name.into(), shape: shape.to_vec(), values });
    }

    fn real(&mut self, name: &'static str, shape: &[usize], buf: &B::Buf<B::Wide>) -> Result<Vec<f64>> {
        let values: Vec<f64> = self.be.download(buf)?.iter().map(|x| x.to_f64()).collect();
        self.push(name, shape, Values::Real(values.clone()));
        Ok(values)
    }

    /// Segments, each padded with zero rows to the last but one of `shape`.
    fn padded(&mut self, name: &'static str, shape: &[usize], encoded: &Encoded<B>) -> Result<()> {
        let [.., length, width] = *shape else { unreachable!("shapes end in rows and columns") };
        let rows = encoded.rows.download(self.be)?;
        let offsets = self.be.download(&encoded.segments.offsets)?;
        let mut values = vec![0.0; shape.iter().product()];
        for (place, bounds) in values.chunks_mut(length * width).zip(offsets.windows(2)) {
            let segment = &rows[bounds[0] as usize * width..bounds[1] as usize * width];
            place.iter_mut().zip(segment).for_each(|(place, x)| *place = x.to_f64());
        }
        self.push(name, shape, Values::Real(values));
        Ok(())
    }
}
