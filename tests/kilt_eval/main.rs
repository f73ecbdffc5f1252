//! The example `kilt_eval` as a process: what it promises its users.

#[path = "../common/process.rs"]
mod process;

mod data;
mod emulated;
mod footprint;
mod interruption;
mod refusals;
mod results;
mod retrieval;
mod trained;
mod world;
