//! Kernels, run.

#![allow(clippy::result_large_err, reason = "a launch fails once")]

mod faults;
mod flow;
mod harness;
mod instructions;
mod matrices;
mod samples;
mod speed;
mod synchronisation;
