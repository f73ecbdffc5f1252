//! Kernels, run.

mod harness;
mod samples;
