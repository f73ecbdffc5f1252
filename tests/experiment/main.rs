//! Training runs, in the library and as a process.

#[path = "../common/emulated.rs"]
#[allow(dead_code, reason = "schedules are other tests' business")]
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
#[cfg(unix)]
mod together;
mod world;
