//! Training runs: settings in, checkpoints out.
//!
//! | part | what it is for |
//! |---|---|
//! | [`Settings`] | an experiment, as one JSON file |
//! | [`SpanCorruption`] | T5's pretraining objective |

mod settings;
mod spans;

pub use settings::{
    Gold, Init, Missing, NonZeroU64, Objective, RerankerInit, Retriever, Settings, Sizes, Target, TaskFiles, TaskMetric,
};
pub use spans::{Corrupted, SpanCorruption, sentinels};
