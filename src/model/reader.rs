//! The reader: memory encoder, live encoder A, scorer, live encoder B, decoder. FiD, LUMEN and GLIMMER differ in
//! where the encoder is cut and in how many passages are kept, and in nothing else.

use anyhow::{Context, Result, bail, ensure};

use super::config::{Config, Glimmer};
use super::decoder::{Decoded, Evidence};
use super::weights::{Layers, Weights};
use crate::backend::{Backend, Direction, Element, Join, Mat, Scorer, Segments, Selection, Stored, check_ids};
use crate::nn::{EncoderBlock, encode};

/// A reader on a machine.
pub struct Reader<B: Backend> {
    /// The machine.
    pub be: B,
    /// The T5.
    pub config: Config,
    /// The cut and the scorer.
    pub glimmer: Glimmer,
    /// The weights, on the machine.
    pub weights: Weights<Mat<B>>,
}

/// A question's retrieved passages, best first as the retriever has it.
#[derive(Clone, Copy, Debug)]
pub enum Passages<'a> {
    /// Token ids of each, to be encoded now.
    Tokens(&'a [&'a [u32]]),
    /// What the memory encoder made of each ahead of time.
    Memory(&'a [Stored<'a>]),
}

/// A question and what was retrieved for it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Token ids, the end of text included.
    pub ids: &'a [u32],
    /// At least one.
    pub passages: Passages<'a>,
}

/// What a reader made of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Token ids of the answer, the end of text included where it was reached.
    pub answer: Vec<u32>,
    /// Natural logarithm of each token's probability.
    pub log_probs: Vec<f64>,
    /// The reranker's score of every retrieved passage, in the retriever's order.
    pub scores: Vec<f64>,
    /// Which of the retrieved passages were read, best first.
    pub read: Vec<usize>,
}

/// A part of reading, behind which [`Reader::read_in_stages`] says that it has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The questions by themselves.
    Question,
    /// The memories of the passages, from the store; of those that come as tokens, the memory encoder.
    Memory,
    /// Questions and passages joined, and live encoder A or the separate reranker.
    LiveA,
    /// The scorer, and the choice of the `m` best.
    Select,
    /// The layers that are left.
    LiveB,
    /// The decoder.
    Answer,
}

/// Rows and the segments they form.
pub struct Encoded<B: Backend> {
    /// `[n, d]`.
    pub rows: Mat<B>,
    /// Which rows belong together.
    pub segments: Segments<B>,
}

/// The state of a batch of questions after scoring.
pub struct Scored<B: Backend> {
    /// What live encoder A made of each question and passage; with a separate reranker, what it was given.
    pub live_a: Encoded<B>,
    /// `[passages]`.
    pub scores: B::Buf<B::Wide>,
    /// Which passages belong to which question.
    pub groups: Segments<B>,
}

impl<B: Backend> Reader<B> {
    /// Layers that run ahead of time.
    pub fn memory_layers(&self) -> usize {
        self.config.num_layers - self.glimmer.live_layers
    }

    pub(crate) fn blocks(&self, range: std::ops::Range<usize>) -> &[EncoderBlock<Mat<B>>] {
        &self.weights.encoder.layers.blocks[range]
    }

