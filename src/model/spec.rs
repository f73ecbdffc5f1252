//! What each parameter is called, its shape, how it begins: the trees of [`weights`](super::weights) with
//! specifications as leaves. Loading, random initialisation and saving are maps of them.

use super::config::{Config, FeedForwardKind, Glimmer};
use super::weights::{Decoder, Encoder, Layers, Weights};
use crate::nn::{Attention, DecoderBlock, EncoderBlock, FeedForward, Leaf};

/// A random beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All alike.
    Constant(f64),
    /// Normally distributed around 0.
    Normal {
        /// Standard deviation.
        deviation: f64,
    },
}

/// What to do when a checkpoint lacks the parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Absent {
    /// It is needed.
    Fail,
    /// The first of these parameters that is there begins it.
    CopyOf(Vec<String>),
    /// It begins as [`Spec::init`] says: it is no part of T5.
    Begin,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Hugging Face's name of it.
    pub name: String,
    /// Rows; 1 for what is stored as a vector.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Whether it is stored as `[cols]`.
    pub vector: bool,
    /// How it begins where training starts from nothing (Hugging Face's T5).
    pub init: Init,
    /// What to do when a checkpoint lacks it.
    pub absent: Absent,
    /// Whether it is the second operand of products and nothing else.
    pub multiplies: bool,
}

impl Spec {
    fn matrix(name: String, rows: usize, cols: usize, deviation: f64) -> Self {
        let init = Init::Normal { deviation };
        Self { name, rows, cols, vector: false, init, absent: Absent::Fail, multiplies: false }
    }

    fn product(name: String, rows: usize, cols: usize, deviation: f64) -> Self {
        Self { multiplies: true, ..Self::matrix(name, rows, cols, deviation) }
    }

    fn norm(name: String, cols: usize) -> Self {
        let init = Init::Constant(1.0);
        Self { name, rows: 1, cols, vector: true, init, absent: Absent::Fail, multiplies: false }
    }

    fn or(self, absent: Absent) -> Self {
        Self { absent, ..self }
    }

    /// Whether it is the scorer's own: its weight, and its norm.
    pub fn is_scorer(&self) -> bool {
        self.name.starts_with("scorer.")
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its shape in a file.
    pub fn stored_shape(&self) -> Vec<usize> {
        if self.vector { vec![self.cols] } else { vec![self.rows, self.cols] }
    }
}

/// Makes specifications by Hugging Face's names.
struct Namer<'a>(&'a Config);

impl Namer<'_> {
    fn attention(&self, prefix: &str, kind: &str, place: usize) -> Attention<Spec> {
        let (d, inner, e) = (self.0.d_model, self.0.inner(), self.0.d_kv);
        let part = |part: &str, rows, cols, deviation| {
            Leaf(Spec::product(format!("{prefix}.layer.{place}.{kind}.{part}.weight"), rows, cols, deviation))
        };
        let narrow = (d as f64).powf(-0.5);
        Attention {
            norm: Leaf(Spec::norm(format!("{prefix}.layer.{place}.layer_norm.weight"), d)),
            q: part("q", inner, d, ((d * e) as f64).powf(-0.5)),
            k: part("k", inner, d, narrow),
            v: part("v", inner, d, narrow),
            o: part("o", d, inner, (inner as f64).powf(-0.5)),
        }
    }

    fn feed_forward(&self, prefix: &str, place: usize) -> FeedForward<Spec> {
        let (d, f) = (self.0.d_model, self.0.d_ff);
        let part = |part: &str, rows, cols: usize| {
            let name = format!("{prefix}.layer.{place}.DenseReluDense.{part}.weight");
            Leaf(Spec::product(name, rows, cols, (cols as f64).powf(-0.5)))
        };
        let (wi_0, wi_1) = match self.0.feed_forward_proj {
            FeedForwardKind::GatedGelu => (part("wi_0", f, d), Some(part("wi_1", f, d))),
            FeedForwardKind::Relu => (part("wi", f, d), None),
        };
        let norm = Leaf(Spec::norm(format!("{prefix}.layer.{place}.layer_norm.weight"), d));
        FeedForward { norm, wi_0, wi_1, wo: part("wo", d, f) }
    }

    fn bias(&self, stack: &str) -> Leaf<Spec> {
        let name = format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        let deviation = (self.0.d_model as f64).powf(-0.5);
        Leaf(Spec::matrix(name, self.0.relative_attention_num_buckets, self.0.num_heads, deviation))
    }

    fn layers(&self, stack: &str, count: usize) -> Layers<Spec> {
        let block = |i| {
            let prefix = format!("{stack}.block.{i}");
            EncoderBlock {
                attention: self.attention(&prefix, "SelfAttention", 0),
                feed_forward: self.feed_forward(&prefix, 1),
            }
        };
        Layers { bias: self.bias(stack), blocks: (0..count).map(block).collect() }
    }

    /// Layers of ours that begin as those of the encoder from layer `first` on.
    fn layers_from_encoder(&self, stack: &str, first: usize, count: usize) -> Layers<Spec> {
        use crate::nn::Tree;
        let from = Namer(self.0).layers("encoder", first + count);
        let mut from_leaves = vec![from.bias.0.name.clone()];
        from_leaves.extend(from.blocks[first..].iter().flat_map(|b| b.leaves()).map(|leaf| leaf.name.clone()));
        let mut from_leaves = from_leaves.into_iter();
        self.layers(stack, count)
            .try_map(&mut |spec: &Spec| Ok(spec.clone().or(Absent::CopyOf(from_leaves.by_ref().take(1).collect()))))
            .expect("nothing here fails")
    }
}

