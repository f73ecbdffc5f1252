//! The reader: maps a finished store and hands out rows where they lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
#[cfg(unix)]
use memmap2::Advice;
use memmap2::{Mmap, MmapOptions};

use super::catalog::Catalog;
use super::format::{Format, INDEX_HEADER, check, hex};
use super::header::{Header, Published, index_path, shard_path};
use super::log::{Entry, index_header};
use super::rows::Rows;

/// A finished store, mapped into memory: opening reads the index, rows are read from disk when they are first touched.
/// Of its own memory it takes about 16 bytes a passage.
///
/// It stays as it was at [`open`](Self::open), whatever writers do afterwards. Nothing but writers of this module may
/// change the folder's files meanwhile: a mapped file that shrinks ends the process.
pub struct Store {
    folder: PathBuf,
    header: Header,
    pub(super) catalog: Catalog,
    pub(super) index: Mmap,
    shards: BTreeMap<u32, Mmap>,
}

impl Store {
    /// Opens the store in `folder`, which the memory encoder named `fingerprint` must have written. Takes no lock and
    /// writes nothing, so it works in a folder that cannot be written and while a writer is at work: an edit that is not
    /// finished is not seen. Takes time in proportion to the number of passages, not to their bytes.
    ///
    /// # Errors
    /// No store, one never finished, one by another encoder or of another version, files that are missing, cut off or
    /// damaged. Damage to the rows themselves is found by [`read`](Self::read) and [`verify`](Self::verify).
    pub fn open(folder: &Path, fingerprint: &str) -> Result<Self> {
        loop {
            let header = Header::read(folder)?;
            match Self::map(folder, header.clone(), fingerprint) {
                // A compaction may have replaced the files between the reading of their names and their opening.
                Err(_) if Header::read(folder).is_ok_and(|now| now != header) => {}
                opened => return opened,
            }
        }
    }

    /// The fingerprint of the memory encoder that wrote the store in `folder`.
    ///
    /// # Errors
    /// No store there, or a damaged `store.json`.
    pub fn written_by(folder: &Path) -> Result<String> {
        Ok(Header::read(folder)?.fingerprint)
    }

    fn map(folder: &Path, header: Header, fingerprint: &str) -> Result<Self> {
        ensure!(
            header.fingerprint == fingerprint,
            "the memory store {} was written by the memory encoder {:?} and this model's is {fingerprint:?}: open it with \
             that model, or build a store for this one in another folder",
            folder.display(),
            header.fingerprint,
        );
        let published = header.published.as_ref().with_context(|| {
            format!(
                "the memory store {} is not finished: resume the build with Builder::open_or_resume, add what is missing \
                 and call finish",
                folder.display()
            )
        })?;
        let path = index_path(folder, header.index);
        let index = map_file(&path, published.index_bytes)?;
        let catalog = read_index(&header, published, &index).with_context(|| {
            format!("{}: restore it from a copy, or delete the folder and build again", path.display())
        })?;
        let shards = published
            .shards
            .iter()
            .map(|shard| Ok((shard.number, map_file(&shard_path(folder, shard.number), shard.bytes)?)));
        let shards = shards.collect::<Result<_>>()?;
        Ok(Self { folder: folder.to_path_buf(), header, catalog, index, shards })
    }

