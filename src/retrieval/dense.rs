//! Retrieval by vectors: exact search over a matrix on disk.
//!
//! A folder of two files: `vectors.bf16`, one row per passage in corpus order, each of `width` bf16 numbers, little
//! endian, scaled to length 1 before rounding; and `dense.json`, which is written last and says what they are.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use half::bf16;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::Hit;
use super::folder::{self, stop_if_interrupted};
use crate::io::Progress;

mod scan;

const HEADER: &str = "dense.json";
const VECTORS: &str = "vectors.bf16";
const VERSION: u32 = 1;
const BYTES_PER_NUMBER: usize = 2;
const ROWS_PER_STEP: u32 = 1024;

/// What an index is built for.
#[derive(Clone, Debug)]
pub struct DenseSpec {
    /// Numbers per vector.
    pub width: usize,
    /// Names the corpus, in its order, and the encoder of its vectors: a hash of both.
    pub fingerprint: String,
}

/// `dense.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    fingerprint: String,
    passages: u32,
    width: usize,
    /// BLAKE3 of the rows.
    checksum: String,
}

/// An open matrix of passage vectors, memory-mapped and shared freely between threads.
pub struct DenseIndex {
    folder: PathBuf,
    header: Header,
    /// `[passages, width]` in bf16.
    rows: Mmap,
}

impl DenseIndex {
    /// Bytes of disk that the vectors of so many passages take.
    pub fn estimate_bytes(passages: u64, width: usize) -> u64 {
        passages * (width * BYTES_PER_NUMBER) as u64
    }

    /// Writes the vectors in their order into a new folder, which appears when it is complete. Each is scaled to
    /// length 1, so that scores order passages by their cosine to the question. One vector is held at a time.
    ///
    /// # Errors
    /// If the folder exists, the iterator fails, a vector has another width, is zero or not finite (its passage is
    /// named), the user interrupts, or the disk does.
    pub fn build<I>(folder: &Path, spec: &DenseSpec, vectors: I, progress: &Progress) -> Result<()>
    where
        I: IntoIterator<Item = Result<Vec<f32>>>,
    {
        ensure!(spec.width > 0, "vectors need at least one number");
        folder::create(folder, |partial| {
            let file = File::create(partial.join(VECTORS))?;
            let mut writer = RowWriter::new(&file, spec.width);
            for vector in vectors {
                writer.add(&vector?)?;
                if writer.passages.is_multiple_of(ROWS_PER_STEP) {
                    stop_if_interrupted()?;
                    progress.add(u64::from(ROWS_PER_STEP));
                }
            }
            let header = writer.finish(spec)?;
            file.sync_all()?;
            folder::write_header(&partial.join(HEADER), &header)
        })
    }

    /// Opens an index at the cost of a look at its header; see [`DenseIndex::verify`] for its content.
    ///
    /// # Errors
    /// If there is none, it was built from another corpus or encoder, or its size is not what it should be.
    pub fn open(folder: &Path, fingerprint: &str) -> Result<Self> {
        let header: Header = folder::read_header(&folder.join(HEADER))?;
        let place = folder.display();
        ensure!(
            header.version == VERSION,
            "{place} has version {}, this program reads {VERSION}: delete it and build the index again",
            header.version
        );
        folder::ensure_built_from(folder, &header.fingerprint, fingerprint)?;
        let path = folder.join(VECTORS);
        let file = File::open(&path)
            .with_context(|| format!("cannot open {}: delete {place} and build the index again", path.display()))?;
        let bytes = file.metadata()?.len();
        let row_bytes = header.width.checked_mul(BYTES_PER_NUMBER);
        let expected = row_bytes.map(|row| row as u128 * u128::from(header.passages));
        ensure!(
            header.width > 0 && expected == Some(u128::from(bytes)),
            "{} has {bytes} bytes, which are not {} vectors of {} numbers: delete {place} and build the index again",
            path.display(),
            header.passages,
            header.width
        );
        // SAFETY: index files are complete before they get their name and are never written to afterwards.
        let rows = unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map {} into memory", path.display()))?;
        Ok(Self { folder: folder.to_path_buf(), header, rows })
    }

