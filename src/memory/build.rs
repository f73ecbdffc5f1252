//! The writer: adds passages, removes them, commits, publishes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::disk::{self, DiskFile};
use super::format::{FRAME_HEADER, check, hex};
use super::header::{self, Header, Published, Role, Shard, Spec, files, shard_path};
use super::log::{Entry, Frame, MAX_ID_BYTES, Record};
use super::recover::{Journal, Recovery, recover};
use super::rows::encode;
use crate::io::Lock;

/// Rows that are never left uncommitted for longer: 1 GiB.
const COMMIT_BYTES: u64 = 1 << 30;
/// How many ids an error lists.
const LISTED_IDS: usize = 20;

/// Writes a store: the only writer of its folder until it is dropped.
///
/// Passages become durable with [`commit`](Self::commit) and visible to readers with [`finish`](Self::finish). A writer
/// that is killed or dropped in between loses what it had not committed; opening the folder again goes on from there.
/// It keeps the index in memory: about 60 bytes a passage, 1.3 GB for all of KILT.
pub struct Builder {
    pub(super) folder: PathBuf,
    pub(super) header: Header,
    pub(super) journal: Journal,
    /// The shard that grows, and its number.
    shard: Option<(u32, DiskFile)>,
    /// Records in the log since the last commit.
    pending: u32,
    /// Bytes of rows since the last commit.
    uncommitted: u64,
    /// One passage's bytes, kept for its room.
    buffer: Vec<u8>,
    recovery: Recovery,
    /// A commit failed: what the disk holds is known only after opening the folder again.
    broken: bool,
    _lock: Lock,
}

impl Builder {
    /// Begins a store in `folder`, which is made if it is missing and must hold nothing.
    ///
    /// # Errors
    /// A folder that holds a store or anything else, or cannot be written; another writer at work; a `spec` without a
    /// width, a fingerprint or a shard size.
    pub fn create(folder: &Path, spec: Spec) -> Result<Self> {
        spec.check()?;
        let lock = Self::lock(folder)?;
        ensure!(
            !Header::exists(folder)?,
            "{} holds a memory store already: go on with Builder::open_or_resume, or delete it first",
            folder.display()
        );
        Self::begin(folder, &spec, lock)
    }

    /// Goes on with the store in `folder`, finished or not, whatever its spec is.
    ///
    /// # Errors
    /// No store there, another writer at work, a folder that cannot be written, or damage to committed data.
    pub fn resume(folder: &Path) -> Result<Self> {
        Header::read(folder)?; // before the lock leaves its file in a folder that holds no store
        let lock = header::lock(folder)?;
        Self::start(folder, Header::read(folder)?, lock)
    }

    /// Begins the store or goes on with it, whichever the folder calls for: the call for a job that may be run again.
    /// `spec.shard_bytes` may differ from the last time and counts from here on.
    ///
    /// # Errors
    /// Those of [`create`](Self::create) and [`resume`](Self::resume), and a store of another spec.
    pub fn open_or_resume(folder: &Path, spec: Spec) -> Result<Self> {
        spec.check()?;
        let lock = Self::lock(folder)?;
        if !Header::exists(folder)? {
            return Self::begin(folder, &spec, lock);
        }
        let mut header = Header::read(folder)?;
        let found = header.spec();
        ensure!(
            spec == Spec { shard_bytes: spec.shard_bytes, ..found.clone() },
            "{} holds {} rows of width {} by the memory encoder {:?}, and {} rows of width {} by {:?} were to be added: \
             use another folder, or delete this one and build again",
            folder.display(),
            found.format,
            found.width,
            found.fingerprint,
            spec.format,
            spec.width,
            spec.fingerprint,
        );
        header.shard_bytes = spec.shard_bytes;
        Self::start(folder, header, lock)
    }

