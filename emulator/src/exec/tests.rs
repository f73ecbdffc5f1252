//! Kernels, run.

#![allow(clippy::result_large_err, reason = "a launch fails once")]

mod accesses;
mod comparisons;
mod conversions;
mod coverage;
mod exchanges;
mod faults;
mod floats;
mod flow;
mod halves;
mod harness;
mod instructions;
mod integers;
mod matrices;
mod operands;
mod samples;
mod speed;
mod synchronisation;
