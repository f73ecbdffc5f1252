//! Task files: questions with their gold answers and evidence.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::fields::{self, Object};
use super::lines::Lines;
use super::normalise::strip;

/// One question of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Unique in its file; integers in the file are kept as their digits.
    pub id: String,
    /// The question, claim or `subject [SEP] relation`, as the file has it.
    pub input: String,
    /// Gold outputs. None in the files of a test split, whose answers are not published.
    pub outputs: Vec<Output>,
    /// Whatever else the task says about the record; null if nothing.
    pub meta: Value,
}

/// One gold output: an answer, a set of evidence, or both.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    /// An acceptable answer.
    pub answer: Option<String>,
    /// The evidence set. `None` (no such key) and an empty list differ: the benchmark's scorer counts the latter as a set
    /// that nobody can find.
    pub provenance: Option<Vec<Provenance>>,
}

/// Where a piece of evidence stands in the knowledge source.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provenance {
    /// The page.
    pub wikipedia_id: String,
    /// The page's title.
    pub title: Option<String>,
    /// First paragraph, an index into the page's `text`; -1 where the benchmark could not place it.
    pub start_paragraph_id: Option<i64>,
    /// Last paragraph, inclusive.
    pub end_paragraph_id: Option<i64>,
    /// First character within the first paragraph.
    pub start_character: Option<i64>,
    /// Character after the last one, within the last paragraph.
    pub end_character: Option<i64>,
    /// How well the span matches the evidence of the original data set, in [0, 1].
    pub bleu_score: Option<f64>,
}

impl Output {
    /// The evidence, empty where there is none.
    pub fn evidence(&self) -> &[Provenance] {
        self.provenance.as_deref().unwrap_or_default()
    }
}

impl Record {
    /// The distinct gold answers without outer whitespace, in the file's order; empty ones are none.
    pub fn answers(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let answers = self.outputs.iter().filter_map(|o| o.answer.as_deref());
        answers.map(strip).filter(|a| !a.is_empty() && seen.insert(*a)).collect()
    }

    /// The two halves of a slot-filling input `subject [SEP] relation`, if it is one.
    pub fn subject_relation(&self) -> Option<(&str, &str)> {
        let (subject, relation) = self.input.split_once("[SEP]")?;
        let (subject, relation) = (strip(subject), strip(relation));
        (!subject.is_empty() && !relation.is_empty()).then_some((subject, relation))
    }
}

/// A task's headline metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// The guess is one of the gold answers, letter for letter.
    Accuracy,
    /// The guess is one of the gold answers after [`normalise()`](super::normalise()).
    ExactMatch,
}

impl Metric {
    /// The headline metric of a task of KILT, or of this crate's derived tasks, by its name.
    ///
    /// # Errors
    /// For a name that is none of them.
    pub fn of_task(name: &str) -> Result<Self> {
        match name {
            "fever" | "trex" | "zsre" | "structured_zeroshot" => Ok(Self::Accuracy),
            "nq" | "hotpotqa" | "triviaqa" => Ok(Self::ExactMatch),
            "wiki_claim" | "wiki_slot" | "wiki_zeroshot" => Ok(Self::Accuracy),
            "wiki_desc" | "wiki_hop" | "wiki_cloze" => Ok(Self::ExactMatch),
            _ => bail!(
                "no metric is known for the task {name:?}; tasks are fever, trex, zsre (structured_zeroshot), nq, hotpotqa, \
                 triviaqa, wiki_claim, wiki_slot, wiki_zeroshot, wiki_desc, wiki_hop and wiki_cloze: name the file after one of them"
            ),
        }
    }

    /// `accuracy` or `em`, the benchmark's own names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::ExactMatch => "em",
        }
    }
}

/// The task that a file belongs to: its name up to the first `-`, or up to the first `.` where there is none
/// (`nq-dev-kilt.jsonl` → `nq`).
///
/// # Errors
/// When that is nothing.
pub fn task_name(path: &Path) -> Result<&str> {
    let file = path.file_name().and_then(|name| name.to_str());
    let name = file.and_then(|name| name.split(['-', '.']).next());
    name.filter(|name| !name.is_empty())
        .with_context(|| format!("{}: no task name (a task file is named as in nq-dev-kilt.jsonl)", path.display()))
}

/// Reads a task file, `.jsonl` or gzipped (told by its content).
///
/// # Errors
/// Names file and line of anything that is not a well-formed record: bad JSON, an `id` missing or used twice, an empty `input`, an
/// `output` that is no list, evidence without `wikipedia_id`, ... A row without `input` is an error too; [`read_task_with_inputs`]
/// reads such files.
pub fn read_task(path: &Path) -> Result<Vec<Record>> {
    read_records(path, MissingInput::Refuse)
}

