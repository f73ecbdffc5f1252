//! The readers, one after the other over all tasks.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use glimmer::backend::Backend;
use glimmer::eval::{
    Corpus, Means, MemoryPlan, Prompts, ReaderReport, Run, Source, Task, TaskReport, build_memory, memory_fingerprint,
};
use glimmer::experiment::trained_with;
use glimmer::io::{Progress, Tokenizer, interrupted};
use glimmer::kilt::write_predictions;
use glimmer::memory::{Format, Store};
use glimmer::model::{Config, Cut, Glimmer, Reader, check_checkpoint};

use crate::args::{Args, ReaderName, Retriever, word};
use crate::plan::{Planned, planned};
use crate::say;

/// A reader's checkpoint, as far as it is known before its weights are loaded.
pub struct Checkpoint {
    planned: Planned,
    folder: PathBuf,
    config: Config,
    prompts: Prompts,
}

impl Checkpoint {
    /// One for each reader planned. Finds everything that can be wrong with them, or with the cuts asked of them.
    ///
    /// # Errors
    /// What is wrong, where.
    pub fn open_all(args: &Args) -> Result<Vec<Self>> {
        planned(args).into_iter().map(|planned| Self::open(args, planned)).collect()
    }

    fn open(args: &Args, planned: Planned) -> Result<Self> {
        let folder = own_folder(&args.checkpoint(), &planned);
        check_checkpoint(&folder, |config| Ok(Setting::new(args, &planned, config)?.glimmer))?;
        let trained = trained_with(&folder)?.unwrap_or_default();
        let prompts = Prompts {
            tokenizer: Tokenizer::open(&folder)?,
            question_tokens: args.question_tokens.unwrap_or(trained.question_tokens).get(),
            passage_tokens: args.passage_tokens.unwrap_or(trained.passage_tokens).get(),
        };
        Ok(Self { planned, config: Config::read(&folder)?, folder, prompts })
    }

    pub fn describe(&self) -> String {
        self.folder.display().to_string()
    }
}

/// Where a reader's checkpoint is: in the folder of its name, where the one given holds no checkpoint but such folders.
/// A curve's point may have been trained for itself, and else is the reader's.
fn own_folder(folder: &Path, planned: &Planned) -> PathBuf {
    let share = planned.beta.map(|beta| format!("{}-beta-{beta}", word(planned.reader)));
    let names = share.into_iter().chain([word(planned.reader)]);
    let own = names.map(|name| folder.join(name)).find(|own| own.join("config.json").exists());
    own.filter(|_| !folder.join("config.json").exists()).unwrap_or_else(|| folder.to_path_buf())
}

/// A reader's cut, and how many passages it is given.
struct Setting {
    label: String,
    glimmer: Glimmer,
    k: usize,
}

impl Setting {
    fn new(args: &Args, planned: &Planned, config: &Config) -> Result<Self> {
        let k = planned.k;
        let layers = config.num_layers;
        let stored = config.glimmer.clone();
        let alpha = args.alpha.unwrap_or_else(|| match &stored {
            Some(glimmer) => glimmer.live_layers as f64 / layers as f64,
            None => 1.0 / 3.0,
        });
        let glimmer = match planned.reader {
            ReaderName::Fid => Glimmer::new(Cut::fid(layers), k),
            ReaderName::Lumen => Glimmer::new(Cut::nearest(layers, alpha, 0.0)?, k),
            ReaderName::Glimmer => {
                let beta = planned.beta.or(args.beta).unwrap_or_else(|| match &stored {
                    Some(glimmer) if glimmer.live_layers > 0 => {
                        glimmer.rerank_layers as f64 / glimmer.live_layers as f64
                    }
                    _ => 0.25,
                });
                let cut = Cut::nearest(layers, alpha, beta)?;
                let m = planned
                    .m
                    .or(args.m.map(usize::from))
                    .or(stored.as_ref().map(|glimmer| glimmer.selected))
                    .unwrap_or(5);
                let rest = stored.unwrap_or_else(|| Glimmer::new(cut, m));
                let Cut { live_layers, rerank_layers } = cut;
                Glimmer { live_layers, rerank_layers, selected: m.min(k), ..rest }
            }
        };
        Ok(Self { label: planned.label.clone(), glimmer, k })
    }
}

/// What came of running the readers.
pub struct Readings {
    pub reports: Vec<ReaderReport>,
    /// What ended the run before the last reader had read: what was read by then is worth reporting nevertheless.
    pub stopped: Option<anyhow::Error>,
}

