//! Index folders: whole or absent, and known by the corpus they were built from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::io::{interrupted, write_atomic};

/// Fills a folder beside its place and renames it when complete: a build that is killed leaves a `.partial-…`
/// folder that nothing opens, one that fails leaves nothing.
pub(super) fn create<F>(folder: &Path, fill: F) -> Result<()>
where
    F: FnOnce(&Path) -> Result<()>,
{
    // An index may have cost days: it is never overwritten.
    ensure!(!folder.exists(), "{} exists already: delete it to build the index anew", folder.display());
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let beside = tempfile::Builder::new()
        .prefix(".partial-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot create a folder in {}", parent.display()))?;
    fill(beside.path()).with_context(|| format!("cannot build {}", folder.display()))?;
    open_to_all_readers(beside.path())?;
    fs::rename(beside.path(), folder).with_context(|| format!("cannot put {} in place", folder.display()))?;
    // Its old name is gone, so there is nothing left for the guard to remove.
    let _ = beside.keep();
    Ok(())
}

/// A temporary folder is born private to its owner; an index is for everyone the place is for.
#[cfg(unix)]
fn open_to_all_readers(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).context("cannot set permissions")
}

#[cfg(not(unix))]
fn open_to_all_readers(_: &Path) -> Result<()> {
    Ok(())
}

/// Writes the JSON file that says what the folder holds.
pub(super) fn write_header<T: Serialize>(path: &Path, header: &T) -> Result<()> {
    write_atomic(path, |w| Ok(serde_json::to_writer_pretty(w, header)?))
}

/// Reads what [`write_header`] wrote.
pub(super) fn read_header<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!("{} is missing: build the index first", path.display())
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_slice(&text).with_context(|| {
        format!("{} is damaged or of another version: delete its folder and build the index again", path.display())
    })
}

/// Fails if the folder was built from something else than what it is opened for.
pub(super) fn ensure_built_from(folder: &Path, built_from: &str, wanted: &str) -> Result<()> {
    ensure!(
        built_from == wanted,
        "{} was built from another corpus or encoder (fingerprint {built_from}, wanted {wanted}): \
         delete it and build the index again, or give what it was built from",
        folder.display()
    );
    Ok(())
}

/// Turns a Ctrl-C into the error that ends a long job between two steps.
pub(super) fn stop_if_interrupted() -> Result<()> {
    ensure!(!interrupted(), "interrupted");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("index");
        let failed = create(&folder, |partial| {
            fs::write(partial.join("half"), "…")?;
            bail!("the corpus ended early")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("the corpus ended early"));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_index_is_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("index");
        create(&folder, |partial| Ok(fs::write(partial.join("a"), "1")?)).unwrap();
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"1");
        let error = create(&folder, |_| panic!("must not be filled")).unwrap_err();
        assert!(error.to_string().contains("delete it to build"), "{error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_parent_is_named() {
        let error = create(Path::new("/nowhere/index"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
