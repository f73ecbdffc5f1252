//! Changes to a finished store: removing passages, and giving their room back.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::build::{Builder, Passage};
use super::catalog::Catalog;
use super::disk::{self, DiskFile};
use super::format::{FRAME_HEADER, check};
use super::header::{index_path, shard_path};
use super::log::{Entry, Frame, Record, index_header};
use super::open::map_file;
use super::recover::Journal;
use crate::io::{Progress, interrupted};

/// Removes passages from the finished store in `folder`, all of them or none.
///
/// They are marked in the index; their rows stay on disk until [`compact`]. Readers that have the store open keep seeing them.
///
/// # Errors
/// Ids that are not in the store, listed; nothing is then removed. A store whose last adding was not finished. Those of
/// [`Builder::resume`].
pub fn remove<S: AsRef<str>>(folder: &Path, ids: &[S]) -> Result<()> {
    let mut builder = open_finished(folder)?;
    builder.remove(ids)?;
    builder.finish()
}

/// What [`compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes given back to the disk.
    pub freed_bytes: u64,
    /// Shards that held removed passages and are gone.
    pub shards: usize,
    /// Whether all of them are; not if the user stopped the job, and then compacting again goes on.
    pub complete: bool,
}

/// Gives back the room of removed passages in the finished store in `folder`; `progress` counts the passages moved.
///
/// One shard after another, its remaining passages are copied behind the last one, published, and the shard deleted: a
/// shard without removed passages is left alone, the room needed meanwhile is one shard's, and a kill or Ctrl-C at any
/// moment leaves a store that opens and loses no passage. Readers that have the store open keep what they see.
///
/// # Errors
/// A passage whose rows do not match their checksum (remove it first). A store whose last adding was not finished. Those of
/// [`Builder::resume`].
pub fn compact(folder: &Path, progress: &Progress) -> Result<Compaction> {
    compact_until(folder, progress, &interrupted)
}

pub(super) fn compact_until(folder: &Path, progress: &Progress, stop: &dyn Fn() -> bool) -> Result<Compaction> {
    let mut builder = open_finished(folder)?;
    let before = disk_bytes(&builder);
    let sparse: Vec<u32> =
        shards_on_disk(&builder).filter(|shard| shard.live < shard.end).map(|shard| shard.number).collect();
    let last = builder.journal.catalog.shards.last_key_value();
    if last.is_some_and(|(last, _)| sparse.contains(last)) {
        builder.close_shard(); // what is emptied must not grow
    }
    let residents = residents(&builder, &sparse);
    let mut done = Compaction::default();
    for number in sparse {
        let first = residents.partition_point(|resident| resident.shard < number);
        let last = residents.partition_point(|resident| resident.shard <= number);
        let watch = Watch { progress, stop };
        if !vacate(&mut builder, &residents[first..last], watch)? {
            break;
        }
        disk::delete(&shard_path(folder, number))?;
        done.shards += 1;
    }
    done.complete = shards_on_disk(&builder).all(|shard| shard.live == shard.end);
    if done.complete {
        rewrite_index(&mut builder)?;
    }
    done.freed_bytes = before.saturating_sub(disk_bytes(&builder));
    Ok(done)
}

/// Opens a finished store for an edit, and publishes one that was committed and then interrupted.
fn open_finished(folder: &Path) -> Result<Builder> {
    let mut builder = Builder::resume(folder)?;
    let published = builder.header.published.as_ref();
    ensure!(
        published.is_some() && builder.journal.unpublished == 0,
        "{} has passages whose adding was not finished: go on with Builder::open_or_resume and call finish first",
        folder.display()
    );
    if published != Some(&builder.committed()) {
        builder.publish()?;
    }
    Ok(builder)
}

/// Who looks at a long job, and who may stop it.
struct Watch<'a> {
    progress: &'a Progress,
    stop: &'a dyn Fn() -> bool,
}

/// A live passage in a shard that is to go, and where its record lies in the index.
struct Resident {
    shard: u32,
    offset: u64,
    record: usize,
}