/// Runs every reader over every task, until something stops it.
pub fn run<B: Backend + Clone>(
    args: &Args,
    machine: &B,
    checkpoints: &[Checkpoint],
    (tasks, corpus): (&[Task], Option<&Corpus>),
) -> Readings {
    let mut loaded: Option<(&Path, Reader<B>)> = None;
    let mut reports = Vec::new();
    for checkpoint in checkpoints {
        let mut run = || {
            ensure!(!interrupted(), "stopped before it began");
            let setting = Setting::new(args, &checkpoint.planned, &checkpoint.config)?;
            let reader = match loaded.take() {
                Some((folder, reader))
                    if folder == checkpoint.folder && same_parts(&reader.glimmer, &setting.glimmer) =>
                {
                    reader.recut(setting.glimmer.clone())?
                }
                _ => Reader::load(machine.clone(), &checkpoint.folder, |_| Ok(setting.glimmer.clone()))?,
            };
            let report = read(args, &setting, &reader, &checkpoint.prompts, (tasks, corpus))?;
            loaded = Some((&checkpoint.folder, reader));
            anyhow::Ok(report)
        };
        match run() {
            Ok(report) => reports.push(report),
            Err(error) => return Readings { reports, stopped: Some(error.context(checkpoint.planned.label.clone())) },
        }
    }
    Readings { reports, stopped: None }
}

/// Whether two cuts need the same weights.
fn same_parts(a: &Glimmer, b: &Glimmer) -> bool {
    let parts = |g: &Glimmer| (g.score_norm, g.question_encoder, g.reranker);
    parts(a) == parts(b) && (a.cut() == b.cut() || parts(a) == (false, false, false))
}

fn read<B: Backend>(
    args: &Args,
    setting: &Setting,
    reader: &Reader<B>,
    prompts: &Prompts,
    (tasks, corpus): (&[Task], Option<&Corpus>),
) -> Result<ReaderReport> {
    let store = match (args.store.format(), corpus) {
        // A memory of zero layers would be the embeddings of the tokens, many times their size.
        (Some(format), Some(corpus)) if reader.memory_layers() > 0 && args.retriever != Retriever::Given => {
            Some(memory(args, format, reader, corpus, prompts)?)
        }
        _ => None,
    };
    let run = Run {
        reader,
        prompts,
        corpus,
        source: store.as_ref().map_or(Source::Fresh, Source::Store),
        passages: setting.k,
        batch: args.batch.get(),
        answer_tokens: args.answer_tokens.get(),
        cost: args.cost,
    };
    let name = setting.label.clone();
    let questions: usize = tasks.iter().map(|task| task.records.len()).sum();
    let progress = Progress::new(&name, questions as u64);
    let mut reports: Vec<TaskReport> = Vec::new();
    for task in tasks {
        if interrupted() {
            break;
        }
        let done = run.task(task, &progress)?;
        if let Some(folder) = &args.predictions {
            let records = &task.records[..done.predictions.len()];
            predictions(folder, &name, &task.name, records, &done.predictions)?;
        }
        reports.push(done.report);
    }
    Ok(ReaderReport {
        reader: name,
        layers: reader.config.num_layers,
        live_layers: reader.glimmer.live_layers,
        rerank_layers: reader.glimmer.rerank_layers,
        retrieval_weight: reader.glimmer.retrieval_weight,
        retrieved: setting.k,
        read: reader.glimmer.selected,
        passage_tokens: prompts.passage_tokens,
        memory_bytes_per_passage: store.as_ref().map_or(0.0, Store::bytes_per_passage),
        mean: Means::of(&reports),
        tasks: reports,
    })
}

/// The store of the whole corpus by this reader, built if need be.
fn memory<B: Backend>(
    args: &Args,
    format: Format,
    reader: &Reader<B>,
    corpus: &Corpus,
    prompts: &Prompts,
) -> Result<Store> {
    let fingerprint = memory_fingerprint(reader, corpus, prompts)?;
    let folder = args.work.join(format!("memory-{format}-{}", &fingerprint[..12]));
    if !folder.exists() {
        let plan = MemoryPlan::new(corpus, prompts, reader.config.d_model, format)?;
        let megabytes = plan.bytes as f64 / 1e6;
        let tokens = plan.tokens as f64 / 1e3;
        say(&format!(
            "memory: {} passages, about {tokens:.0} thousand tokens, {megabytes:.0} MB in {}",
            plan.passages,
            folder.display()
        ));
    }
    build_memory(&folder, format, reader, corpus, prompts)
}

fn predictions(
    folder: &Path,
    reader: &str,
    task: &str,
    records: &[glimmer::kilt::Record],
    predictions: &[glimmer::kilt::Prediction],
) -> Result<()> {
    let folder = folder.join(reader);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    write_predictions(&folder.join(format!("{task}.jsonl")), records, predictions)
}
