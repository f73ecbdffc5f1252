//! The feed-forward block.

use super::{Leaf, Shape, tree};
use crate::backend::{Backend, Mat};

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
        let y = be.rms_norm(x, &self.norm, shape.eps);
        let h = match &self.wi_1 {
            Some(wi_1) => be.geglu(&y, &self.wi_0, wi_1),
            None => be.linear_relu(&y, &self.wi_0),
        };
        be.linear_add(&h, &self.wo, x);
    }
}