    /// The rows of a passage, held against their checksum.
    ///
    /// # Errors
    /// A passage that is not in the store, and rows that are damaged.
    pub fn read(&self, id: &str) -> Result<Rows<'_>> {
        let place = self.folder.display();
        let Some(entry) = self.catalog.find(&self.index, id) else {
            bail!("the memory store in {place} lacks passage {id:?}; add it, or read without the store");
        };
        let bytes = self.bytes_of(&entry).filter(|bytes| check(bytes) == entry.check);
        let rows = bytes.and_then(|b| Rows::from_bytes(b, entry.tokens as usize, self.width(), self.format()));
        rows.with_context(|| {
            format!("the memory of passage {id:?} in {place} is damaged; remove the passage and add it again, or delete the folder")
        })
    }

    /// The rows of several passages. The disk is asked for all of them before the first is waited for.
    ///
    /// # Errors
    /// As those of [`read`](Self::read).
    pub fn read_all(&self, ids: &[&str]) -> Result<Vec<Rows<'_>>> {
        #[cfg(unix)]
        for entry in ids.iter().filter_map(|id| self.catalog.find(&self.index, id)) {
            self.will_read(&entry);
        }
        ids.iter().map(|id| self.read(id)).collect()
    }

    /// Tells the system that a passage's bytes are wanted soon. It may be deaf to that: then they come when they are read.
    #[cfg(unix)]
    fn will_read(&self, entry: &Entry<'_>) {
        if let (Some(bytes), Some(shard)) = (self.bytes_of(entry), self.shards.get(&entry.shard)) {
            let _ = shard.advise_range(Advice::WillNeed, entry.offset as usize, bytes.len());
        }
    }

    /// The rows of a passage, unchecked; `None` if it is not in the store.
    pub fn get(&self, id: &str) -> Option<Rows<'_>> {
        let entry = self.catalog.find(&self.index, id)?;
        Rows::from_bytes(self.bytes_of(&entry)?, entry.tokens as usize, self.width(), self.format())
    }

    /// Whether the passage is in the store.
    pub fn contains(&self, id: &str) -> bool {
        self.catalog.contains(&self.index, id)
    }

    /// The ids of all passages, in the order of adding; those that a compaction moved come by their place on disk.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.catalog.entries(&self.index).map(|(_, entry)| entry.id)
    }

    /// Number of passages.
    pub fn len(&self) -> usize {
        self.catalog.len()
    }

    /// Whether there is no passage.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of all passages together.
    pub fn tokens(&self) -> u64 {
        self.catalog.tokens
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.header.width
    }

    /// How the values are stored.
    pub fn format(&self) -> Format {
        self.header.format
    }

    /// Bytes of the index and of the shards that hold live passages, removed passages' rows in them included.
    pub fn bytes(&self) -> u64 {
        self.index.len() as u64 + self.shards.values().map(|shard| shard.len() as u64).sum::<u64>()
    }

    /// [`bytes`](Self::bytes) over the number of passages; 0 for a store of none.
    pub fn bytes_per_passage(&self) -> f64 {
        self.bytes() as f64 / self.len().max(1) as f64
    }

    /// Bytes of removed passages' rows, which [`compact`](super::compact) gives back. A compaction that was interrupted may
    /// have given back some of them already.
    pub fn removed_bytes(&self) -> u64 {
        self.catalog.shards.values().map(|extent| extent.end - extent.live).sum()
    }

    /// A passage's bytes in its shard, padding included.
    pub(super) fn bytes_of(&self, entry: &Entry<'_>) -> Option<&[u8]> {
        let start = usize::try_from(entry.offset).ok()?;
        let end = start.checked_add(usize::try_from(self.catalog.passage_bytes(entry)).ok()?)?;
        self.shards.get(&entry.shard)?.get(start..end)
    }
}

/// Reads the index and holds it against what `store.json` says of it.
fn read_index(header: &Header, published: &Published, index: &[u8]) -> Result<Catalog> {
    let expected = index_header(header.format, header.width, &header.fingerprint);
    ensure!(
        index.get(..INDEX_HEADER) == Some(&expected),
        "it does not begin as the index of this store (damaged, or another store's)"
    );
    let mut catalog = Catalog::new(header.format, header.width, &expected);
    catalog.read(index)?;
    ensure!(
        catalog.end == index.len() && hex(&catalog.chain) == published.index_digest,
        "it is damaged after byte {}",
        catalog.end
    );
    let live = catalog.shards.iter().filter(|(_, extent)| extent.live > 0);
    let agree = catalog.len() as u64 == published.passages
        && catalog.tokens == published.tokens
        && live
            .map(|(&number, extent)| (number, extent.end))
            .eq(published.shards.iter().map(|shard| (shard.number, shard.bytes)));
    ensure!(agree, "it and store.json speak of different passages");
    Ok(catalog)
}

/// Maps the first `bytes` of a file.
pub(super) fn map_file(path: &Path, bytes: u64) -> Result<Mmap> {
    let file = File::open(path).with_context(|| {
        format!(
            "cannot open {}, which the memory store needs: restore it from a copy, or delete the folder and build again",
            path.display()
        )
    })?;
    let found = file.metadata().with_context(|| format!("cannot ask the size of {}", path.display()))?.len();
    ensure!(
        found >= bytes,
        "{} is cut off: it has {found} of {bytes} bytes: restore it from a copy, or delete the folder and build again",
        path.display()
    );
    let bytes = usize::try_from(bytes).context("the file is larger than this machine's address space")?;
    // SAFETY: a published stretch of a file is never written again and never cut; a file that is no longer published is
    // unlinked, which leaves the mapping whole. The type's documentation forbids others to change it.
    let map = unsafe { MmapOptions::new().len(bytes).map(&file) };
    map.with_context(|| format!("cannot map {} into memory", path.display()))
}