/// Reads a task file whose questions are distributed apart (TriviaQA's), and fills them in from a second file: [`fill_inputs`].
///
/// # Errors
/// Those of [`read_task`], but for the missing inputs, and those of [`fill_inputs`].
pub fn read_task_with_inputs(path: &Path, inputs: &Path) -> Result<Vec<Record>> {
    let mut records = read_records(path, MissingInput::LeaveEmpty)?;
    fill_inputs(&mut records, inputs)?;
    Ok(records)
}

/// Gives each record with an empty `input` the one that a jsonl file of `{"id": …, "input": …}` has for its id. The file may hold
/// further ids.
///
/// # Errors
/// Names file and line of a malformed row and of an id used twice, and the first record that the file has no input for.
pub fn fill_inputs(records: &mut [Record], path: &Path) -> Result<()> {
    let mut inputs: HashMap<String, String> = HashMap::new();
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next() {
        let line = line?;
        let (id, input) = parse_input(&line.text).with_context(|| lines.place(line.number))?;
        if inputs.contains_key(&id) {
            bail!("{}: id {id:?} has an input already", lines.place(line.number));
        }
        inputs.insert(id, input);
    }
    for record in records.iter_mut().filter(|r| r.input.is_empty()) {
        record.input = inputs
            .remove(&record.id)
            .with_context(|| format!("{}: no row gives the input of id {:?}", path.display(), record.id))?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum MissingInput {
    Refuse,
    LeaveEmpty,
}

fn read_records(path: &Path, missing: MissingInput) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut line_of: HashMap<String, usize> = HashMap::new();
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next() {
        let line = line?;
        let record = parse_record(&line.text, missing).with_context(|| lines.place(line.number))?;
        if let Some(first) = line_of.insert(record.id.clone(), line.number) {
            bail!("{}: id {:?} is already that of line {first}", lines.place(line.number), record.id);
        }
        records.push(record);
    }
    if records.is_empty() {
        bail!("{}: no records", path.display());
    }
    Ok(records)
}

fn parse_record(text: &str, missing: MissingInput) -> Result<Record> {
    let mut row = fields::parse_row(text)?;
    let id = fields::id(&row, "id")?;
    let input = match (fields::text(&mut row, "input")?, missing) {
        (Some(input), _) => not_blank(input)?,
        (None, MissingInput::LeaveEmpty) => String::new(),
        (None, MissingInput::Refuse) => bail!(
            "`input` is missing (KILT distributes TriviaQA's questions apart): fill it in, or give a file of \
             {{\"id\": …, \"input\": …}} rows beside this one"
        ),
    };
    let outputs = fields::list(&mut row, "output")?.unwrap_or_default();
    let outputs = outputs.into_iter().enumerate();
    Ok(Record {
        id,
        input,
        outputs: outputs
            .map(|(i, output)| parse_output(output).with_context(|| format!("output[{i}]")))
            .collect::<Result<_>>()?,
        meta: row.remove("meta").unwrap_or_default(),
    })
}

fn parse_output(value: Value) -> Result<Output> {
    let mut output = fields::object(value, "it")?;
    let answer = fields::text(&mut output, "answer")?;
    let Some(items) = fields::list(&mut output, "provenance")? else {
        return Ok(Output { answer, provenance: None });
    };
    let provenance = items
        .into_iter()
        .enumerate()
        .map(|(i, item)| parse_provenance(item).with_context(|| format!("provenance[{i}]")))
        .collect::<Result<_>>()?;
    Ok(Output { answer, provenance: Some(provenance) })
}

fn parse_provenance(value: Value) -> Result<Provenance> {
    let mut item: Object = fields::object(value, "it")?;
    Ok(Provenance {
        wikipedia_id: fields::id(&item, "wikipedia_id")?,
        title: fields::text(&mut item, "title")?,
        start_paragraph_id: fields::integer(&item, "start_paragraph_id")?,
        end_paragraph_id: fields::integer(&item, "end_paragraph_id")?,
        start_character: fields::integer(&item, "start_character")?,
        end_character: fields::integer(&item, "end_character")?,
        bleu_score: fields::number(&item, "bleu_score")?,
    })
}

fn parse_input(text: &str) -> Result<(String, String)> {
    let mut row = fields::parse_row(text)?;
    let id = fields::id(&row, "id")?;
    let input = fields::text(&mut row, "input")?.context("`input` is missing")?;
    Ok((id, not_blank(input)?))
}

fn not_blank(input: String) -> Result<String> {
    if strip(&input).is_empty() {
        bail!("`input` is empty: there is no question to answer");
    }
    Ok(input)
}

#[cfg(test)]
mod tests;
