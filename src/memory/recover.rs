//! What a writer finds when it opens the folder: the committed state is kept, what a killed writer left half done is cut off.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::catalog::Catalog;
use super::disk::{self, DiskFile};
use super::format::{INDEX_HEADER, hex};
use super::header::{Header, Role, files, index_path, shard_path};
use super::log::{frame_begins_after, index_header};

const START_AGAIN: &str = "restore it from a copy, or delete the folder and build again";

/// What opening a folder for writing kept and threw away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Passages that were there.
    pub passages: usize,
    /// Bytes that were cut off: rows and index records that had not been committed.
    pub cut_bytes: u64,
}

/// The index as a writer holds it.
pub(super) struct Journal {
    pub file: DiskFile,
    pub log: Vec<u8>,
    pub catalog: Catalog,
    /// Passages added by commits that were never published.
    pub unpublished: u64,
}

/// Brings the folder back to its last commit. Nothing is changed before all of it was found sound.
pub(super) fn recover(folder: &Path, header: &Header) -> Result<(Journal, Recovery)> {
    let files = files(folder)?;
    let mut journal = open_index(folder, header, &files)?;
    read_index(&mut journal, header).with_context(|| index_path(folder, header.index).display().to_string())?;
    let rows = check_shards(folder, &journal.catalog, &files)?;

    let kept = journal.catalog.end as u64;
    let torn = journal.log.len() as u64 - kept;
    if torn > 0 {
        journal.file.cut(kept)?;
        journal.log.truncate(journal.catalog.end);
    }
    for (path, end, _) in &rows {
        match end {
            Some(end) => DiskFile::open(path.clone())?.cut(*end)?,
            None => disk::delete(path)?,
        }
    }
    for (role, path) in &files {
        match role {
            Role::Partial => disk::delete(path)?,
            Role::Index(number) if *number != header.index => disk::delete(path)?,
            _ => {}
        }
    }
    let cut_bytes = torn + rows.iter().map(|(.., bytes)| bytes).sum::<u64>();
    let recovery = Recovery { passages: journal.catalog.len(), cut_bytes };
    Ok((journal, recovery))
}

/// Opens the index, or begins it where nothing was ever written.
fn open_index(folder: &Path, header: &Header, files: &[(Role, PathBuf)]) -> Result<Journal> {
    let path = index_path(folder, header.index);
    let expected = index_header(header.format, header.width, &header.fingerprint);
    let catalog = Catalog::new(header.format, header.width, &expected);
    // The header is on the disk before the first shard is made.
    let untouched = header.published.is_none() && !files.iter().any(|(role, _)| matches!(role, Role::Shard(_)));
    let exists = files.iter().any(|(role, _)| *role == Role::Index(header.index));
    ensure!(exists || untouched, "{} is missing: {START_AGAIN}", path.display());

    let mut file = if exists { DiskFile::open(path.clone())? } else { DiskFile::create(path.clone())? };
    let mut log = file.read()?;
    if log.get(..INDEX_HEADER) != Some(&expected) {
        ensure!(
            untouched,
            "{} does not begin as the index of this store (damaged, or another store's): {START_AGAIN}",
            path.display()
        );
        file.cut(0)?;
        file.write_at(0, &expected)?;
        file.sync()?;
        disk::sync_folder(folder)?;
        log = expected.to_vec();
    }
    Ok(Journal { file, log, catalog, unpublished: 0 })
}

/// Reads the published frames, which must be there and sound, then the commits since, up to a torn one.
fn read_index(journal: &mut Journal, header: &Header) -> Result<()> {
    let Journal { log, catalog, .. } = journal;
    if let Some(published) = &header.published {
        let bytes = published.index_bytes as usize;
        ensure!(
            log.len() >= bytes,
            "it is cut off: it has {} bytes and store.json speaks of {bytes}: {START_AGAIN}",
            log.len()
        );
        catalog.read(&log[..bytes])?;
        ensure!(
            catalog.end == bytes && hex(&catalog.chain) == published.index_digest,
            "it is damaged after byte {}: {START_AGAIN}",
            catalog.end
        );
    }
    let additions = catalog.additions;
    catalog.read(log)?;
    journal.unpublished = catalog.additions - additions;
    ensure!(
        !frame_begins_after(log, catalog.end),
        "it is damaged after byte {} and sound again later; no killed writer leaves that, and cutting it off there would \
         lose passages: {START_AGAIN}",
        catalog.end
    );
    Ok(())
}

/// The shards to change: where to cut each off (`None`: to delete), and the bytes that go.
fn check_shards(
    folder: &Path,
    catalog: &Catalog,
    files: &[(Role, PathBuf)],
) -> Result<Vec<(PathBuf, Option<u64>, u64)>> {
    let (mut change, mut found) = (Vec::new(), BTreeSet::new());
    for (role, path) in files {
        let Role::Shard(number) = role else { continue };
        let bytes = path.metadata().with_context(|| format!("cannot ask the size of {}", path.display()))?.len();
        let Some(extent) = catalog.shards.get(number) else {
            change.push((path.clone(), None, bytes));
            continue;
        };
        found.insert(*number);
        ensure!(
            bytes >= extent.end || extent.live == 0,
            "{} is cut off: it has {bytes} bytes and the index speaks of {}: {START_AGAIN}",
            path.display(),
            extent.end
        );
        if bytes > extent.end {
            change.push((path.clone(), Some(extent.end), bytes - extent.end));
        }
    }
    for (number, extent) in &catalog.shards {
        ensure!(
            extent.live == 0 || found.contains(number),
            "{} is missing: {START_AGAIN}",
            shard_path(folder, *number).display()
        );
    }
    Ok(change)
}
