//! The blocks of T5, each a few operations of a [`Backend`], and the trees that hold their weights.

mod attention;
mod block;
mod feed_forward;
mod residual;
mod stack;
mod tree;

pub use attention::{Attention, AttentionSaved, CrossMemory, CrossSaved};
pub use block::{DecoderBlock, EncoderBlock, encode};
pub use feed_forward::{FeedForward, FeedForwardSaved};
pub use stack::{
    DecoderGrads, DecoderSaved, Done, EncoderGrads, EncoderSaved, Over, Recompute, Within, decode_backward,
    decode_saved, encode_backward, encode_saved,
};
pub(crate) use tree::tree;
pub use tree::{Leaf, Tree};

use crate::backend::{Backend, Bias, Direction, Mat};

/// What every block of a model has in common.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// `h`.
    pub heads: usize,
    /// ε of the norms.
    pub eps: f64,
    /// Distances from here on share the last bucket of the position bias.
    pub max_distance: usize,
}

impl Shape {
    /// The position bias that `table` holds.
    pub fn bias<'a, B: Backend>(&self, table: &'a Mat<B>, direction: Direction) -> Bias<'a, B> {
        Bias { table, direction, max_distance: self.max_distance }
    }
}
