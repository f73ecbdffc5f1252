//! Files that are either whole or absent.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Writes a file beside its place, flushes it to the disk and renames it into place, so that a reader
/// finds the old file or the whole new one and never a part.
///
/// A link is followed, and stays.
///
/// # Errors
/// A path that is there and is no file, such as a folder or a device; whatever creating, writing, syncing or renaming says, with the path; the old file is then untouched.
pub fn write_atomic<F>(path: &Path, fill: F) -> Result<()>
where
    F: FnOnce(&mut BufWriter<&std::fs::File>) -> Result<()>,
{
    let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let path = target.as_path();
    ensure!(!path.exists() || path.is_file(), "{} is there and is no file: name another", path.display());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let beside = tempfile::Builder::new()
        .prefix(".partial-")
        .tempfile_in(folder)
        .with_context(|| format!("cannot create a file in {}", folder.display()))?;
    let mut writer = BufWriter::new(beside.as_file());
    fill(&mut writer).and_then(|()| Ok(writer.flush()?)).with_context(|| format!("cannot write {}", path.display()))?;
    drop(writer);
    open_to_all_readers(beside.as_file())?;
    beside.as_file().sync_all().with_context(|| format!("cannot flush {} to the disk", path.display()))?;
    beside.persist(path).with_context(|| format!("cannot put {} in place", path.display()))?;
    Ok(())
}

/// A temporary file is born private to its owner; results are for everyone the folder is for.
#[cfg(unix)]
fn open_to_all_readers(file: &std::fs::File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644)).context("cannot set permissions")
}

#[cfg(not(unix))]
fn open_to_all_readers(_: &std::fs::File) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        std::fs::write(&path, "old").unwrap();
        let failed = write_atomic(&path, |w| {
            w.write_all(b"new")?;
            anyhow::bail!("the source ended")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("the source ended"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomic(&path, |w| Ok(w.write_all(b"new")?)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn what_is_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomic(folder.path(), |_| Ok(())).unwrap_err();
        assert!(format!("{error:#}").contains("no file"), "{error:#}");
        assert!(write_atomic(Path::new("/dev/null"), |_| Ok(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomic(&link, |w| Ok(w.write_all(b"new")?)).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(link.is_symlink());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = write_atomic(Path::new("/nowhere/at/all.json"), |_| Ok(())).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/at"));
    }
}
