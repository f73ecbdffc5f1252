//! Retrieval by words: BM25 over an inverted index.
//!
//! Tantivy writes the index and reads its postings; the scoring is in `score.rs`, because tantivy fixes
//! k1 = 1.2 and b = 0.75 and sums in an order that depends on k. Questions are never parsed as a query language.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tantivy::Index;
use tantivy::index::SegmentReader;
use tantivy::schema::Field;
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, TextAnalyzer,
};

use super::Hit;
use super::folder::{self, stop_if_interrupted};
use crate::io::Progress;
use write::Writer;

mod score;
mod write;

const HEADER: &str = "bm25.json";
const VERSION: u32 = 1;
/// Tantivy's file format limits a term to 65,530 bytes; nothing that long is a word.
const LONGEST_WORD_BYTES: usize = 128;
const PASSAGES_PER_STEP: u32 = 1024;

/// What is indexed of one passage.
#[derive(Clone, Copy, Debug)]
pub struct Bm25Passage<S> {
    /// Title of its page; may be empty.
    pub title: S,
    /// Its own text.
    pub text: S,
}

/// What counts as the same word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// Runs of letters and digits, lower-cased, without accents.
    Whole,
    /// The same, cut to their stems by Porter's English rules: finds more by natural questions, and confuses more
    /// of the names that slot filling and fact checking ask for.
    Stemmed,
}

/// How passages are analysed and scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bm25Settings {
    /// Saturation of a word's count in a passage, at least 0.
    pub k1: f32,
    /// How far long passages are discounted, in [0, 1].
    pub b: f32,
    /// How often the title counts before the text, at most 16.
    pub title_count: u32,
    /// The analyser.
    pub words: Words,
}

impl Default for Bm25Settings {
    /// The best compromise over four kinds of questions about 10,033 leads of Wikipedia. The title counts twice: the
    /// right lead then comes first for about 3 more of 100 slot and fact questions.
    fn default() -> Self {
        Self { k1: 0.7, b: 0.4, title_count: 2, words: Words::Whole }
    }
}

impl Bm25Settings {
    fn check(&self) -> Result<()> {
        let Self { k1, b, .. } = self;
        ensure!(k1.is_finite() && *k1 >= 0.0, "k1 is {k1}: at least 0");
        ensure!((0.0..=1.0).contains(b), "b is {b}: must be in [0, 1]");
        ensure!(self.title_count <= 16, "the title cannot count {} times: at most 16", self.title_count);
        Ok(())
    }
}

/// What an index is built for.
#[derive(Clone, Debug)]
pub struct Bm25Spec {
    /// Names the corpus, in its order: a hash of it.
    pub fingerprint: String,
    /// Analysis and scoring, remembered by the index.
    pub settings: Bm25Settings,
}

/// `bm25.json`, written last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    fingerprint: String,
    passages: u32,
    settings: Bm25Settings,
}

/// An open BM25 index, shared freely between threads.
pub struct Bm25 {
    settings: Bm25Settings,
    passages: u32,
    field: Field,
    analyser: TextAnalyzer,
    /// Absent for a corpus without passages.
    segment: Option<SegmentReader>,
}

impl Bm25 {
    /// Indexes the passages in their order into a new folder, which appears when it is complete.
    ///
    /// # Errors
    /// If the folder exists, a setting is out of range, the iterator fails, the user interrupts, or the disk does.
    pub fn build<S, I>(folder: &Path, spec: &Bm25Spec, passages: I, progress: &Progress) -> Result<()>
    where
        S: AsRef<str>,
        I: IntoIterator<Item = Result<Bm25Passage<S>>>,
    {
        spec.settings.check()?;
        folder::create(folder, |partial| {
            let mut writer = Writer::create(partial, spec.settings)?;
            for passage in passages {
                writer.add(&passage?)?;
                if writer.passages.is_multiple_of(PASSAGES_PER_STEP) {
                    stop_if_interrupted()?;
                    progress.add(u64::from(PASSAGES_PER_STEP));
                }
            }
            let header = Header {
                version: VERSION,
                fingerprint: spec.fingerprint.clone(),
                passages: writer.passages,
                settings: spec.settings,
            };
            writer.finish()?;
            folder::write_header(&partial.join(HEADER), &header)
        })
    }

