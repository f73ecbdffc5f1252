//! The attention blocks: over a segment itself, over the encoder's output, and over the tokens decoded so far.

use super::residual::{residual, residual_bwd};
use super::{Leaf, Shape, tree};
use crate::backend::{
    Attend, AttendGrad, Attended, Backend, Backward, Bias, Cache, Dropout, Grad, Mat, Newest, Noise, Normed, Segments,
};

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

/// Keys and values of the encoder's output for one decoder block.
pub struct CrossMemory<B: Backend> {
    k: Mat<B>,
    v: Mat<B>,
}

impl<B: Backend> Attention<Mat<B>> {
    fn normed<'a>(&'a self, x: &'a Mat<B>, shape: &Shape) -> Normed<'a, B> {
        Normed { x, g: &self.norm, eps: shape.eps }
    }

    /// Self-attention within each segment, added to the residual stream `x [n, d]`.
    pub fn forward(&self, be: &B, shape: &Shape, x: &mut Mat<B>, rows: &Segments<B>, bias: Bias<'_, B>) {
        let [q, k, v] = be.normed_linears(self.normed(x, shape), [&self.q, &self.k, &self.v]);
        let heads = shape.heads;
        let o = be.attention(Attend { q: &q, k: &k, v: &v, rows, cols: rows, bias: Some(bias), heads, dropout: None });
        be.linear_add(&o, &self.o, x);
    }

    /// Self-attention of one new token a sequence, `x [batch, d]`, which joins the cache.
    pub fn forward_newest(&self, be: &B, shape: &Shape, x: &mut Mat<B>, cache: &mut Cache<B>, bias: Bias<'_, B>) {
        let [q, k, v] = be.normed_linears(self.normed(x, shape), [&self.q, &self.k, &self.v]);
        let o = be.decode_attention(Newest { q: &q, k: &k, v: &v }, cache, bias);
        be.linear_add(&o, &self.o, x);
    }

    /// What [`forward_cross`](Self::forward_cross) attends to, of the encoder's output `[n', d]`.
    pub fn cross_memory(&self, be: &B, encoded: &Mat<B>) -> CrossMemory<B> {
        let [k, v] = be.linears(encoded, [&self.k, &self.v]);
        CrossMemory { k, v }
    }

    /// The same for decoding, which computes it once an answer and attends to it with every token.
    pub fn decoding_memory(&self, be: &B, encoded: &Mat<B>) -> CrossMemory<B> {
        let [k, v] = be.keys_and_values(encoded, [&self.k, &self.v]);
        CrossMemory { k, v }
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
        let [q] = be.normed_linears(self.normed(x, shape), [&self.q]);
        let (k, v, heads) = (&memory.k, &memory.v, shape.heads);
        let o = be.attention(Attend { q: &q, k, v, rows, cols, bias: None, heads, dropout: None });
        be.linear_add(&o, &self.o, x);
    }
}

/// What self-attention keeps for its backward pass.
#[must_use = "a training step that drops this has no gradient"]
pub struct AttentionSaved<B: Backend> {
    x: Mat<B>,
    y: Mat<B>,
    q: Mat<B>,
    k: Mat<B>,
    v: Mat<B>,
    attended: Attended<B>,
    masks: Masks,
}

/// What attention to the encoder's output keeps for its backward pass.
#[must_use = "a training step that drops this has no gradient"]
pub struct CrossSaved<B: Backend> {
    x: Mat<B>,
    y: Mat<B>,
    q: Mat<B>,
    memory: CrossMemory<B>,
    attended: Attended<B>,
    masks: Masks,
}

/// Dropout of the weights and of the result.
struct Masks {
    weights: Option<Dropout>,
    result: Option<Dropout>,
}

impl Masks {
    fn draw(noise: &mut Noise) -> Self {
        Self { weights: noise.draw(), result: noise.draw() }
    }
}

