//! The store's bytes: what each file holds and how large it is.
//!
//! Every number is little-endian, because rows and records are read where they lie in the mapped file.
//! A *check* is the first 8 bytes of a BLAKE3 hash, a *digest* the first 16.
//!
//! | file              | what it holds                                                             |
//! |-------------------|---------------------------------------------------------------------------|
//! | `store.json`      | shape, encoder's fingerprint, and the published state (see below)         |
//! | `index-00000.bin` | which passages exist and where their rows are; grows at its end only      |
//! | `rows-00000.bin`… | the passages' rows, one after another, nothing between; grow at the end   |
//! | `store.lock`      | empty; the writer holds the operating system's lock on it                 |
//!
//! # `rows-NNNNN.bin`
//!
//! Passages in the order of adding, each filled up with zero bytes to a multiple of 64, so that each begins at
//! a multiple of 64. `n` tokens of width `d`:
//!
//! | format | bytes of a passage                                                                             |
//! |--------|------------------------------------------------------------------------------------------------|
//! | bf16   | `n·d` bf16 values, token by token; zeros                                                       |
//! | int8   | `n·d` i8 values, token by token; zeros up to a multiple of 4; `n` f32 scales; zeros            |
//!
//! An int8 value `q` of token `t` stands for `q · scale[t]`.
//!
//! # `index-NNNNN.bin`
//!
//! A header of 48 bytes, then frames. A frame is what one commit wrote: it counts whole or not at all.
//!
//! | at | bytes | header                                      |
//! |----|-------|---------------------------------------------|
//! | 0  | 8     | `GLIMMIDX`                                  |
//! | 8  | 4     | version, 1                                  |
//! | 12 | 4     | format: 1 bf16, 2 int8                      |
//! | 16 | 4     | width `d`                                   |
//! | 20 | 4     | zero                                        |
//! | 24 | 16    | digest of the fingerprint                   |
//! | 40 | 8     | check of the 40 bytes before                |
//!
//! | at    | bytes | frame                                                                         |
//! |-------|-------|-------------------------------------------------------------------------------|
//! | 0     | 4     | `FRAM`                                                                        |
//! | 4     | 4     | number of records                                                             |
//! | 8     | 8     | `p`, bytes of all records                                                     |
//! | 16    | 8     | check of the 16 bytes before                                                  |
//! | 24    | `p`   | records                                                                       |
//! | 24+p  | 16    | chain: digest of the chain before this frame and of this frame's 24+p bytes   |
//!
//! The chain before the first frame is the digest of the header. The last chain therefore vouches for the whole index.
//!
//! | at | bytes | record                                                                     |
//! |----|-------|----------------------------------------------------------------------------|
//! | 0  | 1     | kind: 1 added, 2 removed, 3 moved (by compaction)                          |
//! | 1  | 1     | zero                                                                       |
//! | 2  | 2     | `i`, bytes of the id, at least 1                                           |
//! | 4  | 4     | tokens `n`, at least 1                     (absent when removed)           |
//! | 8  | 4     | shard: the number in `rows-NNNNN.bin`      (absent when removed)           |
//! | 12 | 8     | offset of the passage in the shard         (absent when removed)           |
//! | 20 | 8     | check of the passage's bytes, zeros included (absent when removed)         |
//! | 28 | `i`   | id, UTF-8                                  (at 4 when removed)             |
//!
//! # `store.json`
//!
//! `version`, `check` (of the version and the rest, in hexadecimal) and `store`: `format`, `width`, `fingerprint`,
//! `shard_bytes` (the size at which a shard is closed), `index` (the number in `index-NNNNN.bin`) and `published`:
//! null until the first build is finished, then the state that readers see: `index_bytes` and `index_digest` (the chain there),
//! `passages`, `tokens`, and each shard's `number` and `bytes`. Whatever index and shards hold beyond is an edit under way.
//! The file is only ever replaced as a whole, so that readers see the state before an edit or the state after it.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(target_endian = "big")]
compile_error!("the memory store maps little-endian files as they are");

/// The version of the layout that this page describes.
pub(super) const VERSION: u32 = 1;
/// Bytes of the index's header.
pub(super) const INDEX_HEADER: usize = 48;
/// Bytes of a frame before its records.
pub(super) const FRAME_HEADER: usize = 24;
/// Bytes of a frame after its records.
pub(super) const FRAME_CHAIN: usize = 16;
/// Bytes of an added or moved record before its id.
pub(super) const RECORD_HEADER: usize = 28;
/// Where passages begin in a shard: at multiples of this many bytes.
pub(super) const ALIGN: u64 = 64;
/// The widest row. Sizes of passages then never overflow a u64.
pub(super) const MAX_WIDTH: usize = 1 << 20;