    /// The first `L − αL` layers over each text by itself; what the memory store keeps. No final norm.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn encode_memory(&self, texts: &[&[u32]]) -> Result<Encoded<B>> {
        let layers = &self.weights.encoder.layers;
        self.encode_alone(texts, &layers.bias, self.blocks(0..self.memory_layers()))
    }

    /// Questions, by the memory encoder or by one of their own.
    ///
    /// # Errors
    /// An id beyond the vocabulary.
    pub fn encode_questions(&self, texts: &[&[u32]]) -> Result<Encoded<B>> {
        match &self.weights.question_encoder {
            Some(Layers { bias, blocks }) => self.encode_alone(texts, bias, blocks),
            None => self.encode_memory(texts),
        }
    }

    fn encode_alone(&self, texts: &[&[u32]], bias: &Mat<B>, blocks: &[EncoderBlock<Mat<B>>]) -> Result<Encoded<B>> {
        for (i, text) in texts.iter().enumerate() {
            check_ids(text, self.config.vocab_size).with_context(|| format!("text {i} of the batch"))?;
        }
        let ids = texts.concat();
        let segments = Segments::packed(&self.be, texts.iter().map(|text| text.len()));
        let mut rows = self.be.embed(&self.weights.encoder.embedding, &self.be.upload(ids));
        self.encode(&mut rows, &segments, bias, blocks);
        Ok(Encoded { rows, segments })
    }

    fn encode(&self, rows: &mut Mat<B>, segments: &Segments<B>, bias: &Mat<B>, blocks: &[EncoderBlock<Mat<B>>]) {
        let shape = self.config.shape();
        encode(&self.be, &shape, blocks, rows, (segments, shape.bias(bias, Direction::Both)));
    }

    /// Encodes a batch of questions and, where they are not stored, their passages; joins them, `H_i = [Q; P_i]`.
    ///
    /// # Errors
    /// A question without tokens or passages, an empty passage, ids beyond the vocabulary, memory of another width.
    fn join(&self, questions: &[Question<'_>], passed: &mut dyn FnMut(Stage)) -> Result<(Encoded<B>, Segments<B>)> {
        for (i, question) in questions.iter().enumerate() {
            question.check(&self.config).with_context(|| format!("question {i} of the batch"))?;
        }
        let texts: Vec<&[u32]> = questions.iter().map(|q| q.ids).collect();
        let asked = self.encode_questions(&texts)?;
        passed(Stage::Question);
        let passages = self.passages(questions)?;
        passed(Stage::Memory);
        let groups = Segments::packed(&self.be, questions.iter().map(|q| q.passages.len()));
        let (rows, segments) = self.be.join(Join {
            question: &asked.rows,
            question_rows: &asked.segments,
            passage: &passages.rows,
            passage_rows: &passages.segments,
            groups: &groups,
        });
        Ok((Encoded { rows, segments }, groups))
    }

    /// The memories of all passages of a batch.
    pub(crate) fn passages(&self, questions: &[Question<'_>]) -> Result<Encoded<B>> {
        let (mut fresh, mut stored): (Vec<&[u32]>, Vec<Stored<'_>>) = (Vec::new(), Vec::new());
        for question in questions {
            match question.passages {
                Passages::Tokens(texts) => fresh.extend(texts),
                Passages::Memory(memories) => stored.extend(memories),
            }
        }
        if stored.is_empty() {
            return self.encode_memory(&fresh);
        }
        if !fresh.is_empty() {
            let is_fresh = |question: &Question<'_>| matches!(question.passages, Passages::Tokens(_));
            let place = |fresh: bool| questions.iter().position(|question| is_fresh(question) == fresh).unwrap_or(0);
            bail!(
                "question {} of the batch has its passages from the store and question {} as tokens; \
                 a batch reads the one or the other, not both",
                place(false),
                place(true)
            );
        }
        let d = self.config.d_model;
        let segments = Segments::packed(&self.be, stored.iter().map(|memory| memory.values() / d));
        Ok(Encoded { rows: self.be.dequantise(d, &stored), segments })
    }

    /// Everything up to the scores of all `k` passages of each question.
    ///
    /// # Errors
    /// Questions that cannot be read, see [`Reader::read`].
    pub fn score(&self, questions: &[Question<'_>]) -> Result<Scored<B>> {
        self.score_in_stages(questions, &mut |_| {})
    }

    fn score_in_stages(&self, questions: &[Question<'_>], passed: &mut dyn FnMut(Stage)) -> Result<Scored<B>> {
        let (mut live_a, groups) = self.join(questions, passed)?;
        let (live, prior) = (self.memory_layers(), self.prior(questions));
        let scorer = self.scorer(prior.as_ref());
        let scores = match &self.weights.reranker {
            None => {
                let blocks = self.blocks(live..live + self.glimmer.rerank_layers);
                self.encode(&mut live_a.rows, &live_a.segments, &self.weights.live_bias, blocks);
                passed(Stage::LiveA);
                self.be.score(&live_a.rows, &live_a.segments, scorer)
            }
            Some(Layers { bias, blocks }) => {
                let everything = Selection::all(&self.be, live_a.segments.count);
                let (mut rows, segments) = self.be.gather(&live_a.rows, &live_a.segments, &everything);
                self.encode(&mut rows, &segments, bias, blocks);
                passed(Stage::LiveA);
                self.be.score(&rows, &segments, scorer)
            }
        };
        Ok(Scored { live_a, scores, groups })
    }

    /// What the order in which passages were retrieved says of each, if that counts.
    pub(crate) fn prior(&self, questions: &[Question<'_>]) -> Option<B::Buf<B::Wide>> {
        let weight = self.glimmer.retrieval_weight;
        let of_place = |place: usize| B::Wide::from_f64(-weight * (place as f64).ln());
        let of = |question: &Question<'_>| (1..=question.passages.len()).map(of_place);
        (weight > 0.0).then(|| self.be.upload(questions.iter().flat_map(of).collect()))
    }

    pub(crate) fn scorer<'a>(&'a self, prior: Option<&'a B::Buf<B::Wide>>) -> Scorer<'a, B> {
        Scorer {
            weight: &self.weights.scorer,
            norm: self.weights.scorer_norm.as_deref(),
            prior,
            pool: self.glimmer.score_pool,
            eps: self.config.layer_norm_epsilon,
        }
    }

    /// The layers of live encoder B; with a separate reranker, all live ones.
    pub(crate) fn last_layers(&self) -> std::ops::Range<usize> {
        let reranked = if self.weights.reranker.is_some() { 0 } else { self.glimmer.rerank_layers };
        self.memory_layers() + reranked..self.config.num_layers
    }

    /// The chosen passages of live encoder A's output through the layers that are left, and the final norm; a segment
    /// a passage.
    pub fn finish(&self, live_a: &Encoded<B>, chosen: &Selection<B>) -> Encoded<B> {
        let (mut rows, segments) = self.be.gather(&live_a.rows, &live_a.segments, chosen);
        self.encode(&mut rows, &segments, &self.weights.live_bias, self.blocks(self.last_layers()));
        let rows = self.be.rms_norm(&rows, &self.weights.encoder.norm, self.config.layer_norm_epsilon);
        Encoded { rows, segments }
    }

    /// Answers a batch of questions, each from the `m` best of its passages, in at most `max_tokens` tokens.
    ///
    /// # Errors
    /// A question without tokens or passages, an empty passage, ids beyond the vocabulary, memory of another
    /// width, and what the machine reports.
    pub fn read(&self, questions: &[Question<'_>], max_tokens: usize) -> Result<Vec<Reading>> {
        self.read_in_stages(questions, max_tokens, &mut |_| {})
    }

    /// [`read`](Self::read), calling `passed` behind each stage, in their order: for measurements. A machine that works
    /// ahead of the host may not be done with the stage then.
    ///
    /// # Errors
    /// As those of [`read`](Self::read).
    pub fn read_in_stages(
        &self,
        questions: &[Question<'_>],
        max_tokens: usize,
        passed: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Reading>> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let scored = self.score_in_stages(questions, passed)?;
        let chosen = self.be.top_m(&scored.scores, &scored.groups, self.glimmer.selected);
        passed(Stage::Select);
        let encoded = self.finish(&scored.live_a, &chosen);
        passed(Stage::LiveB);
        let segments = self.be.merge(&encoded.segments, &chosen.groups);
        let evidence = Evidence { rows: &encoded.rows, segments: &segments };
        let decoder = &self.weights.decoder;
        let answers = decoder.greedy(&self.be, &self.config, &self.weights.encoder.embedding, &evidence, max_tokens)?;
        passed(Stage::Answer);
        self.readings(questions, &scored, &chosen, answers)
    }

    fn readings(
        &self,
        questions: &[Question<'_>],
        scored: &Scored<B>,
        chosen: &Selection<B>,
        answers: Vec<Decoded>,
    ) -> Result<Vec<Reading>> {
        let scores = self.be.download(&scored.scores)?;
        let index = self.be.download(&chosen.index)?;
        let kept = self.be.download(&chosen.groups.offsets)?;
        let mut first = 0;
        let mut readings = Vec::with_capacity(questions.len());
        for ((question, answer), kept) in questions.iter().zip(answers).zip(kept.windows(2)) {
            let behind = first + question.passages.len();
            readings.push(Reading {
                answer: answer.tokens,
                log_probs: answer.log_probs,
                scores: scores[first..behind].iter().map(|s| s.to_f64()).collect(),
                read: index[kept[0] as usize..kept[1] as usize].iter().map(|&i| i as usize - first).collect(),
            });
            first = behind;
        }
        Ok(readings)
    }
}

impl Passages<'_> {
    /// Passages.
    pub fn len(&self) -> usize {
        match self {
            Self::Tokens(texts) => texts.len(),
            Self::Memory(memories) => memories.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Question<'_> {
    /// Refuses what cannot be read with a model of these sizes.
    pub(crate) fn check(&self, config: &Config) -> Result<()> {
        ensure!(!self.ids.is_empty(), "has no tokens; even an empty text has its end");
        check_ids(self.ids, config.vocab_size)?;
        ensure!(!self.passages.is_empty(), "has no passages; retrieve at least one");
        match self.passages {
            Passages::Tokens(texts) => {
                for (i, text) in texts.iter().enumerate() {
                    ensure!(!text.is_empty(), "its passage {i} has no tokens");
                    check_ids(text, config.vocab_size).with_context(|| format!("its passage {i}"))?;
                }
            }
            Passages::Memory(memories) => {
                for (i, memory) in memories.iter().enumerate() {
                    check_memory(memory, config.d_model).with_context(|| format!("its passage {i}"))?;
                }
            }
        }
        Ok(())
    }
}

/// Refuses stored rows that are not `d` wide.
fn check_memory(memory: &Stored<'_>, d: usize) -> Result<()> {
    let values = memory.values();
    ensure!(values > 0 && values.is_multiple_of(d), "it has {values} stored values, no number of rows of width {d}");
    if let Stored::Int8 { scales, .. } = memory {
        let rows = values / d;
        ensure!(scales.len() == rows, "it has {} scales for {rows} stored rows; each row has one", scales.len());
    }
    Ok(())
}
