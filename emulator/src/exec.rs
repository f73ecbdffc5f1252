//! Execution of a launch: blocks, warps, lanes.

mod access;
mod atomic;
mod barrier;
mod block;
pub(crate) mod carry;
pub(crate) mod compare;
pub(crate) mod convert;
mod copies;
mod directed;
mod exchange;
pub(crate) mod float;
pub(crate) mod half;
pub(crate) mod integer;
pub(crate) mod lanes;
mod launch;
mod matrix;
mod mbarrier;
mod meetings;
pub(crate) mod mma;
mod narrow;
mod notes;
mod print;
mod run;
mod scene;
pub(crate) mod select;
mod tally;
mod warp;

#[cfg(test)]
mod tests;

pub use launch::{Cooperation, Launch, Settings, launch};
pub(crate) use tally::{Tally, Tick};