/// The first 16 bytes of a hash over a stretch of the index.
pub(super) type Digest = [u8; 16];
/// The first 8 bytes of a hash over one passage or one header.
pub(super) type Check = [u8; 8];

/// How a row's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// bfloat16, rounded to nearest, ties to even: 2 bytes a value.
    Bf16,
    /// Signed 8-bit values with one f32 scale per token: 1 byte a value and 4 a token.
    /// `scale = max|x| / 127`, `q = round(x / scale)`, ties to even; a row of zeros has scale 0.
    Int8,
}

impl Format {
    /// Bytes of one passage of `tokens` rows of `width` values, padding included.
    pub fn passage_bytes(self, tokens: u64, width: usize) -> u64 {
        let values = tokens * width as u64;
        match self {
            Format::Bf16 => (values * 2).next_multiple_of(ALIGN),
            Format::Int8 => (values.next_multiple_of(4) + tokens * 4).next_multiple_of(ALIGN),
        }
    }

    pub(super) fn code(self) -> u32 {
        match self {
            Format::Bf16 => 1,
            Format::Int8 => 2,
        }
    }

    /// The most padding that a passage can have; none where every row fills whole units of [`ALIGN`].
    fn most_padding(self, width: usize) -> u64 {
        match self {
            _ if self.passage_bytes(1, width) == self.row_bytes(width) => 0,
            Format::Bf16 => ALIGN - 1,
            Format::Int8 => 3 + ALIGN - 1,
        }
    }

    fn row_bytes(self, width: usize) -> u64 {
        match self {
            Format::Bf16 => width as u64 * 2,
            Format::Int8 => width as u64 + 4,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Bf16 => "bf16",
            Format::Int8 => "int8",
        })
    }
}

/// What a store is going to hold, for [`estimate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of passages.
    pub passages: u64,
    /// Tokens of all passages together.
    pub tokens: u64,
    /// Bytes of all passages' ids together.
    pub id_bytes: u64,
}

/// Bytes on disk of a store that holds `totals` in rows of `width` values, known before it is built.
///
/// Exact for a store committed once whose rows fill multiples of 64 bytes (bf16 with a width divisible by 32: every T5);
/// for other rows at most 66 bytes a passage too many, never too few. A further commit adds 40 bytes; `store.json`, a few
/// hundred bytes, is not counted.
pub fn estimate(totals: &Totals, width: usize, format: Format) -> u64 {
    let rows = totals.tokens * format.row_bytes(width) + totals.passages * format.most_padding(width);
    let records = totals.passages * RECORD_HEADER as u64 + totals.id_bytes;
    let frame = if totals.passages > 0 { FRAME_HEADER + FRAME_CHAIN } else { 0 };
    rows + records + (INDEX_HEADER + frame) as u64
}

/// The check of `bytes`.
pub(super) fn check(bytes: &[u8]) -> Check {
    blake3::hash(bytes).as_bytes()[..8].try_into().expect("a hash has 32 bytes")
}

/// The digest of `parts` laid end to end.
pub(super) fn digest(parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().as_bytes()[..16].try_into().expect("a hash has 32 bytes")
}

/// `bytes` in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_has_the_size_the_page_states() {
        assert_eq!(Format::Bf16.passage_bytes(304, 1024), 608 * 1024);
        assert_eq!(Format::Bf16.passage_bytes(1, 3), 64);
        assert_eq!(Format::Int8.passage_bytes(304, 1024), 304 * 1028);
        assert_eq!(Format::Int8.passage_bytes(5, 3), 64); // 15 → 16, + 20, → 64
        assert_eq!(Format::Int8.passage_bytes(16, 64), 16 * 64 + 64);
    }

    #[test]
    fn kilt_at_t5_large_is_fourteen_terabytes() {
        let kilt = Totals { passages: 22_220_793, tokens: 22_220_793 * 304, id_bytes: 22_220_793 * 12 };
        let terabytes = estimate(&kilt, 1024, Format::Bf16) as f64 / 1e12;
        assert!((terabytes - 13.8).abs() < 0.05, "{terabytes}");
    }
}
