//! A reader over a task's questions.

use std::time::Instant;

use anyhow::{Context, Result};

use super::corpus::Corpus;
use super::prompts::{Fitted, Prompts};
use super::report::TaskReport;
use crate::backend::{Backend, Stored};
use crate::cost::{CostMode, Workload, memory_multiply_adds, multiply_adds};
use crate::io::{Progress, interrupted};
use crate::kilt::{Metric, Passage, Prediction, Record, has_answer};
use crate::memory::Store;
use crate::model::{Passages, Question, Reader, Reading};

/// A task's questions, and what was retrieved for each, best first.
pub struct Task {
    /// As its file is named.
    pub name: String,
    /// The headline metric.
    pub metric: Metric,
    /// Questions with gold answers and evidence.
    pub records: Vec<Record>,
    /// For each record, what was retrieved.
    pub retrieved: Vec<Retrieved>,
}

/// What was retrieved for a question.
pub enum Retrieved {
    /// Passages of the corpus, by number.
    Corpus(Vec<u32>),
    /// Passages that the task's file brought along.
    Given(Vec<Passage>),
}

/// Where passages' memories come from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A store of the whole corpus.
    Store(&'a Store),
    /// The memory encoder, now.
    Fresh,
}

/// A reader, and how it is run.
pub struct Run<'a, B: Backend> {
    /// The reader.
    pub reader: &'a Reader<B>,
    /// Texts to tokens.
    pub prompts: &'a Prompts,
    /// None where every task brings its own passages.
    pub corpus: Option<&'a Corpus>,
    /// Where memories come from.
    pub source: Source<'a>,
    /// `k`: how many of the retrieved passages the reader is given.
    pub passages: usize,
    /// Questions read together.
    pub batch: usize,
    /// Tokens of an answer, at most.
    pub answer_tokens: usize,
    /// How cost is counted.
    pub cost: CostMode,
}

/// Answers to the questions of a task that were read.
pub struct TaskRun {
    /// One for each record read, in the order of the records; the pages are those read, best first.
    pub predictions: Vec<Prediction>,
    /// Numbers.
    pub report: TaskReport,
}

/// What is known of one question before and after it is read.
struct Asked {
    question: Fitted,
    passages: Vec<Passage>,
    /// Tokens of each passage; empty where memories come from a store.
    fitted: Vec<Fitted>,
}

/// Sums over the questions read so far.
#[derive(Default)]
pub(super) struct Tally {
    pub predictions: Vec<Prediction>,
    /// Pages in the retriever's order, and in the reranker's.
    pub before: Vec<Prediction>,
    pub after: Vec<Prediction>,
    /// Questions with an answer among the passages retrieved, and among those read.
    pub answer_retrieved: usize,
    pub answer_read: usize,
    pub truncated_questions: usize,
    pub truncated_passages: usize,
    pub without_passages: usize,
    pub multiply_adds: f64,
    pub seconds: f64,
}

