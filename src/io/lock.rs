//! The right to work in a folder, for one process at a time.

use std::fs::{File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};

/// A lock, held until dropped; the operating system takes it back from a process that is killed.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock that the file `path` stands for, which is made if it is missing. None where it is taken already.
    ///
    /// # Errors
    /// A file that cannot be made or locked.
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

impl Drop for Lock {
    /// Closing the file is not enough: a process that another thread starts holds a copy of it for a moment, and with
    /// it the lock.
    fn drop(&mut self) {
        // A lock that cannot be released goes with the process.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time_and_a_copy_does_not_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::try_take(&path).unwrap().expect("nobody holds it");
        let copy = held.0.try_clone().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
        drop(copy);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Lock::try_take(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/at/all"));
    }
}
