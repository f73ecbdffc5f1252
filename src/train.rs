//! Training: the losses, one pass and several side by side, the optimiser, several processes.

mod exact;
mod loss;
mod memory;
mod optimiser;
mod pass;
mod schedule;
mod side_by_side;
mod stages;
mod teacher;
mod together;

pub use exact::Exact;
pub use loss::distill_loss;
pub use memory::TrainingBytes;
pub use optimiser::{Optimiser, Rule, Trained};
pub use pass::{Example, Losses, MemoryEncoder, Pass, gradients, gradients_done, zero_gradients};
pub use schedule::{Decay, Schedule};
pub use side_by_side::{passes_at_once, side_by_side};
pub use teacher::Teacher;
pub use together::Together;
