//! The corpus through the memory encoder, into a store.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::corpus::Corpus;
use super::prompts::{Fitted, Prompts};
use crate::backend::{Backend, Element};
use crate::io::{Progress, interrupted};
use crate::memory::{Builder, Format, Spec, Store, Totals, estimate};
use crate::model::Reader;

/// Tokens that go through the memory encoder at a time.
const BATCH_TOKENS: usize = 4096;
/// Passages between two commits: what a kill can cost.
const COMMIT_PASSAGES: usize = 512;
/// Passages whose tokens are counted to estimate those of all.
const SAMPLE: usize = 500;

/// What a store is going to hold, before it is built.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPlan {
    /// Passages of the corpus.
    pub passages: usize,
    /// Their tokens, estimated from a sample.
    pub tokens: u64,
    /// Bytes on disk that follow.
    pub bytes: u64,
}

impl MemoryPlan {
    /// Estimates the store of a corpus from an even sample of it.
    ///
    /// # Errors
    /// Those of the corpus and of the tokenizer.
    pub fn new(corpus: &Corpus, prompts: &Prompts, width: usize, format: Format) -> Result<Self> {
        let step = corpus.len().div_ceil(SAMPLE);
        let sample: Vec<_> = (0..corpus.len()).step_by(step).map(|i| corpus.passage(i)).collect::<Result<_>>()?;
        let counted: usize = prompts.passages(&sample)?.iter().map(|fitted| fitted.ids.len()).sum();
        let id_bytes: usize = sample.iter().map(|passage| passage.id.len()).sum();
        let all = |of_sample: usize| (of_sample as f64 * corpus.len() as f64 / sample.len() as f64) as u64;
        let totals = Totals { passages: corpus.len() as u64, tokens: all(counted), id_bytes: all(id_bytes) };
        Ok(Self { passages: corpus.len(), tokens: totals.tokens, bytes: estimate(&totals, width, format) })
    }
}

/// What memories of this corpus by this reader are known by: the encoder, the prompts and the texts.
///
/// # Errors
/// Those of the machine.
pub fn memory_fingerprint<B: Backend>(reader: &Reader<B>, corpus: &Corpus, prompts: &Prompts) -> Result<String> {
    let parts = [&reader.memory_fingerprint()?, &prompts.fingerprint()?, corpus.fingerprint()];
    let mut hasher = blake3::Hasher::new();
    parts.iter().for_each(|part| {
        hasher.update(part.as_bytes());
    });
    Ok(hasher.finalize().to_hex().to_string())
}

/// Opens the store of `corpus` in `folder`, after encoding what it does not hold yet. A build that was killed goes
/// on where it was.
///
/// # Errors
/// A store of another encoder or corpus, a disk that is full or read-only, a Ctrl-C (what was encoded stays).
pub fn build_memory<B: Backend>(
    folder: &Path,
    format: Format,
    reader: &Reader<B>,
    corpus: &Corpus,
    prompts: &Prompts,
) -> Result<Store> {
    let fingerprint = memory_fingerprint(reader, corpus, prompts)?;
    if let Ok(store) = Store::open(folder, &fingerprint)
        && store.len() == corpus.len()
        && store.format() == format
    {
        return Ok(store);
    }
    let spec = Spec::new(reader.config.d_model, format, fingerprint.as_str());
    let mut builder = Builder::open_or_resume(folder, spec)?;
    let progress = Progress::new("memory", corpus.len() as u64);
    let mut batch = Batch::default();
    for passage in corpus.iter() {
        let passage = passage?;
        if interrupted() {
            break;
        }
        if builder.contains(&passage.id) {
            progress.add(1);
            continue;
        }
        batch.passages.push(passage);
        if batch.passages.len() == COMMIT_PASSAGES {
            batch.encode_into(&mut builder, reader, prompts, &progress)?;
        }
    }
    batch.encode_into(&mut builder, reader, prompts, &progress)?;
    if interrupted() {
        bail!("stopped with {} of {} passages encoded; run again to go on from there", builder.len(), corpus.len());
    }
    builder.finish()?;
    Store::open(folder, &fingerprint)
}

#[derive(Default)]
struct Batch {
    passages: Vec<crate::kilt::Passage>,
}

impl Batch {
    /// Encodes and commits what has come together, as far as it gets before a Ctrl-C.
    fn encode_into<B: Backend>(
        &mut self,
        builder: &mut Builder,
        reader: &Reader<B>,
        prompts: &Prompts,
        progress: &Progress,
    ) -> Result<()> {
        let fitted = prompts.passages(&self.passages)?;
        let mut first = 0;
        while first < fitted.len() && !interrupted() {
            let mut tokens = 0;
            let fits = |f: &&Fitted| {
                tokens += f.ids.len();
                tokens <= BATCH_TOKENS
            };
            let count = fitted[first..].iter().take_while(fits).count().max(1);
            let texts: Vec<&[u32]> = fitted[first..first + count].iter().map(|f| f.ids.as_slice()).collect();
            let rows = reader.encode_memory(&texts)?.rows.download(&reader.be)?;
            let rows: Vec<f32> = rows.iter().map(|x| x.to_f64() as f32).collect();
            let mut rest = rows.as_slice();
            for (passage, text) in self.passages[first..].iter().zip(&texts) {
                let (own, behind) = rest.split_at(text.len() * reader.config.d_model);
                builder.add(&passage.id, own).with_context(|| format!("memory of passage {}", passage.id))?;
                rest = behind;
            }
            progress.add(count as u64);
            first += count;
        }
        self.passages.clear();
        builder.commit()
    }
}