impl<B: Backend> Run<'_, B> {
    /// Reads a task's questions, until the last one or a Ctrl-C.
    ///
    /// # Errors
    /// A store that lacks a passage, and what the reader reports.
    pub fn task(&self, task: &Task, progress: &Progress) -> Result<TaskRun> {
        let mut tally = Tally::default();
        let all: Vec<usize> = (0..task.records.len()).collect();
        for batch in all.chunks(self.batch) {
            if interrupted() {
                break;
            }
            let started = Instant::now();
            let asked: Vec<Asked> = batch.iter().map(|&i| self.ask(task, i)).collect::<Result<_>>()?;
            let readings = self.read(&asked).with_context(|| format!("reading {}", task.name))?;
            tally.seconds += started.elapsed().as_secs_f64();
            for ((&i, asked), reading) in batch.iter().zip(&asked).zip(readings) {
                self.note(&mut tally, &task.records[i], asked, reading)?;
            }
            progress.add(batch.len() as u64);
        }
        let records = &task.records[..tally.predictions.len()];
        let report = TaskReport::new(task, records, &tally)?;
        Ok(TaskRun { predictions: tally.predictions, report })
    }

    fn ask(&self, task: &Task, index: usize) -> Result<Asked> {
        let record = &task.records[index];
        let question = self.prompts.question(&record.input)?;
        let passages: Vec<Passage> = match &task.retrieved[index] {
            Retrieved::Corpus(numbers) => {
                let corpus = self.corpus.context("passages by number need a corpus")?;
                numbers.iter().take(self.passages).map(|&n| corpus.passage(n as usize)).collect::<Result<_>>()?
            }
            Retrieved::Given(passages) => passages.iter().take(self.passages).cloned().collect(),
        };
        let fitted = match self.source {
            Source::Store(_) => Vec::new(),
            Source::Fresh => self.prompts.passages(&passages)?,
        };
        Ok(Asked { question, passages, fitted })
    }

    /// A reading for each question, none for those without passages.
    fn read(&self, asked: &[Asked]) -> Result<Vec<Option<Reading>>> {
        let stored: Vec<Vec<Stored<'_>>> = match self.source {
            Source::Fresh => Vec::new(),
            Source::Store(store) => {
                let ids: Vec<&str> = asked.iter().flat_map(|a| &a.passages).map(|p| p.id.as_str()).collect();
                let mut memories = store.read_all(&ids)?.into_iter().map(|rows| rows.data);
                asked.iter().map(|a| memories.by_ref().take(a.passages.len()).collect()).collect()
            }
        };
        let fresh: Vec<Vec<&[u32]>> =
            asked.iter().map(|a| a.fitted.iter().map(|f| f.ids.as_slice()).collect()).collect();
        let questions: Vec<Question<'_>> = asked
            .iter()
            .enumerate()
            .filter(|(_, asked)| !asked.passages.is_empty())
            .map(|(i, asked)| {
                let passages = match self.source {
                    Source::Store(_) => Passages::Memory(&stored[i]),
                    Source::Fresh => Passages::Tokens(&fresh[i]),
                };
                Question { ids: &asked.question.ids, passages }
            })
            .collect();
        let mut readings = self.reader.read(&questions, self.answer_tokens)?.into_iter();
        Ok(asked.iter().map(|a| if a.passages.is_empty() { None } else { readings.next() }).collect())
    }

    fn note(&self, tally: &mut Tally, record: &Record, asked: &Asked, reading: Option<Reading>) -> Result<()> {
        tally.truncated_questions += usize::from(asked.question.truncated);
        tally.truncated_passages += self.truncated_passages(asked)?;
        let pages = |order: &[usize]| order.iter().map(|&i| asked.passages[i].page.clone()).collect();
        let retrieved: Vec<usize> = (0..asked.passages.len()).collect();
        let (answer, read, reranked) = match &reading {
            None => (String::new(), Vec::new(), Vec::new()),
            Some(reading) => {
                tally.multiply_adds += self.multiply_adds(asked, reading)?;
                let answer = self.prompts.tokenizer.decode(&reading.answer)?;
                (answer.trim().to_string(), reading.read.clone(), by_score(&reading.scores))
            }
        };
        tally.without_passages += usize::from(reading.is_none());
        let answers = record.answers();
        let texts = |order: &[usize]| order.iter().map(|&i| asked.passages[i].with_title()).collect::<Vec<_>>();
        let answered = |order: &[usize]| usize::from(has_answer(texts(order).iter().map(String::as_str), &answers));
        tally.answer_retrieved += answered(&retrieved);
        tally.answer_read += answered(&read);
        let prediction = |answer, pages| Prediction { id: record.id.clone(), answer, pages };
        tally.before.push(prediction(None, pages(&retrieved)));
        tally.after.push(prediction(None, pages(&reranked)));
        tally.predictions.push(prediction(Some(answer), pages(&read)));
        Ok(())
    }

    /// Passages that were cut to their budget. Of those in a store, only the ones that fill it can have been.
    fn truncated_passages(&self, asked: &Asked) -> Result<usize> {
        let truncated = |fitted: &[Fitted]| fitted.iter().filter(|f| f.truncated).count();
        let Source::Store(store) = self.source else { return Ok(truncated(&asked.fitted)) };
        let full = |p: &&Passage| store.get(&p.id).is_some_and(|rows| rows.tokens == self.prompts.passage_tokens);
        let full: Vec<Passage> = asked.passages.iter().filter(full).cloned().collect();
        Ok(truncated(&self.prompts.passages(&full)?))
    }

    /// What the reading cost. Passages encoded for it are part of it, in the exact mode.
    fn multiply_adds(&self, asked: &Asked, reading: &Reading) -> Result<f64> {
        let tokens: Vec<usize> = match self.source {
            Source::Fresh => asked.fitted.iter().map(|f| f.ids.len()).collect(),
            Source::Store(store) => {
                let rows = asked.passages.iter().map(|passage| store.get(&passage.id));
                rows.map(|rows| rows.map_or(0, |rows| rows.tokens)).collect()
            }
        };
        let (config, glimmer) = (&self.reader.config, &self.reader.glimmer);
        let workload = Workload::of(asked.question.ids.len(), &tokens, reading)?;
        let fresh: f64 = match (self.source, self.cost) {
            (Source::Fresh, CostMode::Exact) => tokens.iter().map(|&n| memory_multiply_adds(config, glimmer, n)).sum(),
            _ => 0.0,
        };
        Ok(fresh + multiply_adds(self.cost, config, glimmer, &workload))
    }
}

/// Places by descending score, ties in the retriever's order.
fn by_score(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}
