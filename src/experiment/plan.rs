//! An experiment and its places.

use std::path::{Path, PathBuf};

use super::settings::Settings;

/// An experiment and its places.
pub struct Plan {
    /// What it is.
    pub settings: Settings,
    /// The folder that the settings' paths are relative to.
    pub base: PathBuf,
    /// Where corpus, index and retrieved passages are kept, for all experiments.
    pub work: PathBuf,
    /// Where the run's state, log and checkpoints go.
    pub output: PathBuf,
}

impl Plan {
    /// A path of the settings.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}
