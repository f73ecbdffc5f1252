//! What reading a question costs in multiply-adds, in the three ways that [`CostMode`] names.
//!
//! The paper (GLIMMER, arXiv 2306.10231) gives formulas in its text and plots speeds in its figure 2, and the two do
//! not agree. The paper does not say what the figure counts; the figure's column below is what gives its three
//! speeds to their last printed digit.
//!
//! | | text, sections 2 and 3 | figure 2 |
//! |---|---|---|
//! | an encoder layer, a token | `12d²`, as of `4d²` of attention and an ungated feed-forward 4d wide | `11.5d²`, as T5.1.1 is: its gated feed-forward, 2.5d wide, takes `7.5d²` |
//! | a decoder layer, an answer token | `14d²` | `13.5d²` |
//! | keys and values of a decoder layer, a token read | `2d²` | `2d²` |
//! | tokens of a passage | `n_p`, the passage's; 48 of question and 304 of passage in the experiments | `E = 384`, the encoder's whole input |
//! | tokens of an answer | `n_t` | 64 |
//!
//! Neither counts attention's products of tokens with tokens, the question's own encoding, the scorer or the output
//! layer. [`CostMode::Exact`] does, at the real widths: a feed-forward is 2.5d wide in T5.1.1 XL and XXL only.
//!
//! A multiply-add is one term of a matrix product, whether by weights or of attention's queries, keys, probabilities
//! and values. Norms, softmaxes, gates, position biases, residual sums and pooling are not counted.
//!
//! All formulas are of one question. The cost of an evaluation is the mean over its questions: attention's terms
//! depend on squares of lengths, so the cost of the mean lengths would be another number.
//!
//! ```
//! use glimmer::cost::{CostMode, Lengths, Workload, multiply_adds, samples_per_tera};
//! use glimmer::model::{Config, Cut, Glimmer};
//!
//! # fn main() -> anyhow::Result<()> {
//! let config = Config::t5_v1_1("xxl")?;
//! let glimmer = Glimmer::new(Cut::nearest(config.num_layers, 1.0 / 3.0, 0.25)?, 5);
//! let lengths = Lengths { question: 48, passage: 336, answer: 64 };
//! let workload = Workload::uniform(&glimmer, 25, lengths);
//! let figure = samples_per_tera(multiply_adds(CostMode::PaperFigure, &config, &glimmer, &workload));
//! assert_eq!(format!("{figure:.10}"), "0.1278586731");
//! # Ok(())
//! # }
//! ```

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::model::{Config, FeedForwardKind, Glimmer, Reading};

#[cfg(test)]
mod tests;

/// How multiply-adds are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CostMode {
    /// By the formulas of the paper's text.
    PaperText,
    /// By the formula that reproduces the paper's figure 2.
    PaperFigure,
    /// Every multiply-add of this model on these lengths.
    Exact,
}

/// What there is to read for one question. Lengths in tokens, ends of text included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Of the question.
    pub question: usize,
    /// Of each passage that is read in full, without the question; `m` of them.
    pub read: Vec<usize>,
    /// Of each passage that is retrieved and scored, but not read; `k − m` of them.
    pub unread: Vec<usize>,
    /// Of the answer.
    pub answer: usize,
}

/// Tokens of each text, where all questions have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Of the question.
    pub question: usize,
    /// Of each passage, without the question.
    pub passage: usize,
    /// Of the answer.
    pub answer: usize,
}

impl Workload {
    /// `retrieved` passages of one length, of which `glimmer` reads as many as it selects.
    pub fn uniform(glimmer: &Glimmer, retrieved: usize, lengths: Lengths) -> Self {
        let read = glimmer.selected.min(retrieved);
        Self {
            question: lengths.question,
            read: vec![lengths.passage; read],
            unread: vec![lengths.passage; retrieved - read],
            answer: lengths.answer,
        }
    }

    /// What `reading` read, of passages of these lengths in the retriever's order.
    ///
    /// # Errors
    /// Lengths of other passages than those that were read.
    pub fn of(question: usize, passages: &[usize], reading: &Reading) -> Result<Self> {
        ensure!(
            passages.len() == reading.scores.len(),
            "lengths of {} passages were given, but {} were scored; give that of each retrieved passage",
            passages.len(),
            reading.scores.len()
        );
        let mut left: Vec<Option<usize>> = passages.iter().copied().map(Some).collect();
        let mut read = Vec::with_capacity(reading.read.len());
        for &passage in &reading.read {
            let length = left.get_mut(passage).and_then(Option::take);
            ensure!(length.is_some(), "passage {passage} was read twice, or is none of the {}", passages.len());
            read.extend(length);
        }
        Ok(Self { question, read, unread: left.into_iter().flatten().collect(), answer: reading.answer.len() })
    }
}

