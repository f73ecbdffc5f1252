//! FiD, LUMEN and GLIMMER on KILT tasks: answers, scores, speed and cost side by side.

mod args;
mod readers;
mod retrieve;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use glimmer::backend::Backend;
use glimmer::cpu::{Cpu, Real};
use glimmer::eval::{Corpus, Report, Task, plot};
use glimmer::io::{interrupted, stop_on_interrupt, write_atomic};
use glimmer::kilt::{ChunkOptions, Metric, Record, RelevanceFilter, read_task, read_task_with_inputs, task_name};
use serde_json::json;

use args::{Args, Machine, Precision, Retriever, word};

fn main() -> Result<()> {
    let args = Args::parse();
    args.check()?;
    stop_on_interrupt()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.unwrap_or(0))
        .build_global()
        .context("cannot start the threads")?;
    match (args.backend, args.precision) {
        (Machine::Auto | Machine::Cpu, Precision::F32) => evaluate::<f32>(&args),
        (Machine::Auto | Machine::Cpu, Precision::F64) => evaluate::<f64>(&args),
    }
}

fn evaluate<T: Real>(args: &Args) -> Result<()> {
    let machine = Cpu::<T>::default();
    let why = if args.backend == Machine::Auto { " (auto: this build has no other machine)" } else { "" };
    say(&format!("machine: {}{why}", machine.describe()));
    let checkpoint = readers::Checkpoint::open(args)?;
    let tasks = read_tasks(args)?;
    let corpus = match args.retriever {
        Retriever::Given => None,
        _ => Some(open_corpus(args)?),
    };
    let tasks: Vec<Task> = retrieve::retrieve(args, tasks, corpus.as_ref())?;
    let random_weights = checkpoint.is_random();
    let readers = readers::run::<T>(args, &checkpoint, &tasks, corpus.as_ref())?;
    let settings = json!({
        "command": std::env::args().collect::<Vec<_>>(),
        "machine": machine.describe(),
        "checkpoint": checkpoint.describe(),
        "knowledge": args.knowledge(),
        "retriever": word(args.retriever),
        "cost_mode": args.cost,
        "store": word(args.store),
        "interrupted": interrupted(),
    });
    finish(args, &Report { settings, random_weights, readers })
}

/// A task before retrieval.
struct Questions {
    name: String,
    metric: Metric,
    records: Vec<Record>,
    path: PathBuf,
}

fn read_tasks(args: &Args) -> Result<Vec<Questions>> {
    let mut tasks = Vec::new();
    for path in args.tasks()? {
        let name = task_name(&path)?.to_string();
        let metric = args.metric_of(&name)?;
        let mut records = match args.inputs_of(&name) {
            Some(inputs) => read_task_with_inputs(&path, inputs)?,
            None => read_task(&path)?,
        };
        if let Some(threshold) = args.relevance_threshold {
            let filter = RelevanceFilter { threshold, missing: args.missing_score.into() };
            let (kept, report) = filter.apply(records);
            say(&format!("{name}: {} questions kept by relevance, {} dropped", report.kept, report.dropped));
            records = kept;
        }
        tasks.push(Questions { name, metric, records: args.sample(records), path });
    }
    Ok(tasks)
}

fn open_corpus(args: &Args) -> Result<Corpus> {
    let options = ChunkOptions { max_words: args.passage_words };
    let corpus = Corpus::open_or_cut(&args.work.join("corpus"), &args.knowledge(), options)?;
    let (pages, empty) = corpus.pages();
    let without = if empty > 0 { format!(" ({empty} of them without text)") } else { String::new() };
    say(&format!("corpus: {} passages of {pages} pages{without}", corpus.len()));
    Ok(corpus)
}

fn finish(args: &Args, report: &Report) -> Result<()> {
    println!("{}", report.tables());
    print!("{}", notes(args, report));
    if let Some(path) = &args.json {
        write_atomic(path, |file| Ok(serde_json::to_writer_pretty(file, report)?))?;
        say(&format!("numbers: {}", path.display()));
    }
    if let Some(path) = &args.plot {
        plot(report, path)?;
        say(&format!("plot: {}", path.display()));
    }
    Ok(())
}

/// What a reader of the tables must know.
fn notes(args: &Args, report: &Report) -> String {
    let mut notes = vec![
        "score and KILT: the task's metric, and the same where all evidence was found (R-precision 1), in %"
            .to_string(),
        "R-prec and recall@5: of pages, as retrieved → as reranked, in %".to_string(),
        format!("samples/TFLOP: cost mode {}, one FLOP a multiply-add", word(args.cost)),
    ];
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
                (task.questions_asked - task.questions, "questions left unread by the interruption"),
            ];
            for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
                notes.push(format!("{}, {}: {count} {what}", reader.reader, task.task));
            }
        }
    }
    if report.random_weights {
        notes.push(
            "THE WEIGHTS ARE RANDOM: answers, scores and reranking mean nothing; retrieval, speed and cost are real"
                .into(),
        );
    }
    notes.iter().map(|note| format!("· {note}\n")).collect()
}

/// A line on standard error, where progress goes too.
fn say(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    eprintln!("{line}");
}

/// The folder that holds the data of the repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
