//! Training runs: settings in, checkpoints out.
//!
//! | part | what it is for |
//! |---|---|
//! | [`Settings`] | an experiment, as one JSON file |
//! | [`SpanCorruption`] | T5's pretraining objective |

mod data;
mod learned;
mod plan;
mod settings;
mod spans;
mod texts;

pub use data::{Data, Drawn};
pub use plan::Plan;
pub use settings::{
    Gold, Init, Missing, NonZeroU64, Objective, RerankerInit, Retriever, Settings, Sizes, Target, TaskFiles, TaskMetric,
};
pub use spans::{Corrupted, SpanCorruption, sentinels};
