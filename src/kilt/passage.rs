//! Passages: what is retrieved and read, cut from pages.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::knowledge::{Knowledge, Page};
use super::sentence::sentences;

const SECTION: &str = "Section::::";
const BULLET: &str = "BULLET::::";

/// A piece of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// `{page}:{n}`, n counting the page's passages from 0: stable as long as the page and the options are the same.
    pub id: String,
    /// The page's `wikipedia_id`.
    pub page: String,
    /// The page's title.
    pub title: String,
    /// The text, without the title.
    pub text: String,
    /// First paragraph that the passage has words of, an index into the page's paragraphs.
    pub first_paragraph: usize,
    /// Last such paragraph, inclusive.
    pub last_paragraph: usize,
}

impl Passage {
    /// The title and the text, as they are searched for an answer.
    pub fn with_title(&self) -> String {
        format!("{} {}", self.title, self.text)
    }
}

/// How pages are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkOptions {
    /// The most words (separated by whitespace) that a passage has, its title not counted. 200 unless told, as in Hofstätter et al.
    /// 2022, whose passages GLIMMER retrieves.
    pub max_words: NonZeroUsize,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self { max_words: const { NonZeroUsize::new(200).unwrap() } }
    }
}

/// How much a stream of passages has cut so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkCounts {
    /// Pages read.
    pub pages: u64,
    /// Those among them that have no text, and so no passage.
    pub empty_pages: u64,
    /// Passages cut from them.
    pub passages: u64,
}

/// Streams the passages of a knowledge source, page by page. See [`Knowledge`] for the file and its errors, [`chunk`] for the cuts.
///
/// # Errors
/// When the file cannot be opened.
pub fn passages(knowledge: &Path, options: ChunkOptions) -> Result<Passages> {
    Ok(Passages { pages: Knowledge::open(knowledge)?, options, ready: VecDeque::new(), counts: ChunkCounts::default() })
}

/// The stream that [`passages`] opens. Ends after the first error.
pub struct Passages {
    pages: Knowledge,
    options: ChunkOptions,
    ready: VecDeque<Passage>,
    counts: ChunkCounts,
}

impl Passages {
    /// What has been read so far.
    pub fn counts(&self) -> ChunkCounts {
        self.counts
    }
}

impl Iterator for Passages {
    type Item = Result<Passage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(passage) = self.ready.pop_front() {
                return Some(Ok(passage));
            }
            let page = match self.pages.next()? {
                Ok(page) => page,
                Err(error) => return Some(Err(error)),
            };
            self.ready.extend(chunk(&page, self.options));
            self.counts.pages += 1;
            self.counts.empty_pages += u64::from(self.ready.is_empty());
            self.counts.passages += self.ready.len() as u64;
        }
    }
}

/// Cuts a page into passages.
///
/// Paragraph 0, the title line, is skipped. A line `Section::::…` starts a section and is skipped; no passage spans two sections.
/// Consecutive paragraphs of a section (without their `BULLET::::` mark) share a passage while they fit into it. A longer paragraph
/// starts a passage of its own and is cut at sentence ends; a sentence longer than the limit is cut between words. What is left over
/// of a cut may share its passage with what follows.
///
/// Every word of the section's paragraphs is in exactly one passage, in order.
pub fn chunk(page: &Page, options: ChunkOptions) -> Vec<Passage> {
    let mut chunker = Chunker { page, max_words: options.max_words.get(), filling: None, done: Vec::new() };
    for (paragraph, line) in page.paragraphs.iter().enumerate().skip(1) {
        let line = line.trim();
        if line.starts_with(SECTION) {
            chunker.close();
            continue;
        }
        let text = line.strip_prefix(BULLET).unwrap_or(line);
        let words: Vec<&str> = text.split_whitespace().collect();
        chunker.add_paragraph(paragraph, &words);
    }
    chunker.close();
    chunker.done
}

struct Chunker<'a> {
    page: &'a Page,
    max_words: usize,
    filling: Option<Filling>,
    done: Vec<Passage>,
}

/// A passage that may still grow.
struct Filling {
    text: String,
    words: usize,
    first_paragraph: usize,
    last_paragraph: usize,
}