    /// Reads every vector and compares with the checksum of the build.
    ///
    /// # Errors
    /// If they differ.
    pub fn verify(&self) -> Result<()> {
        let found = blake3::hash(&self.rows).to_hex();
        ensure!(
            *found == *self.header.checksum,
            "the vectors of {} are damaged: delete it and build the index again",
            self.folder.display()
        );
        Ok(())
    }

    /// Number of passages.
    pub fn len(&self) -> usize {
        self.header.passages as usize
    }

    /// Whether the corpus had no passage.
    pub fn is_empty(&self) -> bool {
        self.header.passages == 0
    }

    /// Numbers per vector.
    pub fn width(&self) -> usize {
        self.header.width
    }

    /// The k passages of the highest dot product with `query [width]`: all passages are compared.
    ///
    /// # Errors
    /// As [`DenseIndex::search_all`].
    pub fn search(&self, query: &[f32], k: usize) -> Result<Vec<Hit>> {
        let width = self.width();
        ensure!(query.len() == width, "the query has {} numbers, the index {width} per passage", query.len());
        let mut hits = self.search_all(query, k)?;
        Ok(hits.pop().unwrap_or_default())
    }

    /// [`DenseIndex::search`] for many queries `[queries, width]`, row by row, in parallel; up to a thousand of them
    /// share one pass over the passages. Every query gets the bits that it gets alone; another kind of processor may
    /// round the last ones otherwise.
    ///
    /// # Errors
    /// If the queries are of another width or not finite (the query is named), a vector of the index is not finite
    /// (the passage is named), or the user interrupts.
    pub fn search_all(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<Hit>>> {
        let width = self.width();
        ensure!(
            queries.len().is_multiple_of(width),
            "{} numbers are not whole queries of the index's {width} numbers each",
            queries.len()
        );
        for (i, query) in queries.chunks_exact(width).enumerate() {
            if let Some(at) = query.iter().position(|number| !number.is_finite()) {
                anyhow::bail!("query {i} is {} at {at}: not a finite number", query[at]);
            }
        }
        scan::search_all(&self.rows, width, queries, k)
            .with_context(|| format!("cannot search {}", self.folder.display()))
    }
}

/// Scales, rounds, hashes and writes rows.
struct RowWriter<'a> {
    file: BufWriter<&'a File>,
    hasher: blake3::Hasher,
    width: usize,
    passages: u32,
    row: Vec<u8>,
}

impl<'a> RowWriter<'a> {
    fn new(file: &'a File, width: usize) -> Self {
        Self {
            file: BufWriter::with_capacity(1 << 20, file),
            hasher: blake3::Hasher::new(),
            width,
            passages: 0,
            row: Vec::with_capacity(width * BYTES_PER_NUMBER),
        }
    }

    fn add(&mut self, vector: &[f32]) -> Result<()> {
        let passage = self.passages;
        ensure!(
            vector.len() == self.width,
            "the vector of passage {passage} has {} numbers instead of {}",
            vector.len(),
            self.width
        );
        if let Some(at) = vector.iter().position(|number| !number.is_finite()) {
            anyhow::bail!("the vector of passage {passage} is {} at {at}: not a finite number", vector[at]);
        }
        let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        ensure!(squares > 0.0, "the vector of passage {passage} is zero: it has no direction to compare");
        let scale = 1.0 / squares.sqrt();
        self.row.clear();
        for number in vector {
            let rounded = bf16::from_f64(f64::from(*number) * scale);
            self.row.extend_from_slice(&rounded.to_le_bytes());
        }
        self.hasher.update(&self.row);
        self.file.write_all(&self.row)?;
        let next = self.passages.checked_add(1);
        self.passages = next.context("more passages than an index can count")?;
        Ok(())
    }

    fn finish(mut self, spec: &DenseSpec) -> Result<Header> {
        self.file.flush()?;
        Ok(Header {
            version: VERSION,
            fingerprint: spec.fingerprint.clone(),
            passages: self.passages,
            width: self.width,
            checksum: self.hasher.finalize().to_hex().to_string(),
        })
    }
}

#[cfg(test)]
mod tests;