/// Multiply-adds of one question, stage by stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Breakdown {
    /// The question by itself through the memory encoder, or through the question encoder.
    pub question: f64,
    /// All `k` passages through live encoder A, or through the separate reranker.
    pub live_a: f64,
    /// The scorer.
    pub score: f64,
    /// The `m` passages read through the layers that are left.
    pub live_b: f64,
    /// Keys and values of what was read, for every decoder layer.
    pub cross_memory: f64,
    /// The answer, token by token, output layer included.
    pub decode: f64,
}

impl Breakdown {
    /// Where the multiply-adds of `workload` go. Passages come from the store; see [`memory_multiply_adds`] for those
    /// that do not.
    ///
    /// # Panics
    /// When `glimmer` is no cut of `config`, which [`Config::check`] refuses.
    pub fn new(mode: CostMode, config: &Config, glimmer: &Glimmer, workload: &Workload) -> Self {
        let layers = Layers::new(config, glimmer);
        let tokens = |question: usize, passages: &[usize]| -> f64 {
            passages.iter().map(|passage| (question + passage) as f64).sum()
        };
        let Workload { question, read, unread, answer } = workload;
        match mode {
            CostMode::PaperText => {
                let squares = Squares { encoder: 12.0, cross_memory: 2.0, decoder: 14.0 };
                squares.breakdown(config, &layers, [tokens(0, read), tokens(0, unread), *answer as f64])
            }
            CostMode::PaperFigure => {
                let squares = Squares { encoder: 11.5, cross_memory: 2.0, decoder: 13.5 };
                squares.breakdown(config, &layers, [tokens(*question, read), tokens(*question, unread), *answer as f64])
            }
            CostMode::Exact => Widths::new(config).breakdown(&layers, workload),
        }
    }

    /// Multiply-adds of all stages.
    pub fn total(&self) -> f64 {
        self.question + self.live_a + self.score + self.live_b + self.cross_memory + self.decode
    }
}

/// Multiply-adds of reading one question: [`Breakdown::total`]. A whole number in exact mode, where it counts a
/// question read by itself: in a batch, an answer that has ended is computed on until the longest has.
///
/// # Panics
/// As [`Breakdown::new`].
pub fn multiply_adds(mode: CostMode, config: &Config, glimmer: &Glimmer, workload: &Workload) -> f64 {
    Breakdown::new(mode, config, glimmer, workload).total()
}

/// Questions read for 10¹² multiply-adds, each of which costs this many: the horizontal axis of the paper's figure 2,
/// "samples per TFLOP". It counts a multiply-add as one FLOP; where it counts as two, halve this.
pub fn samples_per_tera(multiply_adds: f64) -> f64 {
    1e12 / multiply_adds
}

/// Multiply-adds of encoding a passage ahead of time, exactly: the first `L − αL` layers over it alone. Zero in FiD.
/// They are part of reading a question only where its passages come as tokens.
///
/// # Panics
/// As [`Breakdown::new`].
pub fn memory_multiply_adds(config: &Config, glimmer: &Glimmer, passage_tokens: usize) -> f64 {
    Layers::new(config, glimmer).memory * Widths::new(config).encoder_layer(passage_tokens as f64)
}

/// Bytes of the memories of so many tokens, `d` values each, beside which the store's index is small. Zero in FiD, which
/// keeps nothing. A bf16 is 2 bytes; an 8-bit value with one f32 scale a token is `1 + 4/d`.
///
/// # Panics
/// As [`Breakdown::new`].
pub fn memory_bytes(config: &Config, glimmer: &Glimmer, tokens: u64, bytes_per_value: f64) -> f64 {
    if Layers::new(config, glimmer).memory == 0.0 {
        return 0.0;
    }
    tokens as f64 * config.d_model as f64 * bytes_per_value
}

/// How many layers a token passes in each stage.
struct Layers {
    memory: f64,
    live_a: f64,
    live_b: f64,
    decoder: f64,
}

