//! The command line.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use glimmer::cost::CostMode;
use glimmer::eval;
use glimmer::kilt::{Metric, MissingScore, Record};
use glimmer::memory::Format;

use crate::machine::MachineArgs;
use crate::plan::planned;
use crate::repository;

const AFTER_HELP: &str = "\
Examples (kilt_eval stands for: cargo run --release --example kilt_eval --):
  A first look, a minute or two long
      kilt_eval --questions 5
  A trained checkpoint on KILT's own data; TriviaQA's questions come apart
      kilt_eval --checkpoint glimmer-base \\
          --knowledge kilt_knowledgesource.json \\
          --tasks nq-dev-kilt.jsonl triviaqa-dev_id-kilt.jsonl \\
          --inputs triviaqa=triviaqa-questions.jsonl --questions all \\
          --work /big/disk --predictions out --json out/numbers.json
  What is lost when fewer passages are read
      kilt_eval --checkpoint glimmer-base --readers glimmer --k 50 --m 3
  The curves of the paper's figures 3 and 4
      kilt_eval --curves --questions all --plot curves.svg
  Passages of another retriever, in the field \"ctxs\" of the task file
      kilt_eval --retriever given --tasks nq-dev.jsonl

Ctrl-C or SIGTERM:
  The first ends the work after its current batch. What was read is reported
  and written; a half-built memory goes on from there in the next run, a
  half-cut corpus and a half-built index start over. The second ends it at once.

Exit status:
  0    all was read
  1    an error; what was read before it is reported and written
  2    a command line that cannot be parsed
  130  Ctrl-C or SIGTERM";

