//! The feed-forward block.

use super::residual::{residual, residual_bwd};
use super::{Leaf, Shape, tree};
use crate::backend::{Backend, Backward, Dropout, Grad, Mat, Noise, Normed};

tree! {
    /// `x + Wo·(gelu(W0·y) ⊙ W1·y)` of `y = RMSNorm(x)`; without `W1`, T5 1.0's `x + Wo·max(W0·y, 0)`.
    FeedForward<T> {
        /// `[1, d]`.
        norm: Leaf<T>,
        /// `[f, d]`.
        wi_0: Leaf<T>,
        /// `[f, d]`, the gate's other half.
        wi_1: Option<Leaf<T>>,
        /// `[d, f]`.
        wo: Leaf<T>,
    }
}

impl<B: Backend> FeedForward<Mat<B>> {
    /// Adds the block to the residual stream `x [n, d]`.
    pub fn forward(&self, be: &B, shape: &Shape, x: &mut Mat<B>) {
        let eps = shape.eps;
        let h = match &self.wi_1 {
            Some(wi_1) => be.normed_geglu(Normed { x, g: &self.norm, eps }, &self.wi_0, wi_1),
            None => be.linear_relu(&be.rms_norm(x, &self.norm, eps), &self.wi_0),
        };
        be.linear_add(&h, &self.wo, x);
    }
}

/// What the feed-forward keeps for its backward pass.
#[must_use = "a training step that drops this has no gradient"]
pub struct FeedForwardSaved<B: Backend> {
    x: Mat<B>,
    y: Mat<B>,
    a: Mat<B>,
    b: Mat<B>,
    h: Mat<B>,
    inner: Option<Dropout>,
    result: Option<Dropout>,
}

impl<B: Backward> FeedForward<Mat<B>> {
    /// [`forward`](Self::forward) of training; of T5.1.1's, which has a gate.
    pub fn forward_saved(&self, be: &B, shape: &Shape, x: Mat<B>, noise: &mut Noise) -> (Mat<B>, FeedForwardSaved<B>) {
        let y = be.rms_norm(&x, &self.norm, shape.eps);
        let a = be.linear(&y, &self.wi_0);
        let b = be.linear(&y, self.wi_1.as_ref().expect(GATED));
        let mut h = be.gate(&a, &b);
        let (inner, result) = (noise.draw(), noise.draw());
        if let Some(mask) = &inner {
            be.dropout(&mut h, mask);
        }
        let out = residual(be, &x, &h, &self.wo, result);
        (out, FeedForwardSaved { x, y, a, b, h, inner, result })
    }

    /// The backward pass of [`forward_saved`](Self::forward_saved): `dx`, the gradient of what it returned, becomes
    /// that of what it was given.
    pub fn backward(
        &self,
        be: &B,
        shape: &Shape,
        s: FeedForwardSaved<B>,
        (grad, dx): (&mut FeedForward<Grad<B>>, &mut Mat<B>),
    ) {
        let mut dh = residual_bwd(be, dx, &s.h, (&self.wo, s.result), &mut grad.wo);
        if let Some(mask) = &s.inner {
            be.dropout(&mut dh, mask);
        }
        let (da, db) = be.gate_bwd(&dh, &s.a, &s.b);
        let (wi_1, dwi_1) = (self.wi_1.as_ref().expect(GATED), grad.wi_1.as_mut().expect(GATED));
        let mut dy = be.linear_bwd(&db, &s.y, wi_1, dwi_1);
        be.add(&be.linear_bwd(&da, &s.y, &self.wi_0, &mut grad.wi_0), &mut dy);
        be.rms_norm_bwd(&dy, (&s.x, &self.norm, shape.eps), &mut grad.norm, dx);
    }
}

/// What the check of a reader's configuration has made sure of.
const GATED: &str = "readers are T5.1.1, whose feed-forward is gated";
