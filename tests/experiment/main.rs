//! Training runs, in the library and as a process.

#[path = "../common/emulated.rs"]
mod emulated;
#[path = "../common/process.rs"]
mod process;

mod gradients;
mod interruption;
mod machines;
mod optimiser;
mod pretraining;
mod refusals;
mod resume;
mod world;
