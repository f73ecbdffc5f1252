//! Every change the store makes on disk goes through here, so that tests can end the writer's life at any byte of it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file open for writing, and its path for the messages.
pub(super) struct DiskFile {
    file: File,
    path: PathBuf,
}

impl DiskFile {
    /// Creates an empty file where none is.
    pub fn create(path: PathBuf) -> Result<Self> {
        step("create", &path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { file, path })
    }

    /// Opens a file that exists.
    pub fn open(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open {} for writing", path.display()))?;
        Ok(Self { file, path })
    }

    /// All that the file holds.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.read_to_end(&mut bytes))
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(bytes)
    }

    /// Writes `bytes` at the offset `at`, whatever an earlier failed attempt left there.
    pub fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let allowed = allowed("write", &self.path, bytes.len());
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.write_all(&bytes[..allowed]))
            .and_then(|()| if allowed < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) })
            .with_context(|| {
                format!(
                    "cannot write {} bytes to {}; what was committed before is kept: once there is room, \
                     resume with Builder::open_or_resume",
                    bytes.len(),
                    self.path.display(),
                )
            })
    }

    /// Waits until the file's bytes are on the disk.
    pub fn sync(&self) -> Result<()> {
        step("sync", &self.path)?;
        self.file.sync_all().with_context(|| format!("cannot flush {} to the disk", self.path.display()))
    }

    /// Cuts the file off after `bytes`.
    pub fn cut(&self, bytes: u64) -> Result<()> {
        step("cut", &self.path)?;
        self.file.set_len(bytes).with_context(|| format!("cannot cut off {}", self.path.display()))
    }
}

/// Deletes a file; one that is gone already is no error.
pub(super) fn delete(path: &Path) -> Result<()> {
    step("delete", path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        deleted => deleted.with_context(|| format!("cannot delete {}", path.display())),
    }
}

/// Writes a whole file beside its place and renames it, names included, onto the disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    step("replace", path)?;
    crate::io::write_atomic(path, |w| Ok(w.write_all(bytes)?))?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Waits until the names of new and deleted files in `folder` are on the disk.
#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    step("sync", folder)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("cannot flush {} to the disk", folder.display()))
}

/// Elsewhere a folder cannot be flushed; the file system orders its names.
#[cfg(not(unix))]
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    step("sync", folder)
}

/// One change that happens whole or not at all.
fn step(what: &'static str, path: &Path) -> Result<()> {
    anyhow::ensure!(allowed(what, path, 1) == 1, "cannot {what} {}: the test ended this writer", path.display());
    Ok(())
}

#[cfg(not(test))]
fn allowed(_: &'static str, _: &Path, want: usize) -> usize {
    want
}

#[cfg(test)]
use fault::allowed;

/// Ends this thread's writers after a number of bytes, as a kill or a full disk would, and notes what they did.
#[cfg(test)]
pub(super) mod fault {
    use std::cell::{Cell, RefCell};
    use std::path::Path;

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
        static DONE: RefCell<Vec<(&'static str, String)>> = const { RefCell::new(Vec::new()) };
    }

    /// Runs `job` with `budget` bytes of life: a byte written costs one, every other change costs one.
    /// Returns what the job returned and how much of the budget it used.
    pub fn with_budget<T>(budget: usize, job: impl FnOnce() -> T) -> (T, usize) {
        LEFT.set(budget);
        let result = job();
        let used = budget - LEFT.replace(usize::MAX);
        (result, used)
    }

    /// What `job` did on the disk: each change and the file's name.
    pub fn traced(job: impl FnOnce()) -> Vec<(&'static str, String)> {
        DONE.take();
        job();
        DONE.take()
    }

    pub(super) fn allowed(what: &'static str, path: &Path, want: usize) -> usize {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        DONE.with_borrow_mut(|done| done.push((what, name)));
        let allowed = want.min(LEFT.get());
        LEFT.set(LEFT.get() - allowed);
        allowed
    }
}
