//! What a training step needs of a device's memory.

use super::optimiser::moments_of;
use crate::model::{Config, Glimmer, Weights};
use crate::nn::Tree;

/// Of bf16.
const NARROW: usize = 2;
/// Of f32.
const WIDE: usize = 4;

/// Bytes of a training step in bf16 whose layers run again, for one question at a time. Left out is what is small where
/// texts are long: ids, parts of sums, the decoder's activations.
///
/// T5.1.1-large with α = 1/3 and β = 1/4, 25 passages of 304 tokens beside a question of 48, in gigabytes:
///
/// | weights | remainders | gradients | moments | inputs | layer | together |
/// |--------:|-----------:|----------:|--------:|-------:|------:|---------:|
/// | 1.57 | 3.13 | 3.13 | 0.01 | 0.32 | 0.48 | 8.63 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingBytes {
    /// What the passes compute with.
    pub weights: usize,
    /// What the weights lack.
    pub remainders: usize,
    /// Of every parameter.
    pub gradients: usize,
    /// Of the gradients.
    pub moments: usize,
    /// The input of each layer, until its backward pass.
    pub inputs: usize,
    /// All that one layer computes, forward and backward.
    pub layer: usize,
}

impl TrainingBytes {
    /// With all parameters trained, for passages of these lengths.
    pub fn of(config: &Config, glimmer: &Glimmer, question: usize, passages: &[usize]) -> Self {
        let specs = Weights::spec(config, glimmer);
        let leaves = specs.leaves();
        let parameters: usize = leaves.iter().map(|spec| spec.len()).sum();
        let moments: usize = leaves.iter().map(|spec| moments_of(spec)).sum();
        let told: usize = passages.iter().sum();
        let joined = told + passages.len() * question;
        let memory_layers = config.num_layers - glimmer.live_layers;
        // The most is needed in the last layer of live encoder A: of each layer before it, and of itself, the input is
        // there, the memories, and what came of the live layers.
        let rows = (memory_layers + 1) * (told + question) + (glimmer.rerank_layers + 1) * joined;
        let (d, inner, f) = (config.d_model, config.num_heads * config.d_kv, config.d_ff);
        // Attention keeps its normed input, queries, keys, values and result; the feed-forward its input, as it is and
        // normed, both sides of the gate and what leaves it. Backward, the gradients of all those of the feed-forward
        // are there together, with that of the layer, and the sum of the gate's two.
        let of_token = d + 4 * inner + (2 * d + 3 * f) + (d + 3 * f + 2 * d);
        Self {
            weights: parameters * NARROW,
            remainders: parameters * WIDE,
            gradients: parameters * WIDE,
            moments: moments * WIDE,
            inputs: rows * d * NARROW,
            layer: joined * of_token * NARROW,
        }
    }

    /// All of them together.
    pub fn sum(&self) -> usize {
        let &Self { weights, remainders, gradients, moments, inputs, layer } = self;
        weights + remainders + gradients + moments + inputs + layer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cut;

    #[test]
    fn the_table_of_large_is_right() {
        let config = Config::t5_v1_1("large").unwrap();
        let glimmer = Glimmer::new(Cut::nearest(config.num_layers, 1.0 / 3.0, 0.25).unwrap(), 5);
        let bytes = TrainingBytes::of(&config, &glimmer, 48, &[304; 25]);
        let TrainingBytes { weights, remainders, gradients, moments, inputs, layer } = bytes;
        let all = [weights, remainders, gradients, moments, inputs, layer, bytes.sum()];
        let row = all.map(|bytes| format!("{:.2}", bytes as f64 / 1e9)).join(" | ");
        assert!(include_str!("memory.rs").contains(&format!("/// | {row} |\n")), "{row}");
    }
}
