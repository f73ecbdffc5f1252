//! The command line.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use glimmer::experiment::{Init, Plan, Settings, TaskFiles, TaskMetric};
use glimmer::io::Processes;
use glimmer::kilt::task_name;
use glimmer::model::{Config, Cut, Glimmer};
use glimmer::train::{MemoryEncoder, Teacher};

use crate::machine::MachineArgs;
use crate::repository;

const AFTER_HELP: &str = "\
Examples (train stands for: cargo run --release --example train --):
  The mini model, on the data of this repository
      train
  Any T5.1.1 on any KILT files
      train --init t5-v1_1-base --knowledge kilt_knowledgesource.json \\
          --train nq-train-kilt.jsonl --dev nq-dev-kilt.jsonl --output nq
  An experiment, with another learning rate
      train --config experiments/mini/copy.json --learning-rate 3e-4 --output other
  What came of it
      kilt_eval --checkpoint nq/best --knowledge … --tasks nq-dev-kilt.jsonl

An experiment is a JSON file; what is left out has a default, and --show prints all of it. Options given here take
the place of the file's. Paths in the file are relative to its folder, paths given here to the current one.

The folder --output holds experiment.json (the settings), log.jsonl and log.svg (losses and evaluations), best (the
checkpoint with the highest dev score, in bf16) and last (what the run goes on from; a checkpoint too).

Several processes train one reader together when each is started with --ranks, its own --rank, and one --rendezvous,
and everything else is the same. They share every batch, so that the steps are those of one process, and --output,
--work and all data have to be there for each of them. A process has a GPU of its own (--device); threads of one CPU
need no second process.

A run that was interrupted or killed goes on when the same command is given again, and makes the same steps as if
nothing had happened. How long it runs (--steps), and when it is evaluated and saved, may be changed then.

Ctrl-C or SIGTERM: the first saves after the current part of a step, the second ends at once.

Exit status:
  0    all steps are done
  1    an error
  2    a command line that cannot be parsed
  130  Ctrl-C or SIGTERM";

/// Train FiD, LUMEN or GLIMMER from a T5.1.1 checkpoint, or from nothing
///
/// With no argument: the mini model, on the six tasks of data/vital10k.
#[derive(Parser)]
#[command(version, max_term_width = 110, after_help = AFTER_HELP)]
pub struct Args {
    /// The experiment's JSON file [default: experiments/mini/copy.json; with --init or --train, the paper's settings]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the run [default: target/train/, and the experiment's name]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Folder for the corpus, its index and what was retrieved, shared by all runs over one knowledge source
    #[arg(long, value_name = "DIR", default_value_os_t = repository().join("target/train/work"))]
    work: PathBuf,
    /// Print the settings as JSON, and train nothing
    #[arg(long)]
    pub show: bool,

    /// Folder with config.json, weights and tokenizer of a T5.1.1 or of a reader
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    init: Option<PathBuf>,
    /// The reader: fid reads all passages in full, lumen and glimmer have 1/3 of the encoder live, glimmer reranks
    /// with 1/4 of that
    #[arg(long, value_enum, value_name = "NAME", help_heading = "Model")]
    reader: Option<ReaderName>,
    /// Passages retrieved
    #[arg(long, value_name = "N", help_heading = "Model")]
    k: Option<NonZeroUsize>,
    /// Passages that glimmer reads of those
    #[arg(long, value_name = "N", help_heading = "Model")]
    m: Option<NonZeroUsize>,
    /// Whether the memory encoder is trained
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Model")]
    memory: Option<Memory>,
    /// Whom the scores follow: what the reader makes of each passage, or where the task says that the answer stands
    #[arg(long, value_enum, value_name = "WHO", help_heading = "Model")]
    teacher: Option<TeacherName>,