    /// Opens an index and checks every byte of it against its checksums; nothing in the folder is changed.
    ///
    /// # Errors
    /// If there is none, it was built from another corpus, or a file of it is missing or damaged.
    pub fn open(folder: &Path, fingerprint: &str) -> Result<Self> {
        let header: Header = folder::read_header(&folder.join(HEADER))?;
        ensure!(
            header.version == VERSION,
            "{} has version {}, this program reads {VERSION}: delete it and build the index again",
            folder.display(),
            header.version
        );
        folder::ensure_built_from(folder, &header.fingerprint, fingerprint)?;
        header.settings.check()?;
        Self::open_segment(folder, &header)
            .with_context(|| format!("{} is damaged: delete it and build the index again", folder.display()))
    }

    fn open_segment(folder: &Path, header: &Header) -> Result<Self> {
        let index = Index::open_in_dir(folder)?;
        let schema = index.schema();
        let damaged = index.validate_checksum()?;
        ensure!(damaged.is_empty(), "wrong checksum: {}", list(damaged));
        let segments = index.searchable_segments()?;
        let segment = match segments.as_slice() {
            [] => None,
            [segment] => Some(SegmentReader::open(segment)?),
            more => bail!("{} segments where one is expected", more.len()),
        };
        let found = segment.as_ref().map_or(0, SegmentReader::max_doc);
        ensure!(found == header.passages, "{found} passages where {} are expected", header.passages);
        Ok(Self {
            settings: header.settings,
            passages: header.passages,
            field: schema.get_field(write::WORDS)?,
            analyser: analyser(header.settings.words),
            segment,
        })
    }

    /// Number of passages indexed.
    pub fn len(&self) -> usize {
        self.passages as usize
    }

    /// Whether the corpus had no passage.
    pub fn is_empty(&self) -> bool {
        self.passages == 0
    }

    /// The settings it was built with.
    pub fn settings(&self) -> &Bm25Settings {
        &self.settings
    }

    /// The k passages of the highest score, fewer if fewer share a word with the query:
    ///
    /// ```text
    /// score(p) = Σ_w idf(w) · (k1 + 1) · tf(w, p) / (tf(w, p) + k1 · (1 - b + b · |p| / mean |p|))
    /// idf(w) = ln(1 + (N - n(w) + 0.5) / (n(w) + 0.5))
    /// ```
    ///
    /// over the distinct words of the query (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009,
    /// with Lucene's idf, which is never negative). Lengths above 40 words are rounded down by up to an eighth, as
    /// the index keeps a byte for each. The query is any text: punctuation, `[SEP]` and `____` separate words.
    ///
    /// # Errors
    /// When the index cannot be read any more.
    pub fn search(&self, query: &str, k: usize) -> Result<Vec<Hit>> {
        let Some(segment) = &self.segment else {
            return Ok(Vec::new());
        };
        let words = self.words_of(query);
        score::search(self, segment, &words, k).context("cannot read the BM25 index")
    }

    /// [`Bm25::search`] for many queries, in parallel; the results are in the order of the queries.
    ///
    /// # Errors
    /// As [`Bm25::search`], and when the user interrupts.
    pub fn search_all<S>(&self, queries: &[S], k: usize) -> Result<Vec<Vec<Hit>>>
    where
        S: AsRef<str> + Sync,
    {
        let search = |query: &S| {
            stop_if_interrupted()?;
            self.search(query.as_ref(), k)
        };
        queries.par_iter().map(search).collect()
    }

    /// Each distinct word once, sorted. Repeats are left out: counting them found less in every set measured.
    fn words_of(&self, query: &str) -> Vec<String> {
        // KILT's separator of subject and relation would otherwise be the word "sep".
        let query = query.replace("[SEP]", " ");
        let mut analyser = self.analyser.clone();
        let mut tokens = analyser.token_stream(&query);
        let mut words = Vec::new();
        while tokens.advance() {
            words.push(tokens.token().text.clone());
        }
        words.sort_unstable();
        words.dedup();
        words
    }
}

fn analyser(words: Words) -> TextAnalyzer {
    let whole = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD_BYTES))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter);
    match words {
        Words::Whole => whole.build(),
        Words::Stemmed => whole.filter(Stemmer::new(Language::English)).build(),
    }
}

fn list(paths: impl IntoIterator<Item = PathBuf>) -> String {
    let mut names: Vec<String> = paths.into_iter().map(|path| path.display().to_string()).collect();
    names.sort();
    names.join(", ")
}

#[cfg(test)]
mod tests;
