//! Stand-in for the pass that is being written: its types.

use anyhow::{Result, bail};

use crate::backend::{Backward, Grad};
use crate::model::{Question, Reader, Weights};
use crate::nn::Recompute;

/// A question, its passages and its answer.
pub struct Example<'a> {
    /// The question and its passages.
    pub question: Question<'a>,
    /// The answer's tokens, the end of text included.
    pub target: &'a [u32],
}

/// What becomes of the memory encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryEncoder {
    /// It is trained.
    #[default]
    Trained,
    /// It stays as it is.
    Frozen,
}

/// How a batch is passed through the reader.
pub struct Pass {
    /// What becomes of the memory encoder.
    pub memory: MemoryEncoder,
    /// What is computed again.
    pub recompute: Recompute,
    /// Rate.
    pub dropout: f64,
    /// Of this pass's masks.
    pub seed: u64,
    /// One over the target tokens of the whole batch.
    pub lm_scale: f64,
    /// Weight over the questions of the whole batch; 0 for no distillation.
    pub distill_scale: f64,
}

/// Losses of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Sum over the target tokens.
    pub lm: f64,
    /// Target tokens.
    pub tokens: usize,
    /// Sum over the questions.
    pub distill: f64,
    /// Questions.
    pub questions: usize,
}

/// Adds the gradients of a batch.
///
/// # Errors
/// Always.
pub fn gradients<B: Backward>(_: &Reader<B>, _: &[Example<'_>], _: &Pass, _: &mut Weights<Grad<B>>) -> Result<Losses> {
    bail!("not here yet")
}
