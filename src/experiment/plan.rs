//! An experiment and its places.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::settings::Settings;
use crate::io::{Lock, interrupted};

/// How often a run that waits for another one looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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

    /// Lets no other run make its data ready in the same folder as long as the returned lock is held: what one of
    /// them has made, the others find.
    pub(super) fn hold_work(&self) -> Result<Lock> {
        std::fs::create_dir_all(&self.work).with_context(|| format!("cannot create {}", self.work.display()))?;
        let path = self.work.join(".lock");
        loop {
            if let Some(lock) = Lock::try_take(&path)? {
                return Ok(lock);
            }
            ensure!(!interrupted(), "stopped while another run makes its data ready in {}", self.work.display());
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}