impl Layers {
    fn new(config: &Config, glimmer: &Glimmer) -> Self {
        let (live, rerank) = (glimmer.live_layers, glimmer.rerank_layers);
        assert!(
            rerank <= live && live <= config.num_layers,
            "{rerank} rerank layers of {live} live ones are no cut of an encoder of {}",
            config.num_layers
        );
        // A separate reranker leaves its work behind: what is read starts from the memory again.
        let reranked = if glimmer.reranker { 0 } else { rerank };
        Self {
            memory: (config.num_layers - live) as f64,
            live_a: rerank as f64,
            live_b: (live - reranked) as f64,
            decoder: config.decoder_layers() as f64,
        }
    }
}

/// The paper's formulas, by their multiples of `d²` a token and layer.
struct Squares {
    encoder: f64,
    cross_memory: f64,
    decoder: f64,
}

impl Squares {
    /// With the text's multiples (FiD and LUMEN in section 2, GLIMMER in section 3),
    ///
    /// ```text
    /// F_FiD     = k·n_p·L·14d² + n_t·L·14d²
    /// F_LUMEN   = k·n_p·αL·12d² + k·n_p·L·2d² + n_t·L·14d²
    /// F_GLIMMER = F_LUMEN(m) + (k − m)·n_p·βαL·12d²
    /// ```
    ///
    /// and with those of figure 2
    ///
    /// ```text
    /// F = L·d²·(m·E·(11.5α + 2) + (k − m)·E·11.5αβ + 13.5·n_t)
    /// ```
    ///
    /// are all one formula: FiD is LUMEN with α = 1, and LUMEN is GLIMMER with m = k. Beyond the paper, the decoder's
    /// terms take the decoder's number of layers, and a separate reranker's layers run over all `k`.
    fn breakdown(&self, config: &Config, layers: &Layers, [read, unread, answer]: [f64; 3]) -> Breakdown {
        let square = (config.d_model as f64).powi(2);
        Breakdown {
            question: 0.0,
            live_a: (read + unread) * layers.live_a * self.encoder * square,
            score: 0.0,
            live_b: read * layers.live_b * self.encoder * square,
            cross_memory: read * layers.decoder * self.cross_memory * square,
            decode: answer * layers.decoder * self.decoder * square,
        }
    }
}

/// What the exact count depends on beside layers and lengths.
struct Widths {
    /// `d`.
    model: f64,
    /// `h·e`.
    inner: f64,
    /// Multiply-adds of a feed-forward, a token: `3·d·f`, or `2·d·f` of an ungated one.
    feed_forward: f64,
    /// `v`.
    vocabulary: f64,
}

impl Widths {
    fn new(config: &Config) -> Self {
        let matrices = match config.feed_forward_proj {
            FeedForwardKind::GatedGelu => 3,
            FeedForwardKind::Relu => 2,
        };
        Self {
            model: config.d_model as f64,
            inner: config.inner() as f64,
            feed_forward: (matrices * config.d_model * config.d_ff) as f64,
            vocabulary: config.vocab_size as f64,
        }
    }

    /// One encoder layer over a segment of `n` tokens: queries, keys, values and output, the feed-forward, and the two
    /// products of every token with every token.
    fn encoder_layer(&self, n: f64) -> f64 {
        n * (4.0 * self.model * self.inner + self.feed_forward) + 2.0 * self.inner * n * n
    }

    /// One decoder layer over an answer of `t` tokens that reads `n`. Its `i`-th token attends to `i` tokens of the
    /// answer, `t(t + 1)/2` in all; keys and values of the `n` are not made here.
    fn decoder_layer(&self, t: f64, n: f64) -> f64 {
        let own = t * 4.0 * self.model * self.inner + self.inner * t * (t + 1.0);
        let cross = t * 2.0 * self.model * self.inner + 2.0 * self.inner * t * n;
        own + cross + t * self.feed_forward
    }

    fn breakdown(&self, layers: &Layers, workload: &Workload) -> Breakdown {
        let segment = |passage: &usize| (workload.question + passage) as f64;
        let (read, answer) = (workload.read.iter().map(segment), workload.answer as f64);
        let retrieved = read.clone().chain(workload.unread.iter().map(segment));
        let tokens_read: f64 = read.clone().sum();
        let layer = |n| self.encoder_layer(n);
        Breakdown {
            question: layers.memory * layer(workload.question as f64),
            live_a: layers.live_a * retrieved.clone().map(layer).sum::<f64>(),
            score: self.model * retrieved.count() as f64,
            live_b: layers.live_b * read.map(layer).sum::<f64>(),
            cross_memory: layers.decoder * 2.0 * self.model * self.inner * tokens_read,
            decode: layers.decoder * self.decoder_layer(answer, tokens_read) + answer * self.model * self.vocabulary,
        }
    }
}