impl<B: Backward> Attention<Mat<B>> {
    /// [`forward`](Self::forward) of training.
    pub fn forward_saved(
        &self,
        be: &B,
        shape: &Shape,
        x: Mat<B>,
        (rows, bias): (&Segments<B>, Bias<'_, B>),
        noise: &mut Noise,
    ) -> (Mat<B>, AttentionSaved<B>) {
        let y = be.rms_norm(&x, &self.norm, shape.eps);
        let [q, k, v] = be.linears(&y, [&self.q, &self.k, &self.v]);
        let (masks, heads) = (Masks::draw(noise), shape.heads);
        let dropout = masks.weights;
        let attended =
            be.attention_saved(Attend { q: &q, k: &k, v: &v, rows, cols: rows, bias: Some(bias), heads, dropout });
        let out = residual(be, &x, &attended.o, &self.o, masks.result);
        (out, AttentionSaved { x, y, q, k, v, attended, masks })
    }

    /// The backward pass of [`forward_saved`](Self::forward_saved): `dx`, the gradient of what it returned, becomes
    /// that of what it was given. The gradient of the bias table goes to `dbias`.
    pub fn backward(
        &self,
        be: &B,
        shape: &Shape,
        s: AttentionSaved<B>,
        (rows, bias): (&Segments<B>, Bias<'_, B>),
        (grad, dbias, dx): (&mut Attention<Grad<B>>, &mut Grad<B>, &mut Mat<B>),
    ) {
        let d_o = residual_bwd(be, dx, &s.attended.o, (&self.o, s.masks.result), &mut grad.o);
        let AttentionSaved { q, k, v, .. } = &s;
        let (heads, dropout) = (shape.heads, s.masks.weights);
        let attend = Attend { q, k, v, rows, cols: rows, bias: Some(bias), heads, dropout };
        let AttendGrad { dq, dk, dv } = be.attention_bwd(attend, &s.attended, &d_o, Some(dbias));
        let mut dy = be.linear_bwd(&dv, &s.y, &self.v, &mut grad.v);
        be.add(&be.linear_bwd(&dk, &s.y, &self.k, &mut grad.k), &mut dy);
        be.add(&be.linear_bwd(&dq, &s.y, &self.q, &mut grad.q), &mut dy);
        be.rms_norm_bwd(&dy, (&s.x, &self.norm, shape.eps), &mut grad.norm, dx);
    }

    /// [`forward_cross`](Self::forward_cross) of training, over the encoder's output `[n', d]` itself.
    pub fn forward_cross_saved(
        &self,
        be: &B,
        shape: &Shape,
        x: Mat<B>,
        (rows, encoded, cols): (&Segments<B>, &Mat<B>, &Segments<B>),
        noise: &mut Noise,
    ) -> (Mat<B>, CrossSaved<B>) {
        let y = be.rms_norm(&x, &self.norm, shape.eps);
        let q = be.linear(&y, &self.q);
        let memory = self.cross_memory(be, encoded);
        let (masks, heads) = (Masks::draw(noise), shape.heads);
        let (k, v, dropout) = (&memory.k, &memory.v, masks.weights);
        let attended = be.attention_saved(Attend { q: &q, k, v, rows, cols, bias: None, heads, dropout });
        let out = residual(be, &x, &attended.o, &self.o, masks.result);
        (out, CrossSaved { x, y, q, memory, attended, masks })
    }

    /// The backward pass of [`forward_cross_saved`](Self::forward_cross_saved): as [`backward`](Self::backward), and
    /// the gradient of the encoder's output is added to `dencoded`.
    pub fn backward_cross(
        &self,
        be: &B,
        shape: &Shape,
        s: CrossSaved<B>,
        (rows, encoded, cols): (&Segments<B>, &Mat<B>, &Segments<B>),
        (grad, dencoded, dx): (&mut Attention<Grad<B>>, &mut Mat<B>, &mut Mat<B>),
    ) {
        let d_o = residual_bwd(be, dx, &s.attended.o, (&self.o, s.masks.result), &mut grad.o);
        let (q, CrossMemory { k, v }) = (&s.q, &s.memory);
        let (heads, dropout) = (shape.heads, s.masks.weights);
        let attend = Attend { q, k, v, rows, cols, bias: None, heads, dropout };
        let AttendGrad { dq, dk, dv } = be.attention_bwd(attend, &s.attended, &d_o, None);
        be.add(&be.linear_bwd(&dv, encoded, &self.v, &mut grad.v), dencoded);
        be.add(&be.linear_bwd(&dk, encoded, &self.k, &mut grad.k), dencoded);
        let dy = be.linear_bwd(&dq, &s.y, &self.q, &mut grad.q);
        be.rms_norm_bwd(&dy, (&s.x, &self.norm, shape.eps), &mut grad.norm, dx);
    }
}
