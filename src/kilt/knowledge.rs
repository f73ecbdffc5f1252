//! The knowledge source, a page at a time.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::fields;
use super::lines::Lines;
use super::normalise::strip;

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its `wikipedia_id`.
    pub id: String,
    /// Its `wikipedia_title`; empty for sources without titles.
    pub title: String,
    /// Its `text`: paragraph 0 is the title line, so that an index here is the paragraph id of a task's evidence.
    pub paragraphs: Vec<String>,
}

/// Streams the pages of a knowledge source (`.jsonl` or gzipped, told by its content), which for KILT is 35 GB of
/// `{"wikipedia_id", "wikipedia_title", "text": [title, paragraph, …], …}`: one page is held at a time, whatever the file's size.
///
/// Ends after the first error. Errors name file and line: damage, bad JSON, a key missing or of another kind, a page id used twice.
/// The search for ids used twice is bounded too: it covers every decimal id below 2²⁸ (all of Wikipedia's; one bit each) and the
/// first million of other ids; an id beyond both bounds is not checked.
pub struct Knowledge {
    lines: Lines,
    seen: SeenIds,
    ended: bool,
}

impl Knowledge {
    /// Opens a knowledge source.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { lines: Lines::open(path)?, seen: SeenIds::default(), ended: false })
    }

    fn next_page(&mut self) -> Result<Option<Page>> {
        let Some(line) = self.lines.next() else {
            return Ok(None);
        };
        let line = line?;
        let page = parse_page(&line.text).with_context(|| self.lines.place(line.number))?;
        if !self.seen.insert(&page.id) {
            bail!("{}: page id {:?} has been used before in this file", self.lines.place(line.number), page.id);
        }
        Ok(Some(page))
    }
}

impl Iterator for Knowledge {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let page = self.next_page().transpose();
        self.ended = !matches!(page, Some(Ok(_)));
        page
    }
}

/// The keys that are read; a page's links, categories and history are skipped unparsed.
#[derive(serde::Deserialize)]
struct Row {
    wikipedia_id: PageId,
    wikipedia_title: String,
    text: Vec<String>,
}

struct PageId(String);

impl<'de> Deserialize<'de> for PageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringOrInteger;
        impl Visitor<'_> for StringOrInteger {
            type Value = PageId;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a page id (a string or an integer)")
            }
            fn visit_str<E: de::Error>(self, id: &str) -> Result<PageId, E> {
                Ok(PageId(strip(id).to_string()))
            }
            fn visit_u64<E: de::Error>(self, id: u64) -> Result<PageId, E> {
                Ok(PageId(id.to_string()))
            }
            fn visit_i64<E: de::Error>(self, id: i64) -> Result<PageId, E> {
                Ok(PageId(id.to_string()))
            }
        }
        deserializer.deserialize_any(StringOrInteger)
    }
}

fn parse_page(text: &str) -> Result<Page> {
    let row: Row = serde_json::from_str(text).map_err(fields::bad_json)?;
    if row.wikipedia_id.0.is_empty() {
        bail!("`wikipedia_id` is empty");
    }
    Ok(Page { id: row.wikipedia_id.0, title: row.wikipedia_title, paragraphs: row.text })
}

const DECIMAL_ID_BOUND: u32 = 1 << 28;
const OTHER_IDS_REMEMBERED: usize = 1_000_000;

#[derive(Default)]
struct SeenIds {
    decimal: Vec<u64>,
    other: HashSet<Box<str>>,
}

impl SeenIds {
    /// False if the id is known to have been here before.
    fn insert(&mut self, id: &str) -> bool {
        if let Some(number) = decimal(id) {
            let (word, bit) = (number as usize / 64, 1u64 << (number % 64));
            if word >= self.decimal.len() {
                self.decimal.resize(word + 1, 0);
            }
            let fresh = self.decimal[word] & bit == 0;
            self.decimal[word] |= bit;
            return fresh;
        }
        if self.other.contains(id) {
            return false;
        }
        if self.other.len() < OTHER_IDS_REMEMBERED {
            self.other.insert(id.into());
        }
        true
    }
}

/// The number of an id that is one, written as numbers are: "07" is another id than "7".
fn decimal(id: &str) -> Option<u32> {
    let number: u32 = id.parse().ok().filter(|n| *n < DECIMAL_ID_BOUND)?;
    (number.to_string() == id).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(content: &str) -> Vec<Result<Page>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ks.jsonl");
        std::fs::write(&path, content).unwrap();
        Knowledge::open(&path).unwrap().collect()
    }

    fn row(id: &str) -> String {
        format!(
            r#"{{"_id": 0, "wikipedia_id": {id}, "wikipedia_title": "T", "text": ["T\n", "One.\n"], "anchors": [{{"x": 1}}]}}"#
        )
    }

    #[test]
    fn a_page_keeps_its_paragraphs_in_place() {
        let content = format!("{}\n{}\n", row("12"), row("\" w7 \""));
        let pages: Vec<Page> = pages(&content).into_iter().map(Result::unwrap).collect();
        assert_eq!(pages[0].id, "12");
        assert_eq!(pages[1].id, "w7");
        assert_eq!(pages[0].title, "T");
        assert_eq!(pages[0].paragraphs, ["T\n", "One.\n"]);
    }

    #[test]
    fn every_bad_page_is_named_and_ends_the_stream() {
        let cases = [
            ("{\"wikipedia_id\": 1,".to_string(), "bad JSON"),
            (r#"{"wikipedia_title": "T", "text": []}"#.into(), "missing field `wikipedia_id`"),
            (r#"{"wikipedia_id": "5", "text": []}"#.into(), "missing field `wikipedia_title`"),
            (r#"{"wikipedia_id": "5", "wikipedia_title": "T"}"#.into(), "missing field `text`"),
            (r#"{"wikipedia_id": "5", "wikipedia_title": "T", "text": "One."}"#.into(), "invalid type: string"),
            (r#"{"wikipedia_id": "5", "wikipedia_title": "T", "text": [1]}"#.into(), "invalid type: integer"),
            (row("null"), "a page id (a string or an integer)"),
            (row("\" \""), "`wikipedia_id` is empty"),
            (row("7"), "page id \"7\" has been used before"),
        ];
        for (bad, want) in cases {
            let mut read = pages(&format!("{}\n{bad}\n{}\n", row("\"7\""), row("8")));
            assert_eq!(read.len(), 2, "{bad}");
            let message = format!("{:#}", read.pop().unwrap().unwrap_err());
            assert!(message.contains("ks.jsonl:2: "), "{message}");
            assert!(message.contains(want), "{bad}: {message}");
        }
    }

    #[test]
    fn ids_used_twice_are_found_within_the_bounds() {
        let mut seen = SeenIds::default();
        for id in ["0", "7", "07", "63", "64", "268435455", "268435456", "99999999999", "w1", "-1", "+7"] {
            assert!(seen.insert(id), "{id}");
        }
        for id in ["0", "7", "07", "63", "64", "268435455", "268435456", "99999999999", "w1", "-1", "+7"] {
            assert!(!seen.insert(id), "{id}");
        }
        // 268435455 = 2²⁸ - 1 is the last decimal id that is a bit: 2²⁸ / 64 words, 32 MiB.
        assert_eq!(seen.decimal.len(), 1 << 22);
    }
}
