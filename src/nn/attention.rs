//! The attention blocks: over a segment itself, over the encoder's output, and over the tokens decoded so far.

use super::{Leaf, Shape, tree};
use crate::backend::{Attend, Backend, Bias, Cache, Mat, Segments};

tree! {
    /// `x + Wo·Attention(Wq·y, Wk·z, Wv·z)` of `y = RMSNorm(x)`, with `z = y` or the encoder's output.
    Attention<T> {
        /// `[1, d]`.
        norm: Leaf<T>,
        /// `[h·e, d]`.
        q: Leaf<T>,
        /// `[h·e, d]`.
        k: Leaf<T>,
        /// `[h·e, d]`.
        v: Leaf<T>,
        /// `[d, h·e]`.
        o: Leaf<T>,
    }
}

/// Keys and values of the encoder's output for one decoder block, computed once an answer.
pub struct CrossMemory<B: Backend> {
    k: Mat<B>,
    v: Mat<B>,
}

impl<B: Backend> Attention<Mat<B>> {
    /// Self-attention within each segment, added to the residual stream `x [n, d]`.
    pub fn forward(&self, be: &B, shape: &Shape, x: &mut Mat<B>, rows: &Segments<B>, bias: Bias<'_, B>) {
        let y = be.rms_norm(x, &self.norm, shape.eps);
        let (q, k, v) = (be.linear(&y, &self.q), be.linear(&y, &self.k), be.linear(&y, &self.v));
        let heads = shape.heads;
        let o = be.attention(Attend { q: &q, k: &k, v: &v, rows, cols: rows, bias: Some(bias), heads, dropout: None });
        be.linear_add(&o, &self.o, x);
    }

    /// Self-attention of one new token a sequence, `x [batch, d]`, which joins the cache.
    pub fn forward_newest(&self, be: &B, shape: &Shape, x: &mut Mat<B>, cache: &mut Cache<B>, bias: Bias<'_, B>) {
        let y = be.rms_norm(x, &self.norm, shape.eps);
        let (q, k, v) = (be.linear(&y, &self.q), be.linear(&y, &self.k), be.linear(&y, &self.v));
        be.append(cache, &k, &v);
        let o = be.decode_attention(&q, cache, bias);
        be.linear_add(&o, &self.o, x);
    }

    /// What [`forward_cross`](Self::forward_cross) attends to, of the encoder's output `[n', d]`.
    pub fn cross_memory(&self, be: &B, encoded: &Mat<B>) -> CrossMemory<B> {
        CrossMemory { k: be.linear(encoded, &self.k), v: be.linear(encoded, &self.v) }
    }

    /// Attention of `x [n, d]` to the encoder's output, segment by segment.
    pub fn forward_cross(
        &self,
        be: &B,
        shape: &Shape,
        x: &mut Mat<B>,
        rows: &Segments<B>,
        (memory, cols): (&CrossMemory<B>, &Segments<B>),
    ) {
        let y = be.rms_norm(x, &self.norm, shape.eps);
        let q = be.linear(&y, &self.q);
        let (k, v, heads) = (&memory.k, &memory.v, shape.heads);
        let o = be.attention(Attend { q: &q, k, v, rows, cols, bias: None, heads, dropout: None });
        be.linear_add(&o, &self.o, x);
    }
}