    fn lock(folder: &Path) -> Result<Lock> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        header::lock(folder)
    }

    fn begin(folder: &Path, spec: &Spec, lock: Lock) -> Result<Self> {
        for (role, path) in files(folder)? {
            ensure!(
                matches!(role, Role::Header | Role::Partial),
                "{} is in the way: a memory store wants a folder of its own; if this was one, its store.json is gone: \
                 restore that from a copy, or empty the folder and build again",
                path.display()
            );
        }
        let header = Header::new(spec);
        header.write(folder)?;
        Self::start(folder, header, lock)
    }

    fn start(folder: &Path, header: Header, lock: Lock) -> Result<Self> {
        let (journal, recovery) = recover(folder, &header)?;
        let shard = match journal.catalog.shards.last_key_value() {
            Some((&number, extent)) if extent.live > 0 => Some((number, DiskFile::open(shard_path(folder, number))?)),
            _ => None,
        };
        Ok(Self {
            folder: folder.to_path_buf(),
            header,
            journal,
            shard,
            pending: 0,
            uncommitted: 0,
            buffer: Vec::new(),
            recovery,
            broken: false,
            _lock: lock,
        })
    }

    /// What opening the folder found and cut off.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Whether the passage is in the store: a job that resumes need not encode it again.
    pub fn contains(&self, id: &str) -> bool {
        self.journal.catalog.contains(&self.journal.log, id)
    }

    /// Number of passages, uncommitted ones included.
    pub fn len(&self) -> usize {
        self.journal.catalog.len()
    }

    /// Whether there is no passage.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a passage: `rows [tokens, width]`, row-major. Commits by itself after every GiB of rows.
    ///
    /// # Errors
    /// An id that is empty, longer than 65,535 bytes or in the store already; no rows or a part of a row; a value that is
    /// NaN, infinite or beyond bf16's largest (with passage and token); a disk that is full. The store is then as before,
    /// and other passages can be added.
    pub fn add(&mut self, id: &str, rows: &[f32]) -> Result<()> {
        self.ensure_sound()?;
        ensure!(!id.is_empty(), "a passage has an empty id");
        ensure!(
            id.len() <= MAX_ID_BYTES,
            "an id has {} bytes and {MAX_ID_BYTES} at most are allowed: it begins with {:?}",
            id.len(),
            id.chars().take(40).collect::<String>()
        );
        ensure!(!self.contains(id), "passage {id:?} is in the store already: to replace it, remove it first");
        let mut bytes = std::mem::take(&mut self.buffer);
        let added = encode(rows, self.header.width, self.header.format, &mut bytes)
            .with_context(|| format!("passage {id:?}"))
            .and_then(|tokens| self.append(Record::Added, Passage { id, tokens, bytes: &bytes }));
        self.buffer = bytes;
        added?;
        if self.uncommitted >= COMMIT_BYTES { self.commit() } else { Ok(()) }
    }

    /// Marks passages as removed, all of them or none, and commits. Their room comes back with
    /// [`compact`](super::compact).
    ///
    /// # Errors
    /// Ids that are not in the store, listed; nothing is then removed.
    pub fn remove<S: AsRef<str>>(&mut self, ids: &[S]) -> Result<()> {
        self.commit()?;
        let ids: BTreeSet<&str> = ids.iter().map(AsRef::as_ref).collect();
        let unknown: Vec<&str> = ids.iter().copied().filter(|id| !self.contains(id)).collect();
        ensure!(
            unknown.is_empty(),
            "nothing was removed: {} of {} passages are not in the store: {:?}{}",
            unknown.len(),
            ids.len(),
            &unknown[..unknown.len().min(LISTED_IDS)],
            if unknown.len() > LISTED_IDS { " and more" } else { "" },
        );
        for id in ids {
            self.push(&Record::Removed(id))?;
        }
        self.commit()
    }

    /// Makes all that was added so far durable: rows first, then the index records that name them.
    ///
    /// # Errors
    /// Whatever the disk says. What it holds is then uncertain, so this builder refuses further work; resuming with another
    /// one goes on from the last commit that succeeded.
    pub fn commit(&mut self) -> Result<()> {
        self.ensure_sound()?;
        if self.pending == 0 {
            return Ok(());
        }
        self.broken = true; // until all of the below has succeeded
        if let Some((_, file)) = &self.shard {
            file.sync()?;
        }
        let Journal { file, log, catalog, .. } = &mut self.journal;
        let start = catalog.end;
        let chain = Frame::seal(log, start, self.pending, &catalog.chain);
        file.write_at(start as u64, &log[start..])?;
        file.sync()?;
        (catalog.end, catalog.chain) = (log.len(), chain);
        (self.pending, self.uncommitted, self.broken) = (0, 0, false);
        Ok(())
    }

    /// Commits and lets readers see the store as it is now.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn finish(mut self) -> Result<()> {
        self.commit()?;
        self.publish()
    }

    /// Lets readers see the last commit.
    pub(super) fn publish(&mut self) -> Result<()> {
        self.broken = true;
        self.header.published = Some(self.committed());
        self.header.write(&self.folder)?;
        self.broken = false;
        Ok(())
    }

    /// The state of the last commit as `store.json` has it.
    pub(super) fn committed(&self) -> Published {
        let catalog = &self.journal.catalog;
        let live = catalog.shards.iter().filter(|(_, extent)| extent.live > 0);
        Published {
            index_bytes: catalog.end as u64,
            index_digest: hex(&catalog.chain),
            passages: catalog.len() as u64,
            tokens: catalog.tokens,
            shards: live.map(|(&number, extent)| Shard { number, bytes: extent.end }).collect(),
        }
    }

    /// Lets the next passage begin a shard.
    pub(super) fn close_shard(&mut self) {
        self.shard = None;
    }

    /// Writes a passage's bytes behind the last one's and notes where.
    pub(super) fn append<'a>(&mut self, kind: fn(Entry<'a>) -> Record<'a>, passage: Passage<'a>) -> Result<()> {
        let Passage { id, tokens, bytes } = passage;
        let shard = self.shard_with_room(bytes.len() as u64)?;
        let offset = self.shard_end(shard);
        if let Some((_, file)) = &mut self.shard {
            file.write_at(offset, bytes)?;
        }
        self.uncommitted += bytes.len() as u64;
        self.push(&kind(Entry { id, tokens, shard, offset, check: check(bytes) }))
    }

    fn push(&mut self, record: &Record<'_>) -> Result<()> {
        let Journal { log, catalog, .. } = &mut self.journal;
        if self.pending == 0 {
            log.resize(log.len() + FRAME_HEADER, 0);
        }
        let at = log.len();
        record.write(log);
        self.broken = true; // a record in the log that does not apply must never be committed
        catalog.apply(log, at)?;
        self.broken = false;
        self.pending += 1;
        Ok(())
    }

    /// The number of the shard that takes `bytes` more: the growing one, or the next where that is full.
    fn shard_with_room(&mut self, bytes: u64) -> Result<u32> {
        if let Some((number, file)) = &self.shard {
            let end = self.shard_end(*number);
            if end == 0 || end + bytes <= self.header.shard_bytes {
                return Ok(*number);
            }
            self.broken = true; // a flush that failed cannot be repeated
            file.sync()?;
            self.broken = false;
        }
        let last = self.journal.catalog.shards.last_key_value();
        let number = last.map_or(Some(0), |(number, _)| number.checked_add(1)).context("no shard number is left")?;
        let file = DiskFile::create(shard_path(&self.folder, number))?;
        self.shard = Some((number, file));
        self.broken = true;
        disk::sync_folder(&self.folder)?;
        self.broken = false;
        Ok(number)
    }

    fn shard_end(&self, number: u32) -> u64 {
        self.journal.catalog.shards.get(&number).map_or(0, |extent| extent.end)
    }

    fn ensure_sound(&self) -> Result<()> {
        ensure!(
            !self.broken,
            "an earlier commit to {} failed: drop this builder and go on with Builder::open_or_resume",
            self.folder.display()
        );
        Ok(())
    }
}

/// One passage on its way into a shard.
pub(super) struct Passage<'a> {
    pub id: &'a str,
    pub tokens: u32,
    pub bytes: &'a [u8],
}