impl Chunker<'_> {
    fn add_paragraph(&mut self, paragraph: usize, words: &[&str]) {
        if words.len() <= self.max_words {
            return self.add(paragraph, words);
        }
        self.close();
        for range in sentences(words) {
            let sentence = &words[range];
            if sentence.len() <= self.max_words {
                self.add(paragraph, sentence);
                continue;
            }
            self.close();
            for part in sentence.chunks(self.max_words) {
                self.add(paragraph, part);
            }
        }
    }

    /// Adds words that stay together and fit into a passage.
    fn add(&mut self, paragraph: usize, words: &[&str]) {
        if words.is_empty() {
            return;
        }
        if self.words() + words.len() > self.max_words {
            self.close();
        }
        let filling = self.filling.get_or_insert_with(|| Filling {
            text: String::new(),
            words: 0,
            first_paragraph: paragraph,
            last_paragraph: paragraph,
        });
        for word in words {
            if !filling.text.is_empty() {
                filling.text.push(' ');
            }
            filling.text.push_str(word);
        }
        filling.words += words.len();
        filling.last_paragraph = paragraph;
    }

    fn words(&self) -> usize {
        self.filling.as_ref().map_or(0, |filling| filling.words)
    }

    fn close(&mut self) {
        let Some(filling) = self.filling.take() else {
            return;
        };
        self.done.push(Passage {
            id: format!("{}:{}", self.page.id, self.done.len()),
            page: self.page.id.clone(),
            title: self.page.title.clone(),
            text: filling.text,
            first_paragraph: filling.first_paragraph,
            last_paragraph: filling.last_paragraph,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(paragraphs: &[&str]) -> Page {
        Page { id: "9".into(), title: "Rye".into(), paragraphs: paragraphs.iter().map(|p| p.to_string()).collect() }
    }

    fn at_most(max_words: usize) -> ChunkOptions {
        ChunkOptions { max_words: NonZeroUsize::new(max_words).unwrap() }
    }

    /// `first-last text` of each passage.
    fn cut(paragraphs: &[&str], max_words: usize) -> Vec<String> {
        let passages = chunk(&page(paragraphs), at_most(max_words));
        let show = |p: &Passage| format!("{}-{} {}", p.first_paragraph, p.last_paragraph, p.text);
        passages.iter().map(show).collect()
    }

    #[test]
    fn short_paragraphs_of_a_section_share_a_passage() {
        let paragraphs = ["Rye\n", "a b.\n", "", "BULLET::::- c\n", "d e.\n", "Section::::History.\n", "f.\n"];
        assert_eq!(cut(&paragraphs, 6), ["1-4 a b. - c d e.", "6-6 f."]);
        // One word fewer, and `d e.` no longer fits behind four words.
        assert_eq!(cut(&paragraphs, 5), ["1-3 a b. - c", "4-4 d e.", "6-6 f."]);
    }

    #[test]
    fn a_passage_says_whose_it_is() {
        let passages = chunk(&page(&["Rye\n", "a b\n", "c d\n"]), at_most(2));
        let ids: Vec<&str> = passages.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(ids, ["9:0", "9:1"]);
        assert!(passages.iter().all(|p| p.page == "9" && p.title == "Rye"));
    }

    #[test]
    fn a_long_paragraph_is_cut_at_sentence_ends() {
        // Seven words are over both limits, so that the paragraph does not join `x`. Its sentences have 3, 2 and 2 words. At 4, the
        // first stands alone, the others fill a passage, and `y` would be a fifth word. At 5, the first two make five words; the
        // third one is left over and shares its passage with `y`.
        let paragraphs = ["Rye\n", "x\n", "An old elm. It fell. He ran.\n", "y\n"];
        assert_eq!(cut(&paragraphs, 4), ["1-1 x", "2-2 An old elm.", "2-2 It fell. He ran.", "3-3 y"]);
        assert_eq!(cut(&paragraphs, 5), ["1-1 x", "2-2 An old elm. It fell.", "2-3 He ran. y"]);
    }

    #[test]
    fn a_long_sentence_is_cut_between_words() {
        let paragraphs = ["Rye\n", "It fell. All men ran off at once. He sat.\n"];
        assert_eq!(cut(&paragraphs, 4), ["1-1 It fell.", "1-1 All men ran off", "1-1 at once. He sat."]);
    }

    #[test]
    fn pages_without_text_have_no_passage() {
        for paragraphs in [&[][..], &["Rye\n"], &["Rye\n", " \n", "BULLET::::\n", "Section::::History.\n"]] {
            assert!(cut(paragraphs, 5).is_empty(), "{paragraphs:?}");
        }
    }

    #[test]
    fn a_stream_counts_its_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ks.jsonl");
        let rows = concat!(
            "{\"wikipedia_id\": 1, \"wikipedia_title\": \"A\", \"text\": [\"A\\n\", \"one two\\n\", \"three\\n\"]}\n",
            "{\"wikipedia_id\": 2, \"wikipedia_title\": \"B\", \"text\": [\"B\\n\"]}\n",
            "{\"wikipedia_id\": 3, \"wikipedia_title\": \"C\", \"text\": [\"C\\n\", \"four\\n\"]}\n",
        );
        std::fs::write(&path, rows).unwrap();
        let mut stream = passages(&path, at_most(2)).unwrap();
        let ids: Vec<String> = stream.by_ref().map(|p| p.unwrap().id).collect();
        assert_eq!(ids, ["1:0", "1:1", "3:0"]);
        let want = ChunkCounts { pages: 3, empty_pages: 1, passages: 3 };
        assert_eq!(stream.counts(), want);

        std::fs::write(&path, format!("{rows}{{}}\n")).unwrap();
        let mut stream = passages(&path, ChunkOptions::default()).unwrap();
        let error = stream.find_map(Result::err).unwrap();
        assert!(format!("{error:#}").contains("ks.jsonl:4: "));
        assert!(stream.next().is_none());
    }

    proptest! {
        #[test]
        fn no_word_is_lost_or_doubled(
            paragraphs in prop::collection::vec("(Section::::)?([A-Ca-c]{1,2}[.]?[ \n]{1,2}){0,14}", 0..8),
            max_words in 1usize..9,
        ) {
            let paragraphs: Vec<&str> = std::iter::once("Rye\n").chain(paragraphs.iter().map(String::as_str)).collect();
            let passages = chunk(&page(&paragraphs), at_most(max_words));
            let cut: Vec<&str> = passages.iter().flat_map(|p| p.text.split(' ')).collect();
            let texts = paragraphs.iter().skip(1).filter(|p| !p.starts_with(SECTION));
            let whole: Vec<&str> = texts.flat_map(|p| p.split_whitespace()).collect();
            prop_assert_eq!(cut, whole);
            for passage in &passages {
                prop_assert!(passage.text.split(' ').count() <= max_words);
                let (first, last) = (passage.first_paragraph, passage.last_paragraph);
                prop_assert!(first <= last && last < paragraphs.len());
                prop_assert!(!paragraphs[first..=last].iter().any(|p| p.starts_with(SECTION)));
            }
        }
    }
}