/// Read KILT tasks with FiD, LUMEN and GLIMMER and compare their answers, speed and cost
///
/// With no argument: six tasks over 10,033 Wikipedia leads (data/vital10k), BM25, the CPU, and small readers
/// trained on the same tasks (data/mini).
///
/// The first run cuts the corpus into passages, indexes them and encodes them with the memory encoder, into --work;
/// later runs reuse all that. Tables go to standard output, all else to standard error.
#[derive(Parser)]
#[command(version, max_term_width = 110, after_help = AFTER_HELP)]
pub struct Args {
    /// Folder with config.json, weights and tokenizer of a T5.1.1, or with such a folder for each reader, by its name
    /// [default: data/mini, small readers trained on the default data]
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    checkpoint: Option<PathBuf>,
    /// Readers to compare, with commas between
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "fid,lumen,glimmer",
        help_heading = "Model"
    )]
    pub readers: Vec<ReaderName>,
    /// Instead of them: glimmer's score against passages retrieved, passages read, and the share of rerank layers, as in
    /// the paper's figures 3 and 4. A folder "glimmer-beta-0.5" in --checkpoint is taken for that share
    #[arg(long, conflicts_with_all = ["readers", "k", "m", "beta"], help_heading = "Model")]
    pub curves: bool,
    /// Passages retrieved [default: 5 for fid, 10 for lumen, 25 for glimmer]
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub k: Option<NonZeroUsize>,
    /// Passages that glimmer reads of those; all where fewer were found [default: the checkpoint's, else 5]
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub m: Option<NonZeroUsize>,
    /// Share of the encoder that is live, for lumen and glimmer [default: the checkpoint's, else 1/3]
    #[arg(long, value_name = "α", help_heading = "Model")]
    pub alpha: Option<f64>,
    /// Share of the live layers that rerank, for glimmer [default: the checkpoint's, else 1/4]
    #[arg(long, value_name = "β", help_heading = "Model")]
    pub beta: Option<f64>,
    /// Tokens of a question; what is longer is cut, counted and reported [default: what the checkpoint was trained
    /// with, else 48]
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub question_tokens: Option<NonZeroUsize>,
    /// Tokens of a passage; what is longer is cut, counted and reported [default: what the checkpoint was trained
    /// with, else 304]
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub passage_tokens: Option<NonZeroUsize>,
    /// Tokens of an answer, at most
    #[arg(long, value_name = "N", default_value = "16", help_heading = "Model")]
    pub answer_tokens: NonZeroUsize,

    /// Task files, jsonl or gzipped, named as in nq-dev-kilt.jsonl [default: the dev files of data/vital10k]
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data")]
    tasks: Vec<PathBuf>,
    /// Knowledge source, jsonl or gzipped [default: that of data/vital10k]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    knowledge: Option<PathBuf>,
    /// A task's metric, for names that KILT does not have, as in my_task=em
    #[arg(long, value_name = "TASK=em|accuracy", value_parser = pair, help_heading = "Data")]
    metric: Vec<(String, String)>,
    /// Questions of a task whose file has only ids, as in triviaqa=questions.jsonl with rows {"id": …, "input": …}
    #[arg(long, value_name = "TASK=FILE", value_parser = pair, help_heading = "Data")]
    inputs: Vec<(String, String)>,
    /// Questions of each task, drawn evenly from its file, or "all"
    #[arg(long, value_name = "N", default_value = "50", value_parser = count, help_heading = "Data")]
    questions: Count,
    /// Keep only gold entries whose evidence has at least this BLEU against the original
    #[arg(long, value_name = "T", help_heading = "Data")]
    pub relevance_threshold: Option<f64>,
    /// What --relevance-threshold does with entries that have no such number
    #[arg(long, value_enum, value_name = "RULE", default_value = "keep", help_heading = "Data")]
    pub missing_score: Missing,
    /// Words of a passage, at most
    #[arg(long, value_name = "N", default_value = "200", help_heading = "Data")]
    pub passage_words: NonZeroUsize,

    /// Where passages come from: BM25, a dense retriever, or the task files themselves
    #[arg(long, value_enum, value_name = "NAME", default_value = "bm25", help_heading = "Retrieval")]
    pub retriever: Retriever,
    /// Folder of a GTR checkpoint in the layout of sentence-transformers, for --retriever dense
    #[arg(long, value_name = "DIR", required_if_eq("retriever", "dense"), help_heading = "Retrieval")]
    pub dense_checkpoint: Option<PathBuf>,
    /// How memories are stored; "none" encodes passages afresh for every question
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "bf16", help_heading = "Retrieval")]
    pub store: StoreKind,
    /// Folder for the corpus, its index and its memories, made on the first run
    #[arg(long, value_name = "DIR", default_value_os_t = repository().join("target/kilt_eval"), help_heading = "Retrieval")]
    pub work: PathBuf,

    #[command(flatten)]
    pub machine: MachineArgs,
    /// Threads of the CPU [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub threads: Option<usize>,
    /// Questions read together
    #[arg(long, value_name = "N", default_value = "8", help_heading = "Machine")]
    pub batch: NonZeroUsize,

    /// How compute is counted: from the real shapes, or as the paper's text or its figure 2 does
    #[arg(long, value_enum, value_name = "MODE", default_value = "exact", help_heading = "Output")]
    pub cost: CostMode,
    /// Write all numbers as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write predictions in KILT's form, one file a reader and task
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub predictions: Option<PathBuf>,
    /// Draw quality against compute, or the curves, as SVG
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub plot: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReaderName {
    Fid,
    Lumen,
    Glimmer,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Retriever {
    Bm25,
    Dense,
    Given,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    Bf16,
    Int8,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Missing {
    Keep,
    Drop,
}

#[derive(Clone, Copy)]
enum Count {
    All,
    Some(usize),
}

impl From<Missing> for MissingScore {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Keep => Self::Keep,
            Missing::Drop => Self::Drop,
        }
    }
}

impl ReaderName {
    /// Passages retrieved, as in the paper's figure 2.
    pub fn default_k(self) -> usize {
        match self {
            Self::Fid => 5,
            Self::Lumen => 10,
            Self::Glimmer => 25,
        }
    }
}

impl StoreKind {
    pub fn format(self) -> Option<Format> {
        match self {
            Self::Bf16 => Some(Format::Bf16),
            Self::Int8 => Some(Format::Int8),
            Self::None => None,
        }
    }
}

/// The word for a choice on the command line.
pub fn word(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.map(|(name, value)| (name.into(), value.into())).ok_or("two words with = between".into())
}

fn count(text: &str) -> Result<Count, String> {
    match text.parse() {
        _ if text == "all" => Ok(Count::All),
        Ok(0) | Err(_) => Err("a number from 1 on, or \"all\"".into()),
        Ok(n) => Ok(Count::Some(n)),
    }
}

