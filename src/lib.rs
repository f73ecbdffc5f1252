//! Retrieval-augmented T5 readers: FiD, LUMEN and GLIMMER.
#![deny(missing_docs)]
#![warn(clippy::all)]

pub mod io;
pub mod kilt;
pub mod memory;
