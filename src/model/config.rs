//! `config.json`: Hugging Face's fields of T5, and the object `glimmer` for what is ours.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::backend::{AnswerLogProb, DistillDirection, Pool};
use crate::io::write_atomic;
use crate::nn::Shape;

/// The feed-forward's nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeedForwardKind {
    /// T5.1.1: `gelu_tanh(x·W0ᵀ) ⊙ x·W1ᵀ`.
    #[serde(rename = "gated-gelu")]
    GatedGelu,
    /// T5 1.0: `max(x·Wᵀ, 0)`. Encoders only.
    #[serde(rename = "relu")]
    Relu,
}

/// Sizes of a T5, and where a reader cuts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Always `t5`.
    #[serde(default = "t5")]
    pub model_type: String,
    /// `v`.
    pub vocab_size: usize,
    /// `d`.
    pub d_model: usize,
    /// `e`.
    pub d_kv: usize,
    /// `f`.
    pub d_ff: usize,
    /// `L`, encoder layers.
    pub num_layers: usize,
    /// Decoder layers; as many as encoder layers unless said otherwise.
    #[serde(default)]
    pub num_decoder_layers: Option<usize>,
    /// `h`.
    pub num_heads: usize,
    /// Rows of the position-bias tables.
    #[serde(default = "buckets")]
    pub relative_attention_num_buckets: usize,
    /// Distances from here on share the last bucket.
    #[serde(default = "max_distance")]
    pub relative_attention_max_distance: usize,
    /// ε of the norms.
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f64,
    /// The feed-forward's nonlinearity; T5 1.0 says nothing.
    #[serde(default = "relu")]
    pub feed_forward_proj: FeedForwardKind,
    /// Whether the output layer is the embedding (T5 1.0).
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    /// Dropout in training.
    #[serde(default = "dropout")]
    pub dropout_rate: f64,
    /// Padding, which also starts an answer.
    #[serde(default)]
    pub pad_token_id: u32,
    /// The end of every text.
    #[serde(default = "eos")]
    pub eos_token_id: u32,
    /// The decoder's first input.
    #[serde(default)]
    pub decoder_start_token_id: u32,
    /// Ours; a plain T5.1.1 folder has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glimmer: Option<Glimmer>,
}

fn t5() -> String {
    "t5".into()
}
fn buckets() -> usize {
    32
}
fn max_distance() -> usize {
    128
}
fn epsilon() -> f64 {
    1e-6
}
fn relu() -> FeedForwardKind {
    FeedForwardKind::Relu
}
fn yes() -> bool {
    true
}
fn dropout() -> f64 {
    0.1
}
fn eos() -> u32 {
    1
}

/// Where the encoder is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Layers that run at question time, `αL`; all of them in FiD.
    pub live_layers: usize,
    /// The first of those, after which passages are scored, `βαL`; none in FiD and LUMEN.
    pub rerank_layers: usize,
}

impl Cut {
    /// FiD: everything is live, nothing reranked.
    pub fn fid(layers: usize) -> Self {
        Self { live_layers: layers, rerank_layers: 0 }
    }

    /// The cut nearest to the fractions `α` of the encoder and `β` of the live layers.
    ///
    /// # Errors
    /// When a fraction is not within 0 to 1.
    pub fn nearest(layers: usize, alpha: f64, beta: f64) -> Result<Self> {
        ensure!((0.0..=1.0).contains(&alpha), "α = {alpha} is no fraction of the encoder; give 0 to 1");
        ensure!((0.0..=1.0).contains(&beta), "β = {beta} is no fraction of the live layers; give 0 to 1");
        let live_layers = (alpha * layers as f64).round() as usize;
        Ok(Self { live_layers, rerank_layers: (beta * live_layers as f64).round() as usize })
    }
}

