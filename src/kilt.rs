//! The KILT benchmark: task files, knowledge source, passages, retrieval and metrics.
//!
//! | part | what it is for |
//! |---|---|
//! | [`read_task`], [`Record`], [`Metric`] | questions with their gold answers and evidence |
//! | [`Knowledge`], [`passages`] | Wikipedia pages as a stream, and the passages cut from them |
//! | [`RelevanceFilter`], [`Mixture`] | which records to train on, and in which order |
//! | [`write_predictions`], [`read_predictions`] | the file that the benchmark scores |
//! | [`score`] and the functions below it | the benchmark's own scores |
//!
//! Formats and scores are those of Petroni et al., "KILT: a Benchmark for Knowledge Intensive Language Tasks" (NAACL 2021),
//! as its scorer computes them. Every complaint about a file names the file and the line, counted from 1.

mod evidence;
mod fields;
mod filter;
mod has_answer;
mod knowledge;
mod lines;
mod metrics;
mod mixture;
mod normalise;
mod passage;
mod prediction;
mod rouge;
mod scores;
mod sentence;
mod task;

pub use evidence::{Rank, r_precision};
pub use filter::{FilterReport, MissingScore, RelevanceFilter};
pub use has_answer::has_answer;
pub use knowledge::{Knowledge, Page};
pub(crate) use lines::{Line, Lines};
pub use metrics::{AnswerScores, accuracy, exact_match, f1};
pub use mixture::{Mixture, Sample};
pub use normalise::normalise;
pub use passage::{ChunkCounts, ChunkOptions, Passage, Passages, chunk, passages};
pub use prediction::{Prediction, read_predictions, write_predictions};
pub use rouge::rouge_l;
pub use scores::{AtK, DownstreamScores, RetrievalScores, Scores, score, score_answers, score_retrieval};
pub use task::{Metric, Output, Provenance, Record, fill_inputs, read_task, read_task_with_inputs, task_name};
