//! Readers on KILT tasks: from a knowledge source and questions to answers, scores, speed and cost.
//!
//! | part | what it is for |
//! |---|---|
//! | [`Corpus`] | the knowledge source's passages, cut once and kept on disk |
//! | [`Prompts`] | texts as the model sees them, within their token budgets |
//! | [`build_memory`] | the corpus through the memory encoder, into a store |
//! | [`Bm25Search`], [`retrieve_bm25`], [`given_passages`] | what is retrieved for whole tasks |
//! | [`Task`], [`Run`] | questions with their retrieved passages; a reader over them |
//! | [`Report`] | what it came to, as a table, as JSON and as a plot |

mod corpus;
mod memory;
mod plot;
mod prompts;
mod report;
mod run;
mod search;
mod table;

pub use corpus::Corpus;
pub use memory::{MemoryPlan, build_memory, memory_fingerprint};
pub use plot::{Panel, SCORE_AXIS, plot, plot_panels};
pub use prompts::{Fitted, Prompts};
pub use report::{Means, ReaderReport, Report, TaskReport};
pub use run::{Retrieved, Run, Source, Task, TaskRun};
pub use search::{Bm25Search, given_passages, retrieve_bm25, sample, usable_index};
pub use table::table;