/// What a reader is beyond its T5. Every choice that the paper leaves open and that has an alternative is here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Glimmer {
    /// Layers that run at question time.
    pub live_layers: usize,
    /// The first of those, after which passages are scored.
    pub rerank_layers: usize,
    /// `m`, passages that are read in full.
    pub selected: usize,
    /// What of a passage is scored.
    #[serde(default = "first")]
    pub score_pool: Pool,
    /// Whether the pooled row passes through a norm of its own before the projection.
    #[serde(default)]
    pub score_norm: bool,
    /// Weight of the order in which passages were retrieved: the one at place `r` = 1, 2, … has `weight · ln r` taken off
    /// its score. Nothing, as in the paper, unless told. The retriever compares words letter by letter, which a small scorer
    /// does not learn to.
    #[serde(default)]
    pub retrieval_weight: f64,
    /// Whether `question_encoder.*` encodes questions, and the memory encoder only passages.
    #[serde(default)]
    pub question_encoder: bool,
    /// Whether `reranker.*` scores the passages; those read then run through all live layers.
    #[serde(default)]
    pub reranker: bool,
    /// τ of the distillation's two softmaxes.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Weight of the distillation in the training loss.
    #[serde(default = "one")]
    pub distill_weight: f64,
    /// Which distribution is fitted to which.
    #[serde(default)]
    pub distill_direction: DistillDirection,
    /// How the log-probabilities of an answer's tokens become one number.
    #[serde(default)]
    pub answer_log_prob: AnswerLogProb,
}

fn first() -> Pool {
    Pool::First
}
fn one() -> f64 {
    1.0
}

impl Glimmer {
    /// A cut that reads `selected` passages, and otherwise the paper's choices.
    pub fn new(cut: Cut, selected: usize) -> Self {
        Self {
            live_layers: cut.live_layers,
            rerank_layers: cut.rerank_layers,
            selected,
            score_pool: Pool::First,
            score_norm: false,
            retrieval_weight: 0.0,
            question_encoder: false,
            reranker: false,
            temperature: 1.0,
            distill_weight: 1.0,
            distill_direction: DistillDirection::LmRank,
            answer_log_prob: AnswerLogProb::Sum,
        }
    }

    /// Where the encoder is cut.
    pub fn cut(&self) -> Cut {
        Cut { live_layers: self.live_layers, rerank_layers: self.rerank_layers }
    }
}

