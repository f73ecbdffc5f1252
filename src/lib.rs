//! Retrieval-augmented T5 readers: FiD, LUMEN and GLIMMER, from one set of weights.
//!
//! A reader answers a question from retrieved passages. Its memory encoder runs over the corpus ahead of time; at
//! question time a live encoder conditions each stored passage on the question, a linear score after its first layers
//! keeps the best few, and the decoder answers from those (GLIMMER, arXiv 2306.10231). FiD and LUMEN are the same
//! reader, cut elsewhere.
//!
//! | module | what it holds |
//! |---|---|
//! | [`backend`] | the contract between the model and a machine: one trait of fused operations |
//! | [`cpu`] | the machine that is always there |
//! | [`cuda`] | NVIDIA's GPUs, by kernels of this crate's own |
//! | [`nn`], [`model`] | blocks; configuration, weights, and the [`Reader`](model::Reader) |
//! | [`memory`] | the store of encoded passages |
//! | [`kilt`], [`retrieval`] | the benchmark's files and scores; BM25, dense and given passages |
//! | [`eval`], [`cost`], [`trace`] | readers over tasks; what they cost; every intermediate by name |
//! | [`train`], [`experiment`] | gradients and the optimiser; training runs from settings to checkpoints |
//! | [`io`], [`random`] | checkpoints, tokenizers, files, progress; random numbers |
//!
//! Reading one question, with weights at random:
//!
//! ```
//! use glimmer::cpu::Cpu;
//! use glimmer::model::{Config, Cut, Glimmer, Passages, Question, Reader};
//!
//! # fn main() -> anyhow::Result<()> {
//! let config = Config { vocab_size: 100, num_layers: 4, ..Config::mini() };
//! let cut = Cut { live_layers: 2, rerank_layers: 1 };
//! let reader = Reader::random(Cpu::<f32>::default(), config, Glimmer::new(cut, 2), 1)?;
//! let question = Question { ids: &[7, 8, 1], passages: Passages::Tokens(&[&[20, 21, 1], &[30, 1], &[40, 41, 42, 1]]) };
//! let reading = &reader.read(&[question], 8)?[0];
//! assert_eq!(reading.scores.len(), 3);
//! assert_eq!(reading.read.len(), 2);
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]
#![warn(clippy::all)]

pub mod backend;
pub mod cost;
pub mod cpu;
pub mod cuda;
pub mod eval;
pub mod experiment;
pub mod io;
pub mod kilt;
pub mod memory;
pub mod model;
pub mod nn;
pub mod random;
pub mod retrieval;
pub mod trace;
pub mod train;
