//! What an evaluation came to: per reader and per task, for people and for programs.

use anyhow::Result;
use serde::Serialize;

use super::run::{Tally, Task};
use super::table::table;
use crate::cost::samples_per_tera;
use crate::kilt::{AnswerScores, AtK, Prediction, Record, RetrievalScores, score_answers, score_retrieval};

/// Ranks that the benchmark reports retrieval at.
const RANKS: [usize; 4] = [1, 5, 10, 20];

/// A reader on a task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskReport {
    /// The task.
    pub task: String,
    /// Its headline metric: `accuracy` or `em`.
    pub metric: &'static str,
    /// Questions read.
    pub questions: usize,
    /// Questions of the task, where a Ctrl-C left some unread.
    pub questions_asked: usize,
    /// Questions read without a gold answer to hold theirs against, as in test splits; one is enough for no score.
    pub without_answers: usize,
    /// The headline metric, in [0, 1]; none where a question read has no gold answer.
    pub score: Option<f64>,
    /// The headline metric, counted only where R-precision is 1.
    pub kilt_score: Option<f64>,
    /// All metrics of the answers.
    pub answers: Option<AnswerScores>,
    /// The same, counted only where R-precision is 1.
    pub kilt: Option<AnswerScores>,
    /// Retrieval as the retriever ordered it.
    pub before: RetrievalScores,
    /// Retrieval as the reranker ordered it.
    pub after: RetrievalScores,
    /// Share of questions with an answer among the passages retrieved.
    pub answer_retrieved: f64,
    /// Share of questions with an answer among the passages read.
    pub answer_read: f64,
    /// Questions cut to their budget.
    pub truncated_questions: usize,
    /// Passages cut to their budget, each as often as it was retrieved.
    pub truncated_passages: usize,
    /// Questions for which nothing was retrieved; their answers are empty.
    pub without_passages: usize,
    /// Wall time of reading: tokens, memories, encoders, decoder.
    pub seconds: f64,
    /// Questions a second.
    pub questions_per_second: f64,
    /// Multiply-adds a question, in the mode of the report.
    pub multiply_adds: f64,
    /// Questions for 10¹² multiply-adds.
    pub samples_per_tera: f64,
}

impl TaskReport {
    pub(super) fn new(task: &Task, records: &[Record], run: &Tally) -> Result<Self> {
        let count = records.len();
        let share = |count_of: usize| count_of as f64 / count.max(1) as f64;
        let without_answers = records.iter().filter(|record| record.answers().is_empty()).count();
        let gold = count > 0 && without_answers == 0;
        let downstream = gold.then(|| score_answers(records, &run.predictions)).transpose()?;
        let retrieval = |predictions: &[Prediction]| match count {
            0 => Ok(RetrievalScores { records: 0, without_evidence: 0, r_precision: 0.0, at_k: Vec::new() }),
            _ => score_retrieval(records, predictions, &RANKS),
        };
        let read = count - run.without_passages;
        let multiply_adds = run.multiply_adds / read.max(1) as f64;
        Ok(Self {
            task: task.name.clone(),
            metric: task.metric.name(),
            questions: count,
            questions_asked: task.records.len(),
            without_answers,
            score: downstream.as_ref().map(|scores| scores.answers.headline(task.metric)),
            kilt_score: downstream.as_ref().map(|scores| scores.kilt.headline(task.metric)),
            answers: downstream.as_ref().map(|scores| scores.answers),
            kilt: downstream.as_ref().map(|scores| scores.kilt),
            before: retrieval(&run.before)?,
            after: retrieval(&run.after)?,
            answer_retrieved: share(run.answer_retrieved),
            answer_read: share(run.answer_read),
            truncated_questions: run.truncated_questions,
            truncated_passages: run.truncated_passages,
            without_passages: run.without_passages,
            seconds: run.seconds,
            questions_per_second: if run.seconds > 0.0 { count as f64 / run.seconds } else { 0.0 },
            multiply_adds,
            samples_per_tera: if multiply_adds > 0.0 { samples_per_tera(multiply_adds) } else { 0.0 },
        })
    }
}

/// A reader on all tasks.
#[derive(Clone, Debug, Serialize)]
pub struct ReaderReport {
    /// `fid`, `lumen` or `glimmer`.
    pub reader: String,
    /// `L`.
    pub layers: usize,
    /// `αL`.
    pub live_layers: usize,
    /// `βαL`.
    pub rerank_layers: usize,
    /// Weight of the retriever's order in the scores.
    pub retrieval_weight: f64,
    /// `k`.
    pub retrieved: usize,
    /// `m`.
    pub read: usize,
    /// Tokens of a passage, at most.
    pub passage_tokens: usize,
    /// Bytes of stored memory a passage; 0 where passages are encoded afresh.
    pub memory_bytes_per_passage: f64,
    /// Over the tasks.
    pub mean: Means,
    /// Task by task.
    pub tasks: Vec<TaskReport>,
}

/// Unweighted means over a reader's tasks, those without a question read left aside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Means {
    /// Of the headline metrics, over the tasks that have one; none where no task has.
    pub score: Option<f64>,
    /// The same for the headline metric where R-precision is 1.
    pub kilt_score: Option<f64>,
    /// Of recall@5 as the retriever ordered the passages; none where nothing was read.
    pub recall_at_5_before: Option<f64>,
    /// The same as the reranker ordered them.
    pub recall_at_5_after: Option<f64>,
    /// All questions over all seconds.
    pub questions_per_second: f64,
    /// Multiply-adds a question.
    pub multiply_adds: f64,
    /// Questions for 10¹² multiply-adds, from the mean of these.
    pub samples_per_tera: f64,
}

