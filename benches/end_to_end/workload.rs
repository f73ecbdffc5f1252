//! What there is to read: ids and memories without meaning, of the paper's lengths.

use std::time::Instant;

use glimmer::backend::{Backend, Element, Mat, Stored};
use glimmer::model::{Config, Passages, Question, Reader};
use half::bf16;

/// Tokens, as in the paper's experiments; the answer is as long as most of KILT's at the most.
pub const QUESTION: usize = 48;
pub const PASSAGE: usize = 304;
pub const ANSWER: usize = 16;
/// Tokens of a passage, at the most.
pub const LONGEST: usize = 464;
/// Passages retrieved, at the most.
const MOST: usize = 40;

/// A question, and passages for it, both as tokens and as memories.
pub struct Texts {
    question: Vec<u32>,
    tokens: Vec<Vec<u32>>,
    memories: Vec<Vec<bf16>>,
}

/// Of one question.
pub enum Found<'a> {
    Tokens(Vec<&'a [u32]>),
    Memories(Vec<Stored<'a>>),
}

impl Texts {
    pub fn new(config: &Config) -> Self {
        let text = |stream: usize, length: usize| -> Vec<u32> {
            (0..length).map(|i| (2 + (stream * 1009 + i) * 7919 % (config.vocab_size - 2)) as u32).collect()
        };
        let memory = |stream: usize| -> Vec<bf16> {
            let draw = |i| bf16::from_f64(glimmer::random::normal(2, stream as u64, i));
            (0..(LONGEST * config.d_model) as u64).map(draw).collect()
        };
        Self {
            question: text(0, QUESTION),
            tokens: (1..=MOST).map(|i| text(i, LONGEST)).collect(),
            memories: (1..=MOST).map(memory).collect(),
        }
    }

    /// The first `k`, of so many tokens each, as FiD has to have them or from memory.
    pub fn passages(&self, in_full: bool, (k, tokens): (usize, usize)) -> Found<'_> {
        match in_full {
            true => Found::Tokens(self.tokens[..k].iter().map(|text| &text[..tokens]).collect()),
            false => {
                let rows = self.memories[..k].iter().map(|m| &m[..m.len() / LONGEST * tokens]);
                Found::Memories(rows.map(Stored::Bf16).collect())
            }
        }
    }

    pub fn question<'a>(&'a self, passages: &'a Found<'a>) -> Question<'a> {
        let passages = match passages {
            Found::Tokens(tokens) => Passages::Tokens(tokens),
            Found::Memories(memories) => Passages::Memory(memories),
        };
        Question { ids: &self.question, passages }
    }
}

/// How long the decoder takes for the keys and values of so many rows, before its first token.
pub fn prefill_seconds<B: Backend>(reader: &Reader<B>, rows: usize) -> f64 {
    let d = reader.config.d_model;
    let encoded = Mat::upload(&reader.be, rows, d, vec![B::Elem::from_f64(0.1); rows * d]);
    let idle = reader.be.upload(vec![0u32]);
    let times = (0..3).map(|_| {
        let start = Instant::now();
        let memories: Vec<_> =
            reader.weights.decoder.blocks.iter().map(|b| b.cross.decoding_memory(&reader.be, &encoded)).collect();
        reader.be.download(&idle).expect("the machine works");
        drop(memories);
        start.elapsed().as_secs_f64()
    });
    crate::common::median(times.collect()).unwrap_or_default()
}