impl Config {
    /// Reads and checks `config.json` in `folder`.
    ///
    /// # Errors
    /// A file that is missing or is no T5's, with the field and what it should be.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: a checkpoint is a folder with config.json, weights and tokenizer", path.display())
        })?;
        let config: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not the configuration of a T5", path.display()))?;
        config.check().with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(config)
    }

    /// Writes `config.json` into `folder`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_atomic(&folder.join("config.json"), |file| Ok(serde_json::to_writer_pretty(file, self)?))
    }

    /// Refuses sizes that no model has, and cuts that its encoder does not allow.
    ///
    /// # Errors
    /// The field, what it is, and what it may be.
    pub fn check(&self) -> Result<()> {
        if self.model_type != "t5" {
            bail!("model_type is {:?}; only \"t5\" is read here", self.model_type);
        }
        let positive = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_layers", self.num_layers),
            ("num_decoder_layers", self.decoder_layers()),
            ("num_heads", self.num_heads),
        ];
        for (field, value) in positive {
            ensure!((1..=1 << 24).contains(&value), "{field} is {value}; it counts something and is at least 1");
        }
        let buckets = self.relative_attention_num_buckets;
        ensure!(
            buckets >= 4 && buckets.is_multiple_of(4) && self.relative_attention_max_distance > buckets / 2,
            "relative_attention_num_buckets is {buckets} and relative_attention_max_distance is {}: \
             the first must divide by 4 and the second exceed half of it",
            self.relative_attention_max_distance
        );
        ensure!(
            self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0,
            "layer_norm_epsilon is {}; it is a small positive number",
            self.layer_norm_epsilon
        );
        ensure!(
            (0.0..1.0).contains(&self.dropout_rate),
            "dropout_rate is {}; it is a probability below 1",
            self.dropout_rate
        );
        for (field, id) in [
            ("pad_token_id", self.pad_token_id),
            ("eos_token_id", self.eos_token_id),
            ("decoder_start_token_id", self.decoder_start_token_id),
        ] {
            ensure!((id as usize) < self.vocab_size, "{field} is {id}, beyond the vocabulary of {}", self.vocab_size);
        }
        self.glimmer.as_ref().map_or(Ok(()), |glimmer| self.check_cut(glimmer))
    }

    fn check_cut(&self, glimmer: &Glimmer) -> Result<()> {
        let Glimmer { live_layers, rerank_layers, selected, retrieval_weight, temperature, distill_weight, .. } =
            *glimmer;
        ensure!(
            live_layers <= self.num_layers,
            "glimmer.live_layers is {live_layers}, but the encoder has {} layers",
            self.num_layers
        );
        ensure!(
            rerank_layers <= live_layers,
            "glimmer.rerank_layers is {rerank_layers}: they are the first of the {live_layers} live layers"
        );
        ensure!(selected >= 1, "glimmer.selected is 0; a reader reads at least one passage");
        ensure!(
            (0.0..f64::INFINITY).contains(&retrieval_weight),
            "glimmer.retrieval_weight is {retrieval_weight}; it is a number and not negative"
        );
        ensure!(temperature > 0.0, "glimmer.temperature is {temperature}; it must be positive");
        ensure!(distill_weight >= 0.0, "glimmer.distill_weight is {distill_weight}; it must not be negative");
        ensure!(
            !glimmer.reranker || rerank_layers >= 1,
            "glimmer.reranker is true, but glimmer.rerank_layers, its number of layers, is 0"
        );
        Ok(())
    }

    /// Refuses what only an encoder can be: T5 1.0.
    ///
    /// # Errors
    /// The field that says so.
    pub fn check_reader(&self) -> Result<()> {
        ensure!(
            self.feed_forward_proj == FeedForwardKind::GatedGelu && !self.tie_word_embeddings,
            "this is a T5 1.0 (feed_forward_proj {:?}, tie_word_embeddings {}): readers are T5.1.1 \
             (\"gated-gelu\", false), such as google/t5-v1_1-base",
            self.feed_forward_proj,
            self.tie_word_embeddings
        );
        Ok(())
    }

    /// Decoder layers.
    pub fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// `h·e`.
    pub fn inner(&self) -> usize {
        self.num_heads * self.d_kv
    }

    /// What the blocks need to know.
    pub fn shape(&self) -> Shape {
        Shape {
            heads: self.num_heads,
            eps: self.layer_norm_epsilon,
            max_distance: self.relative_attention_max_distance,
        }
    }

    /// T5.1.1 of a published size: `small`, `base`, `large`, `xl` or `xxl`.
    ///
    /// # Errors
    /// Another name.
    pub fn t5_v1_1(size: &str) -> Result<Self> {
        let (d_model, d_ff, num_heads, num_layers) = match size {
            "small" => (512, 1024, 6, 8),
            "base" => (768, 2048, 12, 12),
            "large" => (1024, 2816, 16, 24),
            "xl" => (2048, 5120, 32, 24),
            "xxl" => (4096, 10240, 64, 24),
            _ => bail!("there is no T5.1.1 {size:?}; there are small, base, large, xl and xxl"),
        };
        Ok(Self { d_model, d_ff, num_heads, num_layers, num_decoder_layers: None, ..Self::mini() })
    }

    /// A model that a laptop runs by the hundred questions: T5.1.1 with twelve thin layers, so that the paper's
    /// α = 1/3 and β = 1/4 are whole numbers of layers, and T5's own vocabulary.
    pub fn mini() -> Self {
        Self {
            model_type: t5(),
            vocab_size: 32128,
            d_model: 128,
            d_kv: 64,
            d_ff: 256,
            num_layers: 12,
            num_decoder_layers: Some(4),
            num_heads: 2,
            relative_attention_num_buckets: buckets(),
            relative_attention_max_distance: max_distance(),
            layer_norm_epsilon: epsilon(),
            feed_forward_proj: FeedForwardKind::GatedGelu,
            tie_word_embeddings: false,
            dropout_rate: dropout(),
            pad_token_id: 0,
            eos_token_id: eos(),
            decoder_start_token_id: 0,
            glimmer: None,
        }
    }
}
