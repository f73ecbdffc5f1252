//! The KILT benchmark: task files, knowledge source, passages, retrieval and metrics.
//!
//! Formats and scores are those of Petroni et al., "KILT: a Benchmark for Knowledge Intensive Language Tasks" (NAACL 2021),
//! as its scorer computes them. Every complaint about a file names the file and the line, counted from 1.

mod fields;
mod filter;
mod knowledge;
mod lines;
mod mixture;
mod normalise;
mod passage;
mod prediction;
mod sentence;
mod task;

pub use filter::{FilterReport, MissingScore, RelevanceFilter};
pub use knowledge::{Knowledge, Page};
pub use mixture::{Mixture, Sample};
pub use normalise::normalise;
pub use passage::{ChunkCounts, ChunkOptions, Passage, Passages, chunk, passages};
pub use prediction::{Prediction, read_predictions, write_predictions};
pub use task::{
    Metric, Output, Provenance, Record, fill_inputs, read_task, read_task_with_inputs, task_name,
};
