//! Training runs, in the library and as a process.

#[path = "../common/process.rs"]
mod process;

mod gradients;
mod interruption;
mod optimiser;
mod pretraining;
mod refusals;
mod resume;
mod world;