    /// Knowledge source, jsonl or gzipped
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    knowledge: Option<PathBuf>,
    /// Task files to learn from, named as in nq-train-kilt.jsonl
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data")]
    train: Vec<PathBuf>,
    /// Task files to evaluate on, each of a task of --train
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "train", help_heading = "Data")]
    dev: Vec<PathBuf>,
    /// A task's metric, for names that KILT does not have, as in my_task=em
    #[arg(long, value_name = "TASK=em|accuracy", value_parser = metric, requires = "train", help_heading = "Data")]
    metric: Vec<(String, TaskMetric)>,

    /// Steps
    #[arg(long, value_name = "N", help_heading = "Training")]
    steps: Option<u64>,
    /// Questions of a step
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch: Option<NonZeroUsize>,
    /// Tokens that pass through the live encoder together, at most: what bounds the memory that a step needs; with a
    /// small reader on the CPU, that of each thread
    #[arg(long, value_name = "N", help_heading = "Training")]
    micro_batch_tokens: Option<NonZeroUsize>,
    /// The highest learning rate
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    learning_rate: Option<f64>,
    /// Steps in which it rises from 0
    #[arg(long, value_name = "N", help_heading = "Training")]
    warmup_steps: Option<u64>,
    /// Dropout
    #[arg(long, value_name = "P", help_heading = "Training")]
    dropout: Option<f64>,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", help_heading = "Training")]
    seed: Option<u64>,
    /// Steps between two evaluations
    #[arg(long, value_name = "N", help_heading = "Training")]
    evaluate_every: Option<NonZeroU64>,
    /// Steps between two savings
    #[arg(long, value_name = "N", help_heading = "Training")]
    save_every: Option<NonZeroU64>,
    /// Questions of each task in an evaluation
    #[arg(long, value_name = "N", help_heading = "Training")]
    dev_questions: Option<NonZeroUsize>,

    /// Processes that train together
    #[arg(long, value_name = "N", default_value = "1", requires = "rank", help_heading = "Several processes")]
    pub ranks: NonZeroUsize,
    /// Which of them this one is, from 0
    #[arg(long, value_name = "I", requires = "rendezvous", help_heading = "Several processes")]
    pub rank: Option<usize>,
    /// Where they meet: a host and a free port of process 0
    #[arg(long, value_name = "HOST:PORT", requires = "rank", help_heading = "Several processes")]
    pub rendezvous: Option<String>,
    /// What adds up the gradients: NCCL on NVIDIA's devices, or the processes over the connections that they met by
    /// [default: nccl where the machine is a CUDA device]
    #[arg(long, value_enum, value_name = "HOW", requires = "rank", help_heading = "Several processes")]
    pub sums: Option<Sums>,

    #[command(flatten)]
    pub machine: MachineArgs,
    /// Threads of the CPU [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub threads: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReaderName {
    Fid,
    Lumen,
    Glimmer,
}

