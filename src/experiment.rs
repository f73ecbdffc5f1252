//! Training runs: settings in, checkpoints out.
//!
//! | part | what it is for |
//! |---|---|
//! | [`Settings`], [`Plan`] | an experiment, as one JSON file; where its files are |
//! | [`Data`] | examples, each a function of the seed and its number |
//! | [`SpanCorruption`] | T5's pretraining objective |
//! | [`Trainer`] | the run, of one process or several: it may be stopped or killed at any moment, and goes on bit for bit |
//! | [`Line`], [`read_log`], [`plot_run`] | what it says of itself |
//!
//! A run's folder holds
//!
//! | path | what it is |
//! |---|---|
//! | `experiment.json` | the settings |
//! | `log.jsonl`, `log.svg` | losses and evaluations |
//! | `best` | the checkpoint with the best evaluation, in bf16 |
//! | `last` | everything that the run goes on from; a checkpoint too, with the weights unrounded |

mod batch;
mod begin;
mod data;
mod evaluate;
mod learned;
mod log;
mod plan;
mod plot;
mod save;
mod settings;
mod spans;
mod state;
mod substitute;
mod texts;
mod thin;
mod trainer;

pub use batch::{Examples, micro_batches, shares};
pub use data::{Data, Drawn};
pub use evaluate::{Evaluation, evaluate};
pub use log::{Line, read_log};
pub use plan::Plan;
pub use plot::plot_run;
pub use save::trained_with;
pub use settings::{
    Beginning, Gold, Init, Missing, NonZeroU64, Objective, RerankerInit, Retriever, Settings, Sizes, Target, TaskFiles,
    TaskMetric,
};
pub use spans::{Corrupted, SpanCorruption, sentinels};
pub use state::{Best, State, Window};
pub use trainer::{Ended, Trainer};
