//! First-stage retrieval: the k passages that the reader is given for each question.
//!
//! Three sources, all of which end in lists of passages, best first:
//!
//! | source | type | scores |
//! |--------|------|--------|
//! | words | [`Bm25`], an index folder on disk | BM25 |
//! | vectors | [`DenseIndex`], a memory-mapped matrix | dot products |
//! | the task file | [`read_given`] | whatever the file says, or none |
//!
//! A passage is known by its position in the corpus, counted from 0; ids and texts stay with the corpus. Both
//! indices carry the fingerprint of the corpus (and encoder) they were built from and refuse to open for another.

mod bm25;
mod dense;
mod folder;
mod given;
mod top;

pub use bm25::{Bm25, Bm25Passage, Bm25Settings, Bm25Spec, Words};
pub use dense::{DenseIndex, DenseSpec};
pub use given::{Given, GivenPassage, read_given};

/// One retrieved passage. Lists of hits are sorted by falling score, equal scores by rising position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Position of the passage in the order in which the corpus was indexed.
    pub passage: u32,
    /// Higher is better; comparable within one question only.
    pub score: f32,
}