/// The live passages of the given shards (ascending numbers), by their place on disk.
fn residents(builder: &Builder, shards: &[u32]) -> Vec<Resident> {
    let Journal { log, catalog, .. } = &builder.journal;
    let live = catalog.entries(log).filter(|(_, entry)| shards.binary_search(&entry.shard).is_ok());
    let mut residents: Vec<_> =
        live.map(|(record, entry)| Resident { shard: entry.shard, offset: entry.offset, record }).collect();
    residents.sort_unstable_by_key(|resident| (resident.shard, resident.offset));
    residents
}

/// Copies one shard's passages behind the last shard's and publishes that; false if the user stopped it before.
fn vacate(builder: &mut Builder, residents: &[Resident], watch: Watch<'_>) -> Result<bool> {
    let Some(number) = residents.first().map(|resident| resident.shard) else {
        return Ok(!(watch.stop)());
    };
    let path = shard_path(&builder.folder, number);
    let rows = map_file(&path, builder.journal.catalog.shards[&number].end)?;
    for resident in residents {
        if (watch.stop)() {
            return Ok(false);
        }
        let (record, _) = Record::parse(&builder.journal.log, resident.record).context("the index changed")?;
        let (Record::Added(entry) | Record::Moved(entry)) = record else {
            continue;
        };
        let (id, tokens, start) = (entry.id.to_string(), entry.tokens, entry.offset as usize);
        let bytes = &rows[start..start + builder.journal.catalog.passage_bytes(&entry) as usize];
        ensure!(
            check(bytes) == entry.check,
            "passage {id:?} is damaged in {}: remove it, compact, and add it again",
            path.display()
        );
        builder.append(Record::Moved, Passage { id: &id, tokens, bytes })?;
        watch.progress.add(1);
    }
    builder.commit()?;
    builder.publish()?;
    Ok(true)
}

/// Writes an index without the records of what is gone, and publishes it in place of the old one.
fn rewrite_index(builder: &mut Builder) -> Result<()> {
    let Journal { log, catalog, .. } = &builder.journal;
    if catalog.records == catalog.len() as u64 && catalog.additions == catalog.records {
        return Ok(());
    }
    let header = index_header(catalog.format, catalog.width, &builder.header.fingerprint);
    let mut written = Catalog::new(catalog.format, catalog.width, &header);
    let mut entries: Vec<Entry<'_>> = catalog.entries(log).map(|(_, entry)| entry).collect();
    entries.sort_unstable_by_key(|entry| (entry.shard, entry.offset));
    let mut compacted = header.to_vec();
    if !entries.is_empty() {
        let records = u32::try_from(entries.len()).context("the store has more passages than a frame can count")?;
        compacted.resize(written.end + FRAME_HEADER, 0);
        for entry in &entries {
            Record::Added(*entry).write(&mut compacted);
        }
        Frame::seal(&mut compacted, written.end, records, &written.chain);
    }
    written.read(&compacted)?;
    ensure!(
        written.end == compacted.len() && written.len() == catalog.len() && written.tokens == catalog.tokens,
        "the compacted index lost passages; the old one stays"
    );
    let old = index_path(&builder.folder, builder.header.index);
    let number = builder.header.index.checked_add(1).context("no index number is left")?;
    let path = index_path(&builder.folder, number);
    disk::replace(&path, &compacted)?;
    let file = DiskFile::open(path)?;
    builder.journal = Journal { file, log: compacted, catalog: written, unpublished: 0 };
    builder.header.index = number;
    builder.publish()?;
    disk::delete(&old)
}

/// A shard's file and how much of it is in use.
struct ShardOnDisk {
    number: u32,
    end: u64,
    live: u64,
}

/// The shards whose files exist: an interrupted compaction has deleted some that the index still speaks of.
fn shards_on_disk(builder: &Builder) -> impl Iterator<Item = ShardOnDisk> {
    let shards = builder.journal.catalog.shards.iter();
    shards
        .map(|(&number, extent)| ShardOnDisk { number, end: extent.end, live: extent.live })
        .filter(|shard| shard_path(&builder.folder, shard.number).exists())
}

fn disk_bytes(builder: &Builder) -> u64 {
    builder.journal.log.len() as u64 + shards_on_disk(builder).map(|shard| shard.end).sum::<u64>()
}
