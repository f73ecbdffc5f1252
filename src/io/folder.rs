//! Folders that are replaced as a whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Fills a folder beside its place, then lets it take the place of the one that is there.
///
/// No folder can be renamed onto another, so that for an instant there is none. [`settle_folder`] completes what a
/// kill at that instant left behind; between the two, the place holds the old folder, the whole new one, or nothing.
///
/// # Errors
/// Those of `fill`, and of the file system; the old folder is then untouched.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    settle_folder(path)?;
    let partial = Side::Partial.of(path);
    fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    fill(&partial).with_context(|| format!("cannot write {}", path.display()))?;
    rename(&partial, &Side::Next.of(path))?;
    settle_folder(path)
}

/// Completes or clears away what a killed [`write_folder`] left beside `path`.
///
/// # Errors
/// Those of the file system.
pub fn settle_folder(path: &Path) -> Result<()> {
    let [partial, next, old] = [Side::Partial, Side::Next, Side::Old].map(|side| side.of(path));
    remove(&partial)?;
    if next.exists() {
        if path.exists() {
            remove(&old)?;
            rename(path, &old)?;
        }
        rename(&next, path)?;
    }
    remove(&old)
}

/// What lies beside a folder while it is replaced.
#[derive(Clone, Copy)]
enum Side {
    /// The one that is being filled.
    Partial,
    /// The one that is whole and on its way to the place.
    Next,
    /// The one that had the place.
    Old,
}

impl Side {
    fn of(self, path: &Path) -> PathBuf {
        let word = match self {
            Self::Partial => "partial",
            Self::Next => "next",
            Self::Old => "old",
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!(".{word}-{name}"))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot put {} in place", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> String {
        fs::read_to_string(path.join("file")).unwrap()
    }

    fn write(path: &Path, text: &str) {
        write_folder(path, |folder| Ok(fs::write(folder.join("file"), text)?)).unwrap();
    }

    fn folder_with(path: PathBuf, text: &str) {
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), text).unwrap();
    }

    #[test]
    fn the_new_folder_takes_the_place_and_a_failed_one_does_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("last");
        write(&path, "one");
        write(&path, "two");
        let failed = write_folder(&path, |folder| {
            fs::write(folder.join("file"), "half")?;
            anyhow::bail!("the disk is full")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("the disk is full"));
        settle_folder(&path).unwrap();
        assert_eq!(content(&path), "two");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_kill_at_any_moment_leaves_the_old_or_the_new() {
        // Which of partial, next, the place and old are there, and what must then have the place.
        let moments = [
            ("p-l-", "l"),
            ("-nl-", "n"),
            ("-nlo", "n"),
            ("-n-o", "n"),
            ("--lo", "l"),
            ("--l-", "l"),
            ("-n--", "n"),
            ("p---", ""),
        ];
        for (there, expected) in moments {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("last");
            let places = [Side::Partial.of(&path), Side::Next.of(&path), path.clone(), Side::Old.of(&path)];
            for (mark, place) in there.chars().zip(places).filter(|(mark, _)| *mark != '-') {
                folder_with(place, &mark.to_string());
            }
            settle_folder(&path).unwrap();
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), usize::from(!expected.is_empty()), "{there}");
            if !expected.is_empty() {
                assert_eq!(content(&path), expected, "{there}");
            }
        }
    }
}