impl Args {
    /// Refuses combinations that cannot be meant.
    ///
    /// # Errors
    /// Which, and what to change.
    pub fn check(&self) -> Result<()> {
        let glimmer_k = self.k_or(ReaderName::Glimmer.default_k());
        if let Some(m) = self.m
            && self.readers.contains(&ReaderName::Glimmer)
        {
            ensure!(m.get() <= glimmer_k, "--m {m} passages cannot be read of --k {glimmer_k} retrieved; lower --m");
        }
        ensure!(self.threads != Some(0), "--threads 0 would compute nothing; leave it out for one a core");
        for (name, value) in &self.metric {
            ensure!(matches!(value.as_str(), "em" | "accuracy"), "--metric {name}={value}: a metric is em or accuracy");
        }
        let threshold = self.relevance_threshold.unwrap_or(0.0);
        ensure!((0.0..=1.0).contains(&threshold), "--relevance-threshold {threshold}: BLEU is within 0 to 1");
        for (option, share) in [("--alpha", self.alpha), ("--beta", self.beta)] {
            let share = share.unwrap_or(0.0);
            ensure!((0.0..=1.0).contains(&share), "{option} {share}: a share is within 0 to 1");
        }
        for (i, &reader) in self.readers.iter().enumerate() {
            ensure!(!self.readers[..i].contains(&reader), "--readers names {} twice", word(reader));
        }
        Ok(())
    }

    /// Refuses options that speak of a task that is not there.
    ///
    /// # Errors
    /// Which, and the tasks there are.
    pub fn check_task_names(&self, tasks: &[&str]) -> Result<()> {
        let told = self.metric.iter().map(|(name, _)| ("--metric", name));
        for (option, name) in told.chain(self.inputs.iter().map(|(name, _)| ("--inputs", name))) {
            ensure!(tasks.contains(&name.as_str()), "{option} {name}=…: the tasks are {}", tasks.join(", "));
        }
        Ok(())
    }

    /// `k` of a reader that retrieves so many unless told.
    pub fn k_or(&self, default: usize) -> usize {
        self.k.map_or(default, usize::from)
    }

    /// `k` of the reader that retrieves most.
    pub fn widest_k(&self) -> usize {
        planned(self).iter().map(|planned| planned.k).max().unwrap_or(1)
    }

    /// Where the weights are.
    pub fn checkpoint(&self) -> PathBuf {
        self.checkpoint.clone().unwrap_or_else(|| repository().join("data/mini"))
    }

    fn data(&self) -> PathBuf {
        repository().join("data/vital10k")
    }

    pub fn is_default_data(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Task files.
    ///
    /// # Errors
    /// When the default ones are not there.
    pub fn tasks(&self) -> Result<Vec<PathBuf>> {
        if !self.tasks.is_empty() {
            return Ok(self.tasks.clone());
        }
        let tasks = ["wiki_desc", "wiki_cloze", "wiki_hop", "wiki_claim", "wiki_zeroshot", "wiki_slot"];
        let paths = tasks.map(|task| self.data().join(format!("{task}-dev.jsonl.gz")));
        if let Some(missing) = paths.iter().find(|path| !path.exists()) {
            bail!("{} is not there: name task files with --tasks", missing.display());
        }
        Ok(paths.into())
    }

    pub fn knowledge(&self) -> PathBuf {
        self.knowledge.clone().unwrap_or_else(|| self.data().join("knowledge.jsonl.gz"))
    }

    /// A task's metric: as told, or as its name says.
    ///
    /// # Errors
    /// A name that says nothing.
    pub fn metric_of(&self, task: &str) -> Result<Metric> {
        match self.metric.iter().find(|(name, _)| name == task) {
            Some((_, metric)) if metric == "em" => Ok(Metric::ExactMatch),
            Some(_) => Ok(Metric::Accuracy),
            None => Metric::of_task(task).with_context(|| format!("say --metric {task}=em or {task}=accuracy")),
        }
    }

    pub fn inputs_of(&self, task: &str) -> Option<&Path> {
        self.inputs.iter().find(|(name, _)| name == task).map(|(_, file)| Path::new(file))
    }

    /// The questions to read: all, or as many as asked for, drawn without replacement and left in their order.
    pub fn sample(&self, records: Vec<Record>) -> Vec<Record> {
        match self.questions {
            Count::All => records,
            Count::Some(wanted) => eval::sample(records, wanted),
        }
    }
}
