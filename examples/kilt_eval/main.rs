//! FiD, LUMEN and GLIMMER on KILT tasks: answers, scores, speed and cost side by side.

mod args;
#[path = "../common/machine.rs"]
mod machine;
mod outputs;
mod plan;
mod readers;
mod retrieve;

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use glimmer::backend::{Backend, Backward};
use glimmer::eval::{Corpus, Report, Task};
use glimmer::io::{interrupted, stop_on_interrupt};
use glimmer::kilt::{ChunkOptions, Metric, Record, RelevanceFilter, read_task, read_task_with_inputs, task_name};
use serde_json::json;

use args::{Args, Retriever, word};
use machine::Work;
use readers::Readings;

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let done = run(&Args::parse());
    if let Err(error) = &done {
        say(&format!("Error: {error:?}"));
    }
    match done {
        _ if interrupted() => INTERRUPTED.into(),
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(args: &Args) -> Result<()> {
    args.check()?;
    outputs::check(args)?;
    stop_on_interrupt()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.unwrap_or(0))
        .build_global()
        .context("cannot start the threads")?;
    args.machine.run(Evaluate(args))
}

struct Evaluate<'a>(&'a Args);

impl Work for Evaluate<'_> {
    fn on<B: Backward + Clone>(self, machine: B, name: &str) -> Result<()> {
        say(&format!("machine: {name}"));
        evaluate(self.0, &machine)
    }
}

/// Whatever the user got wrong is found first; then comes what may take hours.
fn evaluate<B: Backend + Clone>(args: &Args, machine: &B) -> Result<()> {
    let checkpoints = readers::Checkpoint::open_all(args)?;
    let dense = retrieve::Dense::open(args)?;
    let tasks = read_tasks(args)?;
    let corpus = match args.retriever {
        Retriever::Given => None,
        _ => Some(open_corpus(args)?),
    };
    let tasks: Vec<Task> = retrieve::retrieve(args, dense.as_ref(), tasks, corpus.as_ref())?;
    drop(dense);
    let Readings { reports, stopped } = readers::run(args, machine, &checkpoints, (&tasks, corpus.as_ref()));
    let settings = json!({
        "command": std::env::args().collect::<Vec<_>>(),
        "machine": machine.describe(),
        "checkpoint": described(&checkpoints),
        "knowledge": corpus.as_ref().map(|_| args.knowledge()),
        "retriever": word(args.retriever),
        "cost_mode": args.cost,
        "store": word(args.store),
        "interrupted": interrupted(),
    });
    if !reports.is_empty() {
        outputs::write(args, &Report { settings, readers: reports })?;
    }
    stopped.map_or(Ok(()), Err)
}

/// Where the weights are from: one place, or one for each reader.
fn described(checkpoints: &[readers::Checkpoint]) -> Vec<String> {
    let mut places: Vec<String> = checkpoints.iter().map(readers::Checkpoint::describe).collect();
    places.dedup();
    places
}

/// A task before retrieval.
struct Questions {
    name: String,
    metric: Metric,
    records: Vec<Record>,
    path: PathBuf,
}

fn read_tasks(args: &Args) -> Result<Vec<Questions>> {
    let paths = args.tasks()?;
    let mut path_of: HashMap<&str, &Path> = HashMap::new();
    for path in &paths {
        let name = task_name(path)?;
        if let Some(first) = path_of.insert(name, path) {
            bail!(
                "{} and {} are both of the task {name:?}, and predictions are filed by task: rename one, or run twice",
                first.display(),
                path.display()
            );
        }
    }
    args.check_task_names(&path_of.into_keys().collect::<Vec<_>>())?;
    let tasks: Vec<Questions> = paths.iter().map(|path| read_questions(args, path)).collect::<Result<_>>()?;
    let scored = |task: &Questions| task.records.iter().all(|record| !record.answers().is_empty());
    ensure!(
        args.plot.is_none() || tasks.iter().any(scored),
        "--plot draws scores, and no task here has gold answers for all its questions"
    );
    Ok(tasks)
}

fn read_questions(args: &Args, path: &Path) -> Result<Questions> {
    let name = task_name(path)?.to_string();
    let metric = args.metric_of(&name)?;
    let mut records = match args.inputs_of(&name) {
        Some(inputs) => read_task_with_inputs(path, inputs)?,
        None => read_task(path).map_err(|error| match format!("{error:#}").contains("`input` is missing") {
            true => error.context(format!("a file without questions needs --inputs {name}=FILE beside it")),
            false => error,
        })?,
    };
    if let Some(threshold) = args.relevance_threshold {
        let filter = RelevanceFilter { threshold, missing: args.missing_score.into() };
        let (kept, report) = filter.apply(records);
        say(&format!("{name}: {} questions kept by relevance, {} dropped", report.kept, report.dropped));
        ensure!(!kept.is_empty(), "--relevance-threshold {threshold} leaves no question of {}", path.display());
        records = kept;
    }
    Ok(Questions { name, metric, records: args.sample(records), path: path.to_path_buf() })
}

fn open_corpus(args: &Args) -> Result<Corpus> {
    let options = ChunkOptions { max_words: args.passage_words };
    let corpus = Corpus::open_or_cut(&args.work.join("corpus"), &args.knowledge(), options)?;
    let (pages, empty) = corpus.pages();
    let without = if empty > 0 { format!(" ({empty} of them without text)") } else { String::new() };
    say(&format!("corpus: {} passages of {pages} pages{without}", corpus.len()));
    Ok(corpus)
}

/// What a reader of the tables must know.
fn notes(args: &Args, report: &Report) -> String {
    let mut notes = vec![
        "score and KILT: the task's metric, and the same where all evidence was found (R-precision 1), in %"
            .to_string(),
        "R-prec and recall@5: of pages, as retrieved → as reranked, in %".to_string(),
        format!("samples/TFLOP: cost mode {}, one FLOP a multiply-add", word(args.cost)),
    ];
    if args.curves {
        notes.push(
            "a β for which no checkpoint was trained is the reader's own weights, scored after other layers than those \
             that the scorer was trained on"
                .into(),
        );
    }
    if args.is_default_data() {
        notes.push(
            "the tasks are derived from Wikipedia leads and WordNet; they are not KILT's, see data/README.md".into(),
        );
    }
    for reader in &report.readers {
        for task in &reader.tasks {
            let counts = [
                (task.truncated_questions, "questions cut to their budget"),
                (task.truncated_passages, "passages cut to their budget"),
                (task.without_passages, "questions for which nothing was found"),
                (task.without_answers, "questions without a gold answer, and so no score"),
                (task.questions_asked - task.questions, "questions left unread by the interruption"),
            ];
            for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
                notes.push(format!("{}, {}: {what}: {count}", reader.reader, task.task));
            }
        }
    }
    if interrupted() || report.readers.len() < plan::planned(args).len() {
        notes.push("THE RUN WAS CUT SHORT: readers and tasks that are not above were not run".into());
    }
    notes.iter().map(|note| format!("· {note}\n")).collect()
}

/// A line on standard error, where progress goes too. Nobody may be there to read it.
fn say(line: &str) {
    let start = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let _ = writeln!(std::io::stderr(), "{start}{line}");
}

/// The folder that holds the data of the repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
