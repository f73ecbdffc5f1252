//! Kernels, run.

mod faults;
mod flow;
mod harness;
mod instructions;
mod matrices;
mod samples;
mod speed;
mod synchronisation;
