//! Training: the losses and their gradients.

mod loss;
mod pass;
mod stages;

pub use loss::distill_loss;
pub use pass::{Example, Losses, MemoryEncoder, Pass, gradients, zero_gradients};
