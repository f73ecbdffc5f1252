//! Writing the index: one field of words per passage, one segment in the order of the corpus.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use tantivy::index::{SegmentId, SegmentReader};
use tantivy::indexer::NoMergePolicy;
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{Index, IndexWriter, TantivyDocument};

use super::{Bm25Passage, Bm25Settings, analyser};
use crate::retrieval::folder::stop_if_interrupted;

/// The indexed field, and the name of its analyser.
pub(super) const WORDS: &str = "words";
const POSITION: &str = "position";
/// What the indexing thread may hold before it writes a segment; more makes fewer segments to merge.
const WRITER_BYTES: usize = 256 << 20;

/// Writes the passages, in their order, into one segment: a document's number is then the passage's position.
pub(super) struct Writer {
    pub(super) writer: IndexWriter,
    title_count: u32,
    words: Field,
    position: Field,
    /// Passages added so far.
    pub(super) passages: u32,
}

impl Writer {
    pub fn create(folder: &Path, settings: Bm25Settings) -> Result<Self> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default().set_tokenizer(WORDS).set_index_option(IndexRecordOption::WithFreqs);
        let words = schema.add_text_field(WORDS, TextOptions::default().set_indexing_options(indexing));
        let position = schema.add_u64_field(POSITION, FAST);
        let index = Index::create_in_dir(folder, schema.build())?;
        index.tokenizers().register(WORDS, analyser(settings.words));
        // One thread, so that the segments hold runs of the corpus that `finish` can put in order.
        let writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        Ok(Self { writer, title_count: settings.title_count, words, position, passages: 0 })
    }

    pub fn add<S: AsRef<str>>(&mut self, passage: &Bm25Passage<S>) -> Result<()> {
        let mut document = TantivyDocument::new();
        for _ in 0..self.title_count {
            document.add_text(self.words, passage.title.as_ref());
        }
        document.add_text(self.words, passage.text.as_ref());
        document.add_u64(self.position, u64::from(self.passages));
        self.writer.add_document(document)?;
        let limit = || anyhow!("more than {} passages in one index", u32::MAX);
        self.passages = self.passages.checked_add(1).ok_or_else(limit)?;
        Ok(())
    }

    pub fn finish(mut self) -> Result<()> {
        self.writer.commit()?;
        let mut segments: Vec<(u64, SegmentId)> = Vec::new();
        for segment in self.writer.index().searchable_segments()? {
            let positions = SegmentReader::open(&segment)?.fast_fields().u64(POSITION)?;
            segments.push((positions.min_value(), segment.id()));
        }
        segments.sort_unstable();
        if segments.len() > 1 {
            stop_if_interrupted()?;
            let in_order: Vec<SegmentId> = segments.into_iter().map(|(_, id)| id).collect();
            self.writer.merge(&in_order).wait()?;
            self.writer.garbage_collect_files().wait()?;
        }
        self.check_order()?;
        self.writer.wait_merging_threads()?;
        Ok(())
    }

    /// The order of a merge is tantivy's business: an index whose documents were out of order must not come to be.
    fn check_order(&self) -> Result<()> {
        let mut next = 0;
        for segment in self.writer.index().searchable_segments()? {
            let reader = SegmentReader::open(&segment)?;
            let positions = reader.fast_fields().u64(POSITION)?;
            for document in 0..reader.max_doc() {
                let found = positions.first(document);
                ensure!(found == Some(next), "document {document} is passage {found:?}");
                next += 1;
            }
        }
        ensure!(next == u64::from(self.passages), "{next} passages of {} arrived in the index", self.passages);
        Ok(())
    }
}
