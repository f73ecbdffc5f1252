//! The trees that hold the weights.

use crate::nn::{DecoderBlock, EncoderBlock, Leaf, tree};

tree! {
    /// Encoder layers with a position bias of their own.
    Layers<T> {
        /// `[buckets, h]`.
        bias: Leaf<T>,
        /// First to last.
        blocks: Vec<EncoderBlock<T>>,
    }
}

tree! {
    /// The encoder of a T5, cut nowhere.
    Encoder<T> {
        /// `[v, d]`, the decoder's too.
        embedding: Leaf<T>,
        /// Its layers.
        layers: Layers<T>,
        /// `[1, d]`, the final norm.
        norm: Leaf<T>,
    }
}

tree! {
    /// The decoder of a T5.1.1.
    Decoder<T> {
        /// `[buckets, h]`.
        bias: Leaf<T>,
        /// First to last.
        blocks: Vec<DecoderBlock<T>>,
        /// `[1, d]`, the final norm.
        norm: Leaf<T>,
        /// `[v, d]`, the output layer.
        head: Leaf<T>,
    }
}

tree! {
    /// A reader: a T5.1.1, and what it takes to rerank.
    Weights<T> {
        /// Memory encoder, live encoder A and live encoder B, one behind the other.
        encoder: Encoder<T>,
        /// `[buckets, h]`, the live layers' own position bias.
        live_bias: Leaf<T>,
        /// `[1, d]`, the scorer.
        scorer: Leaf<T>,
        /// `[1, d]`, the norm before the scorer.
        scorer_norm: Option<Leaf<T>>,
        /// Encodes questions in place of the memory encoder.
        question_encoder: Option<Layers<T>>,
        /// Scores passages in place of live encoder A.
        reranker: Option<Layers<T>>,
        /// Answers.
        decoder: Decoder<T>,
    }
}
