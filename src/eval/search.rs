//! First-stage retrieval for whole tasks, with what it makes kept on disk.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::corpus::Corpus;
use super::run::Retrieved;
use crate::io::{Progress, interrupted, write_atomic};
use crate::kilt::{Passage, Record};
use crate::random;
use crate::retrieval::{Bm25, Bm25Passage, Bm25Settings, Bm25Spec, GivenPassage, Hit, read_given};

/// Marks, in a file of passages by number, that fewer were found.
const NONE: u32 = u32::MAX;

/// The BM25 index of a corpus.
pub struct Bm25Search {
    index: Bm25,
    folder: PathBuf,
}

impl Bm25Search {
    /// Opens the index in the folder `work`, or builds it there.
    ///
    /// # Errors
    /// An index that is damaged, a disk that cannot be written, a Ctrl-C.
    pub fn open(work: &Path, corpus: &Corpus) -> Result<Self> {
        let folder = work.join(format!("bm25-{}", &corpus.fingerprint()[..12]));
        if !folder.exists() {
            let spec = Bm25Spec { fingerprint: corpus.fingerprint().into(), settings: Bm25Settings::default() };
            let passages = corpus.iter().map(|p| p.map(|p| Bm25Passage { title: p.title, text: p.text }));
            Bm25::build(&folder, &spec, passages, &Progress::new("indexing", corpus.len() as u64))?;
        }
        let index = usable_index(&folder, Bm25::open(&folder, corpus.fingerprint()))?;
        Ok(Self { index, folder })
    }

    /// The `k` best passages for each question.
    ///
    /// # Errors
    /// An index that is damaged, a Ctrl-C.
    pub fn search_all(&self, inputs: &[&str], k: usize) -> Result<Vec<Vec<Hit>>> {
        usable_index(&self.folder, self.index.search_all(inputs, k))
    }
}

/// What to do about an index that cannot be read; nothing, where the user stopped the reading.
///
/// # Errors
/// That of the reading.
pub fn usable_index<T>(folder: &Path, read: Result<T>) -> Result<T> {
    if interrupted() {
        return read;
    }
    read.with_context(|| {
        format!("cannot use the index in {}: delete the folder, it will be made again", folder.display())
    })
}

/// The `k` best passages of a corpus for each question by BM25, searched once and kept in the folder `work`.
///
/// # Errors
/// Those of [`Bm25Search`], and a disk that cannot be written.
pub fn retrieve_bm25(work: &Path, corpus: &Corpus, inputs: &[&str], k: usize) -> Result<Vec<Vec<u32>>> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{} {:?} {k}", corpus.fingerprint(), Bm25Settings::default()).as_bytes());
    for input in inputs {
        hasher.update(&(input.len() as u64).to_le_bytes());
        hasher.update(input.as_bytes());
    }
    let path = work.join(format!("hits-{}.bin", &hasher.finalize().to_hex()[..16]));
    if let Ok(bytes) = std::fs::read(&path)
        && let Some(hits) = unpack(&bytes, (inputs.len(), k), corpus.len())
    {
        return Ok(hits);
    }
    let hits = Bm25Search::open(work, corpus)?.search_all(inputs, k)?;
    let hits: Vec<Vec<u32>> = hits.iter().map(|hits| hits.iter().map(|hit| hit.passage).collect()).collect();
    write_atomic(&path, |file| {
        for hits in &hits {
            let padded = hits.iter().copied().chain(std::iter::repeat(NONE)).take(k);
            padded.map(u32::to_le_bytes).try_for_each(|number| file.write_all(&number))?;
        }
        Ok(())
    })?;
    Ok(hits)
}

/// The passages by number, `k` places a question; nothing where that is not what the bytes are.
fn unpack(bytes: &[u8], (questions, k): (usize, usize), passages: usize) -> Option<Vec<Vec<u32>>> {
    let (numbers, []) = bytes.as_chunks::<4>() else { return None };
    let numbers: Vec<u32> = numbers.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let fits = numbers.len() == questions * k && numbers.iter().all(|&n| n == NONE || (n as usize) < passages);
    let rows = numbers.chunks(k.max(1)).map(|row| row.iter().copied().take_while(|&n| n != NONE).collect());
    fits.then(|| rows.collect())
}

/// The passages that a task's file brings along, for each of its records.
///
/// # Errors
/// A malformed file, with its line, and a record without passages.
pub fn given_passages(path: &Path, records: &[Record]) -> Result<Vec<Retrieved>> {
    let mut given: HashMap<String, Vec<GivenPassage>> =
        read_given(path)?.into_iter().map(|given| (given.id, given.passages)).collect();
    let passages = |record: &Record| {
        let passages = given.remove(&record.id);
        let passages = passages.with_context(|| format!("{}: no passages for id {:?}", path.display(), record.id))?;
        Ok(Retrieved::Given(passages.into_iter().map(passage).collect()))
    };
    records.iter().map(passages).collect()
}

/// A given passage counts as evidence by its id, and by its title where it has none.
fn passage(given: GivenPassage) -> Passage {
    let page = given.id.unwrap_or_else(|| given.title.clone());
    Passage { id: page.clone(), page, title: given.title, text: given.text, first_paragraph: 0, last_paragraph: 0 }
}

/// So many records, drawn without replacement and left in their order; the same ones each time.
pub fn sample(records: Vec<Record>, wanted: usize) -> Vec<Record> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|&i| random::bits(0, 0, i as u64));
    order.truncate(wanted);
    let mut chosen = vec![false; records.len()];
    order.iter().for_each(|&i| chosen[i] = true);
    records.into_iter().zip(chosen).filter_map(|(record, chosen)| chosen.then_some(record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kilt::ChunkOptions;

    #[test]
    fn hits_are_kept_and_made_again_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let row =
            |id: &str, text: &str| serde_json::json!({"wikipedia_id": id, "wikipedia_title": id, "text": [id, text]});
        let rows = [row("1", "apples and pears"), row("2", "pears and plums"), row("3", "nuts")];
        let knowledge = folder.path().join("knowledge.jsonl");
        std::fs::write(&knowledge, rows.map(|row| row.to_string() + "\n").concat()).unwrap();
        let corpus = Corpus::open_or_cut(&folder.path().join("corpus"), &knowledge, ChunkOptions::default()).unwrap();
        let ask = || retrieve_bm25(folder.path(), &corpus, &["plums", "nothing of it", "pears, plums"], 2).unwrap();
        let hits = ask();
        assert_eq!(hits, [vec![1], vec![], vec![1, 0]]);
        let kept = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let kept = kept.filter(|path| path.extension().is_some_and(|e| e == "bin")).collect::<Vec<_>>();
        assert_eq!(kept.len(), 1);
        assert_eq!(ask(), hits);
        std::fs::write(&kept[0], [9, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(ask(), hits);
    }
}
