//! Training: so far its losses.

mod loss;

pub use loss::distill_loss;
