//! Layers of the encoder and of the decoder.

use super::{Attention, CrossMemory, FeedForward, Shape, tree};
use crate::backend::{Backend, Bias, Cache, Mat, Segments};

tree! {
    /// A layer of the encoder.
    EncoderBlock<T> {
        /// Within the segment.
        attention: Attention<T>,
        /// Token by token.
        feed_forward: FeedForward<T>,
    }
}

tree! {
    /// A layer of the decoder.
    DecoderBlock<T> {
        /// Over the tokens so far.
        attention: Attention<T>,
        /// Over the encoder's output.
        cross: Attention<T>,
        /// Token by token.
        feed_forward: FeedForward<T>,
    }
}

/// Runs encoder layers over each segment of the residual stream `x [n, d]`; no final norm.
pub fn encode<B: Backend>(
    be: &B,
    shape: &Shape,
    blocks: &[EncoderBlock<Mat<B>>],
    x: &mut Mat<B>,
    (rows, bias): (&Segments<B>, Bias<'_, B>),
) {
    for block in blocks {
        block.attention.forward(be, shape, x, rows, bias);
        block.feed_forward.forward(be, shape, x);
    }
}

impl<B: Backend> DecoderBlock<Mat<B>> {
    /// All tokens of each sequence at once, `x [n, d]`.
    pub fn forward(
        &self,
        be: &B,
        shape: &Shape,
        x: &mut Mat<B>,
        (rows, bias): (&Segments<B>, Bias<'_, B>),
        encoded: (&CrossMemory<B>, &Segments<B>),
    ) {
        self.attention.forward(be, shape, x, rows, bias);
        self.cross.forward_cross(be, shape, x, rows, encoded);
        self.feed_forward.forward(be, shape, x);
    }

    /// The newest token of each sequence, `x [batch, d]`; `rows` are `batch` segments of one row.
    pub fn forward_newest(
        &self,
        be: &B,
        shape: &Shape,
        x: &mut Mat<B>,
        (rows, cache, bias): (&Segments<B>, &mut Cache<B>, Bias<'_, B>),
        encoded: (&CrossMemory<B>, &Segments<B>),
    ) {
        self.attention.forward_newest(be, shape, x, cache, bias);
        self.cross.forward_cross(be, shape, x, rows, encoded);
        self.feed_forward.forward(be, shape, x);
    }
}
