//! Retrieval-augmented T5 readers: FiD, LUMEN and GLIMMER.
#![deny(missing_docs)]
#![warn(clippy::all)]

pub mod backend;
pub mod cost;
pub mod cpu;
pub mod eval;
pub mod io;
pub mod kilt;
pub mod memory;
pub mod model;
pub mod nn;
pub mod random;
pub mod retrieval;
pub mod trace;
pub mod train;
