//! Tasks from their files: what is learned, and what is asked in evaluations.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::plan::Plan;
use super::settings::{Gold, Retriever, Settings, TaskFiles, TaskMetric};
use crate::eval::{Corpus, Retrieved, Task, given_passages, retrieve_bm25, sample};
use crate::kilt::{Metric, Provenance, Record, RelevanceFilter, read_task, read_task_with_inputs, task_name};

/// A task that is learned.
pub struct Learned {
    /// As its file is named.
    pub name: String,
    /// Questions with an answer and with passages.
    pub asked: Vec<Asked>,
    /// Share of their words that are left out.
    pub thin: f64,
}

/// A question that is learned.
pub struct Asked {
    /// The question.
    pub input: String,
    /// At least one.
    pub answers: Vec<String>,
    /// At least one passage, unless one is missing.
    pub retrieved: Retrieved,
    /// The passages of its evidence, by number; none where passages are not the corpus's.
    pub evidence: Vec<u32>,
    /// Those that come in though they were not retrieved.
    pub missing: Vec<u32>,
}

/// Finds out, before anything takes long, whether the files of all tasks are there and evaluations can be scored.
///
/// # Errors
/// A file that is missing or named after no task, two files of one task, and a task whose metric nobody knows.
pub fn check(plan: &Plan) -> Result<()> {
    let mut asked: Vec<String> = Vec::new();
    for files in &plan.settings.tasks {
        let TaskFiles { train, dev, train_inputs, dev_inputs, .. } = files;
        let all = [Some(train), dev.as_ref(), train_inputs.as_ref(), dev_inputs.as_ref()];
        for path in all.into_iter().flatten().map(|path| plan.path(path)) {
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        }
        task_name(train)?;
        let Some(dev) = dev else { continue };
        let name = task_name(dev)?;
        metric(files, name)?;
        ensure!(
            !asked.iter().any(|asked| asked == name),
            "{}: there is a task {name:?} already, and evaluations go by name: rename the file",
            plan.path(dev).display()
        );
        asked.push(name.to_string());
    }
    Ok(())
}

/// Reads the training files, and retrieves for them.
///
/// # Errors
/// A file that cannot be read or has nothing to learn, with its place; a Ctrl-C.
pub fn read(plan: &Plan, corpus: Option<&Corpus>, notes: &mut Vec<String>) -> Result<Vec<Learned>> {
    let settings = &plan.settings;
    let mut tasks = Vec::new();
    for files in &settings.tasks {
        let path = plan.path(&files.train);
        let name = task_name(&path)?.to_string();
        let mut records = read_records(plan, &path, files.train_inputs.as_deref())?;
        if let Some(threshold) = settings.relevance_threshold {
            let filter = RelevanceFilter { threshold, missing: settings.missing_score.into() };
            let (kept, report) = filter.apply(records);
            notes.push(format!("{name}: {} questions kept by relevance, {} dropped", report.kept, report.dropped));
            records = kept;
        }
        let all = records.len();
        records.retain(|record| !record.answers().is_empty());
        let k = settings.passages.get();
        let retrieved = retrieve(plan, corpus, (&path, &records), k)?;
        let evidence = match corpus {
            Some(corpus) if settings.retriever == Retriever::Bm25 => gold_passages(corpus, &records)?,
            _ => vec![Vec::new(); records.len()],
        };
        let inserted = inserts_gold(settings, files);
        let asked = records.iter().zip(retrieved).zip(evidence).map(|((record, retrieved), evidence)| Asked {
            input: record.input.clone(),
            answers: record.answers().into_iter().map(String::from).collect(),
            missing: if inserted { missing(&evidence, &retrieved, k) } else { Vec::new() },
            retrieved,
            evidence,
        });
        let asked: Vec<Asked> = asked.filter(Asked::has_passages).collect();
        let count = asked.iter().filter(|asked| !asked.missing.is_empty()).count();
        let (left, dropped) = (asked.len(), all - asked.len());
        notes.push(format!(
            "{name}: {left} questions to learn, {dropped} without answer or passages left out, \
             {count} with gold passages that were not retrieved"
        ));
        tasks.push(Learned { name, asked, thin: files.thin });
    }
    Ok(tasks)
}

impl Asked {
    fn has_passages(&self) -> bool {
        let retrieved = match &self.retrieved {
            Retrieved::Corpus(numbers) => numbers.len(),
            Retrieved::Given(passages) => passages.len(),
        };
        retrieved + self.missing.len() > 0
    }
}

