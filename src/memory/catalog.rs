//! What an index says: which passages live where, and how much of each shard they fill.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::format::{Digest, FRAME_CHAIN, FRAME_HEADER, Format, INDEX_HEADER, digest};
use super::log::{Entry, Frame, Record};
use super::table::Table;

/// How far a shard is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes that records name, removed ones included.
    pub end: u64,
    /// Bytes of live passages.
    pub live: u64,
}

/// The state after the records read so far. The index's bytes stay with the caller, who hands them in as `log`.
pub(super) struct Catalog {
    pub format: Format,
    pub width: usize,
    /// By the shard's number.
    pub shards: BTreeMap<u32, Extent>,
    /// Tokens of all live passages.
    pub tokens: u64,
    /// Records read.
    pub records: u64,
    /// Of these, the ones that added a passage.
    pub additions: u64,
    /// How far the log was read: a frame's end.
    pub end: usize,
    /// The chain up to `end`.
    pub chain: Digest,
    table: Table,
}

impl Catalog {
    /// Of an index with the given header and nothing read yet.
    pub fn new(format: Format, width: usize, header: &[u8; INDEX_HEADER]) -> Self {
        Self {
            format,
            width,
            shards: BTreeMap::new(),
            tokens: 0,
            records: 0,
            additions: 0,
            end: INDEX_HEADER,
            chain: digest(&[header]),
            table: Table::new(),
        }
    }

    /// Number of live passages.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Reads frames until the end of `log` or the first frame that is torn or damaged; `end` says how far it came.
    ///
    /// # Errors
    /// When a sound frame holds records that make no sense, which no writer leaves.
    pub fn read(&mut self, log: &[u8]) -> Result<()> {
        while let Some(frame) = Frame::parse(log, self.end, &self.chain) {
            let mut at = frame.first;
            for _ in 0..frame.records {
                let next = self.apply(&log[..frame.last], at);
                at = next.with_context(|| format!("the index holds a senseless record at byte {at}"))?;
            }
            ensure!(at == frame.last, "the index's frame at byte {} counts its records wrongly", self.end);
            self.end = frame.end;
            self.chain = frame.chain;
        }
        Ok(())
    }

    /// Applies the record at `at` and returns where the next one begins.
    pub fn apply(&mut self, log: &[u8], at: usize) -> Result<usize> {
        let (record, next) = Record::parse(log, at).context("it cannot be read")?;
        match record {
            Record::Added(entry) => {
                self.extend(&entry)?;
                let old = self.table.set(log, entry.id, at);
                ensure!(old.is_none(), "passage {:?} is there already", entry.id);
                self.additions += 1;
                self.tokens += u64::from(entry.tokens);
            }
            Record::Moved(entry) => {
                let old = self.find(log, entry.id).context("it moves a passage that is not there")?;
                ensure!(old.tokens == entry.tokens, "it moves a passage and changes its tokens");
                self.release(&old);
                self.extend(&entry)?;
                self.table.set(log, entry.id, at);
            }
            Record::Removed(id) => {
                let old = self.find(log, id).context("it removes a passage that is not there")?;
                self.release(&old);
                self.tokens -= u64::from(old.tokens);
                self.table.remove(log, id);
            }
        }
        self.records += 1;
        Ok(next)
    }

    /// Bytes of a passage's rows, padding included.
    pub fn passage_bytes(&self, entry: &Entry<'_>) -> u64 {
        self.format.passage_bytes(u64::from(entry.tokens), self.width)
    }

    pub fn contains(&self, log: &[u8], id: &str) -> bool {
        self.table.find(log, id).is_some()
    }

    pub fn find<'a>(&self, log: &'a [u8], id: &str) -> Option<Entry<'a>> {
        match Record::parse(log, self.table.find(log, id)?)?.0 {
            Record::Added(entry) | Record::Moved(entry) => Some(entry),
            Record::Removed(_) => None,
        }
    }

    /// The live passages in the order of the index, each with where its record begins.
    pub fn entries<'a>(&'a self, log: &'a [u8]) -> impl Iterator<Item = (usize, Entry<'a>)> + 'a {
        records(&log[..self.end]).filter_map(move |(at, record)| match record {
            Record::Added(entry) | Record::Moved(entry) => {
                (self.table.find(log, entry.id) == Some(at)).then_some((at, entry))
            }
            Record::Removed(_) => None,
        })
    }

    /// Rows follow one another without a gap, so a passage can begin nowhere but at its shard's end.
    fn extend(&mut self, entry: &Entry<'_>) -> Result<()> {
        let bytes = self.passage_bytes(entry);
        let shard = self.shards.entry(entry.shard).or_default();
        ensure!(entry.tokens > 0, "passage {:?} has no tokens", entry.id);
        ensure!(entry.offset == shard.end, "passage {:?} is not at the end of its shard", entry.id);
        shard.end = shard.end.checked_add(bytes).context("its shard is larger than any disk")?;
        shard.live += bytes;
        Ok(())
    }

    fn release(&mut self, entry: &Entry<'_>) {
        let bytes = self.passage_bytes(entry);
        if let Some(shard) = self.shards.get_mut(&entry.shard) {
            shard.live -= bytes;
        }
    }
}

/// Every record of a log that was read without fault, and where it begins.
fn records(log: &[u8]) -> impl Iterator<Item = (usize, Record<'_>)> {
    let (mut at, mut left) = (INDEX_HEADER, 0);
    std::iter::from_fn(move || {
        while left == 0 {
            // The frame's count lies 4 bytes into its header; its chain lies between it and the next one.
            let start = if at == INDEX_HEADER { at } else { at + FRAME_CHAIN };
            let count = log.get(start + 4..start + 8)?.try_into().ok()?;
            left = u32::from_le_bytes(count);
            at = start + FRAME_HEADER;
        }
        let (record, next) = Record::parse(log, at)?;
        let found = (at, record);
        (at, left) = (next, left - 1);
        Some(found)
    })
}
