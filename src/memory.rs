//! The memory store: passages encoded ahead of time, kept on disk.
//!
//! A reader that retrieves passages spends most of its time encoding them. The memory encoder's part of that does not
//! depend on the question, so it is done once for the whole corpus and its output, one row of `d` values per token, is
//! kept: at T5-large 608 KiB a passage, for all of KILT 13.8 TB, far more than fits in memory. So a store is a
//! folder of large files (*shards*) that are mapped into memory, and a passage's rows are read, without a copy, when a
//! question asks for them. Know the size before building: [`estimate`].
//!
//! ```
//! use glimmer::io::Progress;
//! use glimmer::memory::{Builder, Format, Spec, Store, compact, remove};
//!
//! # fn main() -> anyhow::Result<()> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # let encode = |id: &str| vec![id.len() as f32; 4 * 3]; // 3 tokens of width 4
//! // Build. Run it again after a kill or a full disk: it goes on where the last commit was.
//! let spec = Spec::new(4, Format::Bf16, "t5-large, 16 of 24 layers, blake3 9c1f");
//! let mut builder = Builder::open_or_resume(folder, spec)?;
//! for id in ["12:0", "12:1", "25:0"] {
//!     if !builder.contains(id) {
//!         builder.add(id, &encode(id))?;
//!     }
//! }
//! builder.finish()?;
//!
//! // Read. Another model's fingerprint is an error.
//! let store = Store::open(folder, "t5-large, 16 of 24 layers, blake3 9c1f")?;
//! let rows = store.get("12:1").expect("it was added");
//! let mut values = vec![0.0; rows.tokens * rows.width];
//! rows.write_f32(&mut values)?;
//! assert_eq!(values, encode("12:1"));
//! assert!(store.verify(&Progress::hidden())?.is_sound());
//!
//! // Edit. To add passages, build again with the same spec.
//! remove(folder, &["12:0"])?;
//! compact(folder, &Progress::hidden())?;
//! # Ok(())
//! # }
//! ```
//!
//! # What holds at every moment
//!
//! - **Committed passages survive.** A commit puts rows on the disk, then one index record block (*frame*) that names them and
//!   carries its own checksum. A writer killed at any byte, or stopped by a full disk, leaves committed frames and a torn
//!   tail; the next writer cuts the tail off. A resumed build has, passage by passage, the same bytes as an
//!   uninterrupted one. Damage that no kill explains is never cut off: it is an error.
//! - **Readers see finished states only.** `store.json` names the state that readers see and is replaced as a whole by
//!   [`Builder::finish`], [`remove()`] and [`compact()`]. Readers take no lock, and what they have open does not change.
//! - **One writer at a time**, by an operating-system lock that ends with its process.
//! - **Nothing damaged is used unnoticed**: [`Store::open`] checks header and index in full, [`Store::verify`] the rows.
//!
//! The price of a removal is a mark in the index; [`compact()`] gives the room back. The free room of the disk is not
//! asked before building, since the standard library cannot: compare [`estimate`] with it.
//!
//! The files byte by byte are on the page of [`mod@format`].

mod build;
mod catalog;
mod disk;
mod edit;
pub mod format;
mod header;
mod log;
mod open;
mod recover;
mod rows;
mod table;
mod verify;

#[cfg(test)]
mod tests;

pub use build::Builder;
pub use edit::{Compaction, compact, remove};
pub use format::{Format, Totals, estimate};
pub use header::{SHARD_BYTES, Spec};
pub use open::Store;
pub use recover::Recovery;
pub use rows::Rows;
pub use verify::{BadPassage, Verification};