/// Reads the files of the evaluation, and retrieves for them.
///
/// # Errors
/// As [`read`], and a question without a gold answer.
pub fn read_dev(plan: &Plan, corpus: Option<&Corpus>) -> Result<Vec<Task>> {
    let settings = &plan.settings;
    let mut tasks: Vec<Task> = Vec::new();
    for files in &settings.tasks {
        let Some(dev) = &files.dev else { continue };
        let path = plan.path(dev);
        let name = task_name(&path)?.to_string();
        let metric = metric(files, &name)?;
        let records = sample(read_records(plan, &path, files.dev_inputs.as_deref())?, settings.dev_questions.get());
        let unscored = records.iter().find(|record| record.answers().is_empty());
        if let Some(record) = unscored {
            anyhow::bail!("{}: record {:?} has no gold answer, and so no score", path.display(), record.id);
        }
        let retrieved = retrieve(plan, corpus, (&path, &records), settings.dev_passages())?;
        tasks.push(Task { name, metric, records, retrieved });
    }
    Ok(tasks)
}

fn metric(files: &TaskFiles, name: &str) -> Result<Metric> {
    match files.metric {
        Some(TaskMetric::Em) => Ok(Metric::ExactMatch),
        Some(TaskMetric::Accuracy) => Ok(Metric::Accuracy),
        None => Metric::of_task(name).context("or give the task a \"metric\", \"em\" or \"accuracy\""),
    }
}

fn read_records(plan: &Plan, path: &Path, inputs: Option<&Path>) -> Result<Vec<Record>> {
    match inputs {
        Some(inputs) => read_task_with_inputs(path, &plan.path(inputs)),
        None => read_task(path),
    }
}

fn retrieve(
    plan: &Plan,
    corpus: Option<&Corpus>,
    (path, records): (&Path, &[Record]),
    k: usize,
) -> Result<Vec<Retrieved>> {
    if plan.settings.retriever == Retriever::Given {
        return given_passages(path, records);
    }
    let corpus = corpus.context("BM25 needs a knowledge source")?;
    let inputs: Vec<&str> = records.iter().map(|record| record.input.as_str()).collect();
    let hits = retrieve_bm25(&plan.work, corpus, &inputs, k)?;
    Ok(hits.into_iter().map(Retrieved::Corpus).collect())
}

/// Whether a task's gold passages come in where they were not retrieved.
fn inserts_gold(settings: &Settings, files: &TaskFiles) -> bool {
    files.gold.unwrap_or(settings.gold) == Gold::Insert && settings.retriever == Retriever::Bm25
}

/// Those that are not among the first `k` retrieved.
fn missing(evidence: &[u32], retrieved: &Retrieved, k: usize) -> Vec<u32> {
    let Retrieved::Corpus(found) = retrieved else { return Vec::new() };
    let found = &found[..k.min(found.len())];
    evidence.iter().filter(|number| !found.contains(number)).copied().collect()
}

/// The passages of each record's evidence.
fn gold_passages(corpus: &Corpus, records: &[Record]) -> Result<Vec<Vec<u32>>> {
    let mut pages: HashMap<&str, Vec<Place>> = HashMap::new();
    for record in records {
        evidence(record).iter().for_each(|gold| _ = pages.entry(gold.wikipedia_id.as_str()).or_default());
    }
    for (number, passage) in (0..).zip(corpus.iter()) {
        let passage = passage?;
        if let Some(places) = pages.get_mut(passage.page.as_str()) {
            places.push(Place { number, first: passage.first_paragraph as i64, last: passage.last_paragraph as i64 });
        }
    }
    let of_record = |record: &Record| {
        let places =
            |gold: &Provenance| pages.get(gold.wikipedia_id.as_str()).and_then(|places| place_of(gold, places));
        let mut numbers: Vec<u32> = evidence(record).iter().filter_map(places).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    Ok(records.iter().map(of_record).collect())
}

/// A record's first set of evidence.
fn evidence(record: &Record) -> &[Provenance] {
    record.outputs.iter().map(|output| output.evidence()).find(|set| !set.is_empty()).unwrap_or_default()
}

/// Where in its page a passage lies.
struct Place {
    number: u32,
    first: i64,
    last: i64,
}

/// The passage that has the evidence's first paragraph; the page's first one where no passage has it.
fn place_of(gold: &Provenance, places: &[Place]) -> Option<u32> {
    let paragraph = gold.start_paragraph_id.unwrap_or(-1);
    let has = |place: &&Place| (place.first..=place.last).contains(&paragraph);
    places.iter().find(has).or(places.first()).map(|place| place.number)
}