impl Encoder<Spec> {
    /// The encoder of `config`.
    pub fn spec(config: &Config) -> Self {
        let namer = Namer(config);
        let aliases = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"].map(String::from);
        let embedding = Spec::matrix("shared.weight".into(), config.vocab_size, config.d_model, 1.0);
        Self {
            embedding: Leaf(embedding.or(Absent::CopyOf(aliases.into()))),
            layers: namer.layers("encoder", config.num_layers),
            norm: Leaf(Spec::norm("encoder.final_layer_norm.weight".into(), config.d_model)),
        }
    }
}

impl Decoder<Spec> {
    /// The decoder of `config`.
    pub fn spec(config: &Config) -> Self {
        let namer = Namer(config);
        let block = |i| {
            let prefix = format!("decoder.block.{i}");
            DecoderBlock {
                attention: namer.attention(&prefix, "SelfAttention", 0),
                cross: namer.attention(&prefix, "EncDecAttention", 1),
                feed_forward: namer.feed_forward(&prefix, 2),
            }
        };
        Self {
            bias: namer.bias("decoder"),
            blocks: (0..config.decoder_layers()).map(block).collect(),
            norm: Leaf(Spec::norm("decoder.final_layer_norm.weight".into(), config.d_model)),
            head: Leaf(Spec::product("lm_head.weight".into(), config.vocab_size, config.d_model, 1.0)),
        }
    }
}

impl Weights<Spec> {
    /// The reader of `config`, cut as `glimmer` says.
    pub fn spec(config: &Config, glimmer: &Glimmer) -> Self {
        let namer = Namer(config);
        let encoder = Encoder::spec(config);
        let memory_layers = config.num_layers - glimmer.live_layers;
        let live_bias = Spec { name: "live.relative_attention_bias.weight".into(), ..encoder.layers.bias.0.clone() };
        let scorer = Spec { init: Init::Constant(0.0), ..Spec::matrix("scorer.weight".into(), 1, config.d_model, 0.0) };
        Self {
            live_bias: Leaf(live_bias.or(Absent::CopyOf(vec![encoder.layers.bias.name.clone()]))),
            scorer: Leaf(scorer.or(Absent::Begin)),
            scorer_norm: glimmer
                .score_norm
                .then(|| Leaf(Spec::norm("scorer.layer_norm.weight".into(), config.d_model).or(Absent::Begin))),
            question_encoder: glimmer
                .question_encoder
                .then(|| namer.layers_from_encoder("question_encoder", 0, memory_layers)),
            reranker: glimmer
                .reranker
                .then(|| namer.layers_from_encoder("reranker", memory_layers, glimmer.rerank_layers)),
            encoder,
            decoder: Decoder::spec(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cut;
    use crate::nn::Tree;

    /// Parameters of the published T5.1.1 checkpoints.
    #[test]
    fn sizes_are_the_published_ones() {
        for (size, millions) in [("small", 77.0), ("base", 247.6), ("large", 783.2), ("xl", 2849.8), ("xxl", 11135.3)] {
            let config = Config::t5_v1_1(size).unwrap();
            let encoder: usize = Encoder::spec(&config).leaves().iter().map(|s| s.len()).sum();
            let decoder: usize = Decoder::spec(&config).leaves().iter().map(|s| s.len()).sum();
            let found = (encoder + decoder) as f64 / 1e6;
            assert!((found - millions).abs() < 0.1, "{size}: {found}");
        }
        assert!(Config::t5_v1_1("huge").unwrap_err().to_string().contains("small, base"));
    }

    #[test]
    fn every_parameter_has_a_name_of_its_own() {
        let config = Config::mini();
        let mut glimmer = Glimmer::new(Cut { live_layers: 4, rerank_layers: 2 }, 5);
        (glimmer.score_norm, glimmer.question_encoder, glimmer.reranker) = (true, true, true);
        let spec = Weights::spec(&config, &glimmer);
        let mut names: Vec<_> = spec.leaves().iter().map(|s| s.name.clone()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        let reranker = spec.reranker.unwrap();
        assert_eq!(reranker.blocks.len(), 2);
        assert_eq!(
            reranker.blocks[0].feed_forward.wo.absent,
            Absent::CopyOf(vec!["encoder.block.8.layer.1.DenseReluDense.wo.weight".into()])
        );
    }
}
