//! The passages of a knowledge source, cut once and kept on disk: a file of JSON rows and one of their places,
//! both memory-mapped, so that a corpus of any size costs no memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail, ensure};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::io::{Progress, interrupted, write_atomic};
use crate::kilt::{ChunkOptions, Passage, passages};

const ROWS: &str = "passages.jsonl";
const PLACES: &str = "places.bin";
const ABOUT: &str = "corpus.json";

/// Passages by number, in the knowledge source's order.
pub struct Corpus {
    rows: Mmap,
    places: Mmap,
    about: About,
    folder: PathBuf,
}

/// What a corpus was cut from, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct About {
    source: Origin,
    pages: u64,
    empty_pages: u64,
    passages: usize,
    longest_words: usize,
    /// Hash of all passages.
    fingerprint: String,
}

/// A file as it was, without reading it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Origin {
    path: PathBuf,
    bytes: u64,
    changed_nanoseconds: u128,
    max_words: usize,
}

impl Origin {
    fn of(knowledge: &Path, options: ChunkOptions) -> Result<Self> {
        let path = knowledge.canonicalize().with_context(|| format!("cannot find {}", knowledge.display()))?;
        let file = path.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
        let changed = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed_nanoseconds = changed.unwrap_or_default().as_nanos();
        Ok(Self { path, bytes: file.len(), changed_nanoseconds, max_words: options.max_words.get() })
    }
}

impl Corpus {
    /// Opens the corpus in `folder` if it was cut from this very file in this very way, and cuts it otherwise.
    ///
    /// # Errors
    /// A knowledge source that cannot be read, with file and line; a disk that cannot be written; a Ctrl-C.
    pub fn open_or_cut(folder: &Path, knowledge: &Path, options: ChunkOptions) -> Result<Self> {
        let origin = Origin::of(knowledge, options)?;
        if let Ok(text) = std::fs::read(folder.join(ABOUT))
            && let Ok(about) = serde_json::from_slice::<About>(&text)
            && about.source == origin
        {
            return Self::open(folder, about);
        }
        let about = cut(folder, knowledge, options, origin)?;
        Self::open(folder, about)
    }

    fn open(folder: &Path, about: About) -> Result<Self> {
        let map = |name: &str| {
            let path = folder.join(name);
            let file = File::open(&path).with_context(|| damaged(folder))?;
            // SAFETY: the files are written once, under another name, and never changed in place.
            unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map {}", path.display()))
        };
        let (rows, places) = (map(ROWS)?, map(PLACES)?);
        let corpus = Self { rows, places, about, folder: folder.to_path_buf() };
        let whole = corpus.places.len() == (corpus.len() + 1) * 8 && corpus.place(corpus.len()) == corpus.rows.len();
        ensure!(whole, damaged(folder));
        Ok(corpus)
    }

    /// Passages.
    pub fn len(&self) -> usize {
        self.about.passages
    }

    /// Whether there is no passage.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pages that passages were cut from, and those of them that have no text.
    pub fn pages(&self) -> (u64, u64) {
        (self.about.pages, self.about.empty_pages)
    }

    /// Hash of all passages: what was made from this corpus belongs to it alone.
    pub fn fingerprint(&self) -> &str {
        &self.about.fingerprint
    }

    fn place(&self, index: usize) -> usize {
        let bytes = self.places[index * 8..][..8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes) as usize
    }

    /// Passage number `index`.
    ///
    /// # Errors
    /// A file that was damaged since it was opened.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn passage(&self, index: usize) -> Result<Passage> {
        assert!(index < self.len(), "passage {index} of {}", self.len());
        let row = self.rows.get(self.place(index)..self.place(index + 1));
        let row = row.and_then(|row| serde_json::from_slice(row).ok());
        row.with_context(|| format!("passage {index}: {}", damaged(&self.folder)))
    }

    /// All passages, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Passage>> + '_ {
        (0..self.len()).map(|index| self.passage(index))
    }
}

fn damaged(folder: &Path) -> String {
    format!("the corpus in {} is damaged: delete the folder, it will be made again", folder.display())
}