impl Means {
    /// The means over `tasks`.
    pub fn of(tasks: &[TaskReport]) -> Self {
        let mean = |of: &dyn Fn(&TaskReport) -> Option<f64>| {
            let values: Vec<f64> = tasks.iter().filter(|task| task.questions > 0).filter_map(of).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let seconds: f64 = tasks.iter().map(|task| task.seconds).sum();
        let questions: usize = tasks.iter().map(|task| task.questions).sum();
        // A task for which nothing was retrieved cost nothing, and says nothing of the reader.
        let multiply_adds = mean(&|task| (task.multiply_adds > 0.0).then_some(task.multiply_adds)).unwrap_or(0.0);
        Self {
            score: mean(&|task| task.score),
            kilt_score: mean(&|task| task.kilt_score),
            recall_at_5_before: mean(&|task| Some(at_5(&task.before))),
            recall_at_5_after: mean(&|task| Some(at_5(&task.after))),
            questions_per_second: if seconds > 0.0 { questions as f64 / seconds } else { 0.0 },
            multiply_adds,
            samples_per_tera: if multiply_adds > 0.0 { samples_per_tera(multiply_adds) } else { 0.0 },
        }
    }
}

/// A whole evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was run and on what, by name.
    pub settings: serde_json::Value,
    /// Reader by reader.
    pub readers: Vec<ReaderReport>,
}

impl Report {
    /// The mean score of the reader of this name, in %; none where it has none.
    pub fn score(&self, reader: &str) -> Option<f64> {
        self.readers.iter().find(|report| report.reader == reader)?.mean.score.map(|score| 100.0 * score)
    }

    /// A table for each reader, and one of their means.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        for reader in &self.readers {
            text += &format!("\n{}\n", reader.title());
            text += &table(&TASK_HEAD, &reader.tasks.iter().map(TaskReport::row).collect::<Vec<_>>());
        }
        text += "\nmean over the tasks\n";
        text += &table(&READER_HEAD, &self.readers.iter().map(ReaderReport::row).collect::<Vec<_>>());
        text
    }
}

const TASK_HEAD: [&str; 9] =
    ["task", "metric", "score", "KILT", "R-prec", "recall@5", "answer in read", "questions/s", "samples/TFLOP"];

const READER_HEAD: [&str; 8] =
    ["reader", "k → m", "score", "KILT", "recall@5", "questions/s", "samples/TFLOP", "memory/passage"];

impl TaskReport {
    fn row(&self) -> Vec<String> {
        vec![
            self.task.clone(),
            self.metric.into(),
            percent(self.score),
            percent(self.kilt_score),
            arrow(self.before.r_precision, self.after.r_precision),
            arrow(at_5(&self.before), at_5(&self.after)),
            percent(Some(self.answer_read)),
            format!("{:.1}", self.questions_per_second),
            three_digits(self.samples_per_tera),
        ]
    }
}

impl ReaderReport {
    fn title(&self) -> String {
        let Self { reader, layers, live_layers, rerank_layers, retrieved, read, passage_tokens, .. } = self;
        let order = match self.retrieval_weight {
            0.0 => String::new(),
            weight => format!(", the retriever's order weighs {weight}"),
        };
        format!(
            "{reader}: {live_layers} of {layers} encoder layers live, {rerank_layers} rerank{order}, {retrieved} → {read} \
             passages of up to {passage_tokens} tokens"
        )
    }

    fn row(&self) -> Vec<String> {
        let mean = &self.mean;
        vec![
            self.reader.clone(),
            format!("{} → {}", self.retrieved, self.read),
            percent(mean.score),
            percent(mean.kilt_score),
            arrow(mean.recall_at_5_before.unwrap_or(0.0), mean.recall_at_5_after.unwrap_or(0.0)),
            format!("{:.1}", mean.questions_per_second),
            three_digits(mean.samples_per_tera),
            if self.memory_bytes_per_passage > 0.0 { bytes(self.memory_bytes_per_passage) } else { "none".into() },
        ]
    }
}

fn at_5(scores: &RetrievalScores) -> f64 {
    scores.at_k.iter().find(|at: &&AtK| at.k == 5).map_or(0.0, |at| at.recall)
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1}", 100.0 * share))
}

fn arrow(before: f64, after: f64) -> String {
    format!("{:.1} → {:.1}", 100.0 * before, 100.0 * after)
}

fn three_digits(x: f64) -> String {
    let decimals = if x > 0.0 { (2 - x.log10().floor() as i32).clamp(0, 6) as usize } else { 0 };
    format!("{x:.decimals$}")
}

/// Bytes as people read them.
pub(super) fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = ((count.max(1.0).log2() / 10.0) as usize).min(units.len() - 1);
    format!("{:.*} {}", usize::from(unit > 0), count / 1024f64.powi(unit as i32), units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(bytes(500.0), "500 B");
        assert_eq!(bytes(29_696.0), "29.0 KiB");
        assert_eq!(bytes(3.0 * 1024f64.powi(4)), "3.0 TiB");
        assert_eq!(three_digits(0.012345), "0.0123");
        assert_eq!(three_digits(1234.5), "1234");
        assert_eq!(three_digits(9.876), "9.88");
        assert_eq!(arrow(0.5, 0.75), "50.0 → 75.0");
        assert_eq!(percent(None), "–");
    }
}
