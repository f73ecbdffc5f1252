//! Training: the losses, one pass, the optimiser.

mod exact;
mod loss;
mod optimiser;
mod pass;
mod schedule;

pub use exact::Exact;
pub use loss::distill_loss;
pub use optimiser::{Optimiser, Rule, Trained, zeros};
pub use pass::{Example, Losses, MemoryEncoder, Pass, gradients};
pub use schedule::{Decay, Schedule};
