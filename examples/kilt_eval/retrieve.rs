//! First-stage retrieval for all questions.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use glimmer::cpu::Cpu;
use glimmer::eval::{Bm25Search, Corpus, Retrieved, Task, given_passages, usable_index};
use glimmer::io::{Progress, Tokenizer};
use glimmer::model::DenseEncoder;
use glimmer::retrieval::{DenseIndex, DenseSpec, Hit};

use crate::args::{Args, Retriever};
use crate::{Questions, say};

/// Tokens of a text that the dense retriever reads; GTR was trained on as many.
const DENSE_TOKENS: usize = 512;
/// Texts that the dense retriever encodes together.
const DENSE_BATCH: usize = 16;

/// The dense retriever's encoder.
pub struct Dense {
    encoder: DenseEncoder<Cpu<f32>>,
    tokenizer: Tokenizer,
}

impl Dense {
    /// The encoder, where passages come from one.
    pub fn open(args: &Args) -> Result<Option<Self>> {
        if args.retriever != Retriever::Dense {
            return Ok(None);
        }
        let folder = args.dense_checkpoint.as_ref().context("--retriever dense needs --dense-checkpoint")?;
        let encoder = DenseEncoder::load(Cpu::default(), folder)
            .with_context(|| format!("cannot load --dense-checkpoint {}", folder.display()))?;
        Ok(Some(Self { encoder, tokenizer: Tokenizer::open(folder)? }))
    }

    /// A vector for each text, one behind the other.
    fn vectors<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<f32>> {
        let mut ids = self.tokenizer.encode_batch(texts)?;
        ids.iter_mut().for_each(|ids| ids.truncate(DENSE_TOKENS));
        self.encoder.encode(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

/// Tasks with their passages. The widest reader decides how many are retrieved; the others take the first of them.
pub fn retrieve(
    args: &Args,
    dense: Option<&Dense>,
    tasks: Vec<Questions>,
    corpus: Option<&Corpus>,
) -> Result<Vec<Task>> {
    let Some(corpus) = corpus else {
        return tasks.into_iter().map(given).collect();
    };
    let inputs: Vec<&str> = tasks.iter().flat_map(|t| &t.records).map(|record| record.input.as_str()).collect();
    let k = args.widest_k();
    if k > corpus.len() {
        say(&format!("the corpus has {} passages, fewer than the {k} asked for: all are retrieved", corpus.len()));
    }
    let hits = match dense {
        Some(dense) => search_dense(args, dense, corpus, (&inputs, k))?,
        None => bm25(args, corpus, &inputs, k)?,
    };
    let mut hits = hits.into_iter();
    let numbers = |hits: Vec<Hit>| Retrieved::Corpus(hits.into_iter().map(|hit| hit.passage).collect());
    let with_passages = |Questions { name, metric, records, .. }: Questions| {
        let retrieved = hits.by_ref().take(records.len()).map(numbers).collect();
        Task { name, metric, records, retrieved }
    };
    Ok(tasks.into_iter().map(with_passages).collect())
}

fn bm25(args: &Args, corpus: &Corpus, inputs: &[&str], k: usize) -> Result<Vec<Vec<Hit>>> {
    let index = Bm25Search::open(&args.work, corpus)?;
    let started = Instant::now();
    let hits = index.search_all(inputs, k)?;
    rate("bm25", inputs.len(), started);
    Ok(hits)
}

fn search_dense(args: &Args, dense: &Dense, corpus: &Corpus, (inputs, k): (&[&str], usize)) -> Result<Vec<Vec<Hit>>> {
    let encoder = &dense.encoder;
    let fingerprint = format!("{} {}", corpus.fingerprint(), encoder.fingerprint()?);
    let name = blake3::hash(fingerprint.as_bytes()).to_hex();
    let folder = args.work.join(format!("dense-{}", &name[..12]));
    if !folder.exists() {
        let megabytes = DenseIndex::estimate_bytes(corpus.len() as u64, encoder.width()) as f64 / 1e6;
        say(&format!("dense index: {} passages, {megabytes:.0} MB in {}", corpus.len(), folder.display()));
        let spec = DenseSpec { width: encoder.width(), fingerprint: fingerprint.clone() };
        let batches = (0..corpus.len()).step_by(DENSE_BATCH);
        let vectors = batches.flat_map(|first| {
            let encode = || {
                let numbers = first..corpus.len().min(first + DENSE_BATCH);
                let texts: Vec<String> = numbers.map(|i| Ok(corpus.passage(i)?.with_title())).collect::<Result<_>>()?;
                dense.vectors(&texts)
            };
            match encode() {
                Ok(rows) => rows.chunks(encoder.width()).map(|row| Ok(row.to_vec())).collect(),
                Err(error) => vec![Err(error)],
            }
        });
        DenseIndex::build(&folder, &spec, vectors, &Progress::new("dense index", corpus.len() as u64))?;
    }
    let index = usable_index(&folder, DenseIndex::open(&folder, &fingerprint))?;
    let started = Instant::now();
    let mut queries = Vec::with_capacity(inputs.len() * encoder.width());
    for batch in inputs.chunks(DENSE_BATCH) {
        queries.extend(dense.vectors(batch)?);
    }
    let hits = usable_index(&folder, index.search_all(&queries, k))?;
    rate("dense", inputs.len(), started);
    Ok(hits)
}

fn rate(name: &str, questions: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("{name}: {questions} questions, {:.0} a second", questions as f64 / seconds.max(1e-9)));
}

/// A task whose file brings its passages along.
fn given(task: Questions) -> Result<Task> {
    let Questions { name, metric, records, path } = task;
    let retrieved = given_passages(&path, &records)?;
    ensure!(!records.is_empty(), "{} has no question", path.display());
    Ok(Task { name, metric, records, retrieved })
}
