//! Whether the rows on disk are still those that were written.

use anyhow::Result;
use rayon::prelude::*;

use super::format::check;
use super::log::Entry;
use super::open::Store;
use crate::io::{Progress, interrupted};

/// Passages between two looks at Ctrl-C.
const BATCH: usize = 1024;

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Passages whose rows were read and hashed.
    pub checked: usize,
    /// Passages in the store; more than `checked` if the user stopped the job.
    pub passages: usize,
    /// Those that are not what was written, in the order of the index.
    pub bad: Vec<BadPassage>,
}

/// A passage whose rows were damaged on disk. To mend the store: remove it, then add it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPassage {
    /// Its id.
    pub id: String,
    /// The number of its shard, as in `rows-00000.bin`.
    pub shard: u32,
    /// Where it begins in the shard, in bytes.
    pub offset: u64,
}

impl Verification {
    /// Whether every passage was checked and none is bad.
    pub fn is_sound(&self) -> bool {
        self.checked == self.passages && self.bad.is_empty()
    }
}

impl Store {
    /// Reads every passage and holds it against its checksum, on all cores; `progress` counts passages. Ctrl-C ends it with
    /// what it has found so far. (The index needs no such check: opening made it.)
    ///
    /// # Errors
    /// None for damaged rows, which the result lists.
    pub fn verify(&self, progress: &Progress) -> Result<Verification> {
        self.verify_until(progress, interrupted)
    }

    pub(super) fn verify_until(&self, progress: &Progress, stop: impl Fn() -> bool) -> Result<Verification> {
        let mut found = Verification { passages: self.len(), ..Verification::default() };
        let mut entries = self.catalog.entries(&self.index);
        loop {
            let batch: Vec<Entry<'_>> = entries.by_ref().take(BATCH).map(|(_, entry)| entry).collect();
            if batch.is_empty() || stop() {
                return Ok(found);
            }
            let bad = batch.par_iter().filter(|entry| self.bytes_of(entry).map(check) != Some(entry.check));
            let bad = bad.map(|entry| BadPassage { id: entry.id.into(), shard: entry.shard, offset: entry.offset });
            found.bad.extend(bad.collect::<Vec<_>>());
            found.checked += batch.len();
            progress.add(batch.len() as u64);
        }
    }
}