/// Cuts a knowledge source into a folder beside `folder`, and puts that in its place when it is whole.
fn cut(folder: &Path, knowledge: &Path, options: ChunkOptions, source: Origin) -> Result<About> {
    let parent = folder.parent().context("a corpus needs a folder of its own")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let mut beside = tempfile::Builder::new();
    beside.prefix(".corpus-");
    // A temporary folder is born private to its owner; a corpus is for everyone the place is for.
    #[cfg(unix)]
    beside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    let beside =
        beside.tempdir_in(parent).with_context(|| format!("cannot create a folder in {}", parent.display()))?;
    let create = |name| {
        let path = beside.path().join(name);
        File::create(&path).map(BufWriter::new).with_context(|| format!("cannot create {}", path.display()))
    };
    let (mut rows, mut places) = (create(ROWS)?, create(PLACES)?);
    let (mut hasher, mut end) = (blake3::Hasher::new(), 0u64);
    let mut about =
        About { source, pages: 0, empty_pages: 0, passages: 0, longest_words: 0, fingerprint: String::new() };
    let mut stream = passages(knowledge, options)?;
    let progress = Progress::counting("cutting passages");
    let full = || format!("cannot write the corpus into {}", beside.path().display());
    for passage in stream.by_ref() {
        let passage = passage?;
        if interrupted() {
            bail!("stopped while cutting {} into passages; run again to start over", knowledge.display());
        }
        let row = serde_json::to_vec(&passage)?;
        hasher.update(&row);
        places.write_all(&end.to_le_bytes()).with_context(full)?;
        rows.write_all(&row).and_then(|()| rows.write_all(b"\n")).with_context(full)?;
        end += row.len() as u64 + 1;
        about.passages += 1;
        about.longest_words = about.longest_words.max(passage.text.split_whitespace().count());
        progress.add(1);
    }
    places.write_all(&end.to_le_bytes()).with_context(full)?;
    for file in [rows, places] {
        file.into_inner().map_err(|e| e.into_error()).and_then(|file| file.sync_all()).with_context(full)?;
    }
    let counts = stream.counts();
    (about.pages, about.empty_pages) = (counts.pages, counts.empty_pages);
    about.fingerprint = hasher.finalize().to_hex().to_string();
    ensure!(about.passages > 0, "{} has no page with text", knowledge.display());
    write_atomic(&beside.path().join(ABOUT), |file| Ok(serde_json::to_writer_pretty(file, &about)?))?;
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    std::fs::rename(beside.keep(), folder).with_context(|| format!("cannot put {} in place", folder.display()))?;
    Ok(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowledge(folder: &Path, pages: &[(&str, &str)]) -> PathBuf {
        let path = folder.join("knowledge.jsonl");
        let row = |(id, text): &(&str, &str)| serde_json::json!({"_id": id, "wikipedia_id": id, "wikipedia_title": id, "text": [format!("{id}\n"), text]});
        let rows: Vec<String> = pages.iter().map(|page| row(page).to_string() + "\n").collect();
        std::fs::write(&path, rows.concat()).unwrap();
        path
    }

    #[test]
    fn a_corpus_is_cut_once_and_again_when_its_source_changes() {
        let folder = tempfile::tempdir().unwrap();
        let source = knowledge(folder.path(), &[("a", "One text."), ("b", "Another."), ("empty", "")]);
        let place = folder.path().join("work/corpus");
        let first = Corpus::open_or_cut(&place, &source, ChunkOptions::default()).unwrap();
        assert_eq!((first.len(), first.pages()), (2, (3, 1)));
        assert_eq!(first.passage(1).unwrap().text, "Another.");
        assert_eq!(first.iter().map(|p| p.unwrap().page).collect::<Vec<_>>(), ["a", "b"]);
        let made = std::fs::metadata(place.join(ROWS)).unwrap().modified().unwrap();
        let again = Corpus::open_or_cut(&place, &source, ChunkOptions::default()).unwrap();
        assert_eq!(again.fingerprint(), first.fingerprint());
        assert_eq!(std::fs::metadata(place.join(ROWS)).unwrap().modified().unwrap(), made);
        knowledge(folder.path(), &[("a", "One longer text.")]);
        let changed = Corpus::open_or_cut(&place, &source, ChunkOptions::default()).unwrap();
        assert_eq!(changed.len(), 1);
        assert_ne!(changed.fingerprint(), first.fingerprint());
    }

    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let source = knowledge(folder.path(), &[("a", "One text."), ("b", "Another.")]);
        let place = folder.path().join("corpus");
        drop(Corpus::open_or_cut(&place, &source, ChunkOptions::default()).unwrap());
        let rows = std::fs::read(place.join(ROWS)).unwrap();
        std::fs::write(place.join(ROWS), &rows[..rows.len() - 3]).unwrap();
        let error = Corpus::open_or_cut(&place, &source, ChunkOptions::default()).err().unwrap();
        assert!(error.to_string().contains("delete the folder"), "{error:#}");
    }

    #[test]
    fn nothing_to_cut_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let source = knowledge(folder.path(), &[("a", "")]);
        let error = Corpus::open_or_cut(&folder.path().join("corpus"), &source, ChunkOptions::default()).err().unwrap();
        assert!(error.to_string().contains("no page with text"), "{error:#}");
        let missing = Corpus::open_or_cut(&folder.path().join("c"), Path::new("none.jsonl"), ChunkOptions::default());
        assert!(missing.err().unwrap().to_string().contains("none.jsonl"));
    }
}