/// What `--sums` may be.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sums {
    Nccl,
    Hosts,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Memory {
    Trained,
    Frozen,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TeacherName {
    Perplexity,
    Evidence,
}

fn metric(text: &str) -> Result<(String, TaskMetric), String> {
    match text.split_once('=') {
        Some((name, "em")) if !name.is_empty() => Ok((name.into(), TaskMetric::Em)),
        Some((name, "accuracy")) if !name.is_empty() => Ok((name.into(), TaskMetric::Accuracy)),
        _ => Err("a task, =, and em or accuracy".into()),
    }
}

impl Args {
    /// The experiment and its places.
    ///
    /// # Errors
    /// A file that describes none, and options that cannot be meant.
    pub fn plan(&self) -> Result<Plan> {
        let own = self.config.is_none() && (self.init.is_some() || !self.train.is_empty());
        let config = self.config.clone().unwrap_or_else(|| repository().join("experiments/mini/copy.json"));
        let mut settings = if own { Settings::default() } else { Settings::read(&config)? };
        let name = if own { "experiment".into() } else { config.file_stem().unwrap_or_default().to_os_string() };
        let base = if own { PathBuf::from(".") } else { config.parent().unwrap_or(Path::new("")).to_path_buf() };
        self.change_model(&mut settings, &base)?;
        self.change_data(&mut settings)?;
        self.change_training(&mut settings);
        settings.check()?;
        let output = self.output.clone().unwrap_or_else(|| repository().join("target/train").join(name));
        Ok(Plan { settings, base, work: self.work.clone(), output })
    }

    /// Meets the other processes, if there are any.
    ///
    /// # Errors
    /// Those of meeting.
    pub fn processes(&self) -> Result<Option<Processes>> {
        let (Some(rank), Some(address)) = (self.rank, &self.rendezvous) else { return Ok(None) };
        let size = self.ranks.get();
        ensure!(rank < size, "--rank {rank} of --ranks {size}: they are numbered from 0");
        if size == 1 {
            return Ok(None);
        }
        Processes::meet(address, rank, size).map(Some)
    }

    fn change_model(&self, settings: &mut Settings, base: &Path) -> Result<()> {
        if let Some(folder) = &self.init {
            settings.init = Init::Checkpoint(here(folder)?);
        }
        set(&mut settings.passages, self.k);
        if let Some(memory) = self.memory {
            settings.memory = match memory {
                Memory::Trained => MemoryEncoder::Trained,
                Memory::Frozen => MemoryEncoder::Frozen,
            };
        }
        if let Some(teacher) = self.teacher {
            settings.teacher = match teacher {
                TeacherName::Perplexity => Teacher::Perplexity,
                TeacherName::Evidence => Teacher::Evidence,
            };
        }
        if self.reader.is_none() && self.m.is_none() {
            return Ok(());
        }
        let config = match &settings.init {
            Init::Checkpoint(folder) => Config::read(&base.join(folder))?,
            Init::Random(sizes) => sizes.config(1),
        };
        let reader = settings.glimmer(&config)?;
        let (k, layers) = (settings.passages.get(), config.num_layers);
        let (cut, m) = match self.reader {
            None => (reader.cut(), reader.selected),
            Some(ReaderName::Fid) => (Cut::fid(layers), k),
            Some(ReaderName::Lumen) => (Cut::nearest(layers, 1.0 / 3.0, 0.0)?, k),
            Some(ReaderName::Glimmer) => (Cut::nearest(layers, 1.0 / 3.0, 0.25)?, reader.selected.min(5)),
        };
        let selected = self.m.map_or(m, usize::from);
        ensure!(selected <= k, "--m {selected} passages cannot be read of {k} retrieved; lower --m or raise --k");
        let Cut { live_layers, rerank_layers } = cut;
        settings.reader = Some(Glimmer { live_layers, rerank_layers, selected, ..reader });
        Ok(())
    }

    fn change_data(&self, settings: &mut Settings) -> Result<()> {
        if let Some(knowledge) = &self.knowledge {
            settings.knowledge = Some(here(knowledge)?);
        }
        if self.train.is_empty() {
            return Ok(());
        }
        let named = |path: &PathBuf| Ok((task_name(path)?.to_string(), here(path)?));
        let mut dev = self.dev.iter().map(named).collect::<Result<Vec<_>>>()?;
        let mut metrics = self.metric.clone();
        settings.tasks.clear();
        for path in &self.train {
            let (name, train) = named(path)?;
            let dev = dev.iter().position(|(task, _)| *task == name).map(|i| dev.swap_remove(i).1);
            let metric = metrics.iter().position(|(task, _)| *task == name).map(|i| metrics.swap_remove(i).1);
            settings.tasks.push(TaskFiles {
                train,
                dev,
                metric,
                train_inputs: None,
                dev_inputs: None,
                thin: 0.0,
                gold: None,
            });
        }
        if let Some((name, path)) = dev.first() {
            anyhow::bail!("--dev {}: no file of --train is of the task {name:?}; give one, or rename", path.display());
        }
        if let Some((name, _)) = metrics.first() {
            anyhow::bail!("--metric {name}=…: no file of --train is of that task");
        }
        Ok(())
    }

    fn change_training(&self, settings: &mut Settings) {
        set(&mut settings.steps, self.steps);
        set(&mut settings.batch, self.batch);
        set(&mut settings.micro_batch_tokens, self.micro_batch_tokens);
        set(&mut settings.learning_rate, self.learning_rate);
        set(&mut settings.warmup_steps, self.warmup_steps);
        settings.dropout = self.dropout.or(settings.dropout);
        set(&mut settings.seed, self.seed);
        set(&mut settings.evaluate_every, self.evaluate_every);
        set(&mut settings.save_every, self.save_every);
        set(&mut settings.dev_questions, self.dev_questions);
    }
}

fn set<T>(setting: &mut T, told: Option<T>) {
    if let Some(told) = told {
        *setting = told;
    }
}

/// A path of the command line, which holds wherever the settings are read.
fn here(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}
