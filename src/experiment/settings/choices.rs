//! The parts of an experiment's settings that are choices among several things.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::experiment::spans::SpanCorruption;
use crate::kilt::MissingScore;
use crate::model::Config;

/// Where weights begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// A folder with configuration, weights and tokenizer: any T5.1.1, or a reader.
    Checkpoint(PathBuf),
    /// Random weights.
    Random(Sizes),
}

/// Sizes of a T5.1.1 that begins with random weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sizes {
    /// Folder with `tokenizer.json` or `spiece.model`.
    pub tokenizer: PathBuf,
    /// Vocabulary; the tokenizer's unless told.
    pub vocab_size: Option<usize>,
    /// `d`.
    pub d_model: usize,
    /// `e`.
    pub d_kv: usize,
    /// `f`.
    pub d_ff: usize,
    /// `L`.
    pub num_layers: usize,
    /// Decoder layers.
    pub num_decoder_layers: usize,
    /// `h`.
    pub num_heads: usize,
    /// What the random weights are like.
    pub beginning: Beginning,
}

/// What random weights are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beginning {
    /// As T5's before its pretraining.
    #[default]
    T5,
    /// As those of a model that begins to copy, see [`Reader::begin_copying`](crate::model::Reader::begin_copying).
    Copying,
}

impl Default for Sizes {
    fn default() -> Self {
        let config = Config::mini();
        Self {
            tokenizer: "tokenizer".into(),
            vocab_size: None,
            d_model: config.d_model,
            d_kv: config.d_kv,
            d_ff: config.d_ff,
            num_layers: config.num_layers,
            num_decoder_layers: config.decoder_layers(),
            num_heads: config.num_heads,
            beginning: Beginning::T5,
        }
    }
}

impl Sizes {
    /// The configuration of such a model with a tokenizer of so many ids.
    pub fn config(&self, ids: usize) -> Config {
        Config {
            vocab_size: self.vocab_size.unwrap_or(ids),
            d_model: self.d_model,
            d_kv: self.d_kv,
            d_ff: self.d_ff,
            num_layers: self.num_layers,
            num_decoder_layers: Some(self.num_decoder_layers),
            num_heads: self.num_heads,
            ..Config::mini()
        }
    }
}

/// How a separate reranker begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RerankerInit {
    /// As the encoder's layers in its place.
    #[default]
    Encoder,
    /// At random.
    Random,
}

/// What is learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The tasks' answers.
    #[default]
    Tasks,
    /// T5's pretraining, on the passages of the knowledge source.
    SpanCorruption(SpanCorruption),
}

/// The files of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFiles {
    /// Questions that are learned, jsonl or gzipped, named as in `nq-train-kilt.jsonl`.
    pub train: PathBuf,
    /// Questions that are asked in evaluations; none where the task is not evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<PathBuf>,
    /// `em` or `accuracy`; unless told, as the task's name says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<TaskMetric>,
    /// Questions of a training file that has only ids, as TriviaQA's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_inputs: Option<PathBuf>,
    /// The same for the file of the evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev_inputs: Option<PathBuf>,
    /// Share of a question's words that are left out whenever it is learned, other words each time. A question of a few
    /// words asks more of the scorer than a sentence does; one sentence makes many of them.
    #[serde(default)]
    pub thin: f64,
    /// What is done about this task's questions whose evidence was not retrieved; as with all tasks unless told. Where the
    /// evidence is seldom retrieved when it counts, what is learned with it always there is of little use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<Gold>,
}

/// A task's headline metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskMetric {
    /// Exact match after normalisation.
    Em,
    /// Letter for letter.
    Accuracy,
}

/// What a threshold does with entries that have no score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// They stay.
    #[default]
    Keep,
    /// They go.
    Drop,
}

impl From<Missing> for MissingScore {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Keep => Self::Keep,
            Missing::Drop => Self::Drop,
        }
    }
}

/// Where passages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retriever {
    /// The knowledge source, by words.
    #[default]
    Bm25,
    /// The task files, in the field `ctxs`.
    Given,
}

/// What is done about a question whose evidence was not retrieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gold {
    /// A passage of each gold page that is missing comes in at a random place among the first `m`, and the last
    /// ones retrieved go.
    #[default]
    Insert,
    /// Nothing.
    Keep,
}

/// Which of a question's answers is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Any, drawn each time.
    #[default]
    Random,
    /// The first one.
    First,
}
