//! A task's scores: averages over its records, under the conditions of the benchmark's scorer.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::evidence::{Rank, r_precision};
use super::metrics::AnswerScores;
use super::prediction::Prediction;
use super::task::{Metric, Record};

/// All scores of a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// Of the answers.
    pub downstream: DownstreamScores,
    /// Of the pages.
    pub retrieval: RetrievalScores,
}

impl Scores {
    /// The task's headline number, in [0, 1].
    pub fn headline(&self, metric: Metric) -> f64 {
        self.downstream.answers.headline(metric)
    }
}

/// Averages over all records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DownstreamScores {
    /// How many records.
    pub records: usize,
    /// The answers' own scores.
    pub answers: AnswerScores,
    /// The KILT scores: an answer counts only where R-precision is 1, and 0 elsewhere.
    pub kilt: AnswerScores,
}

/// Averages over all records, by page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalScores {
    /// How many records.
    pub records: usize,
    /// Those among them that have no gold page: they score 0 and are part of the averages, as in the benchmark's scorer.
    pub without_evidence: usize,
    /// See [`r_precision`].
    pub r_precision: f64,
    /// One for each k asked for.
    pub at_k: Vec<AtK>,
}

/// Scores of the first k places of [`Rank`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtK {
    /// How many places.
    pub k: usize,
    /// See [`Rank::precision_at`].
    pub precision: f64,
    /// See [`Rank::recall_at`].
    pub recall: f64,
    /// See [`Rank::success_at`].
    pub success_rate: f64,
}

/// [`score_answers`] and [`score_retrieval`] together.
///
/// # Errors
/// Theirs.
pub fn score(gold: &[Record], predictions: &[Prediction], ks: &[usize]) -> Result<Scores> {
    Ok(Scores { downstream: score_answers(gold, predictions)?, retrieval: score_retrieval(gold, predictions, ks)? })
}

/// Scores the answers. Predictions for other ids than the records' are ignored; an empty answer scores 0.
///
/// # Errors
/// When there is no record, an id occurs twice on either side, a record has no prediction, a prediction no answer, or a record no
/// gold answer to compare with (the benchmark's own scorer stops there too).
pub fn score_answers(gold: &[Record], predictions: &[Prediction]) -> Result<DownstreamScores> {
    let (mut answers, mut kilt) = (AnswerScores::default(), AnswerScores::default());
    for (record, prediction) in pair(gold, predictions)? {
        let golds = record.answers();
        if golds.is_empty() {
            bail!(
                "record {:?} has no gold answer to score against: test splits are published without (score the dev split, or send \
                 the predictions to the benchmark)",
                record.id
            );
        }
        let answer = prediction.answer.as_deref();
        let answer = answer.with_context(|| format!("the prediction for id {:?} has no answer", record.id))?;
        let scores = AnswerScores::of(answer, &golds);
        answers.add(scores);
        if r_precision(record, &prediction.pages) == 1.0 {
            kilt.add(scores);
        }
    }
    Ok(DownstreamScores {
        records: gold.len(),
        answers: answers.divided_by(gold.len()),
        kilt: kilt.divided_by(gold.len()),
    })
}

/// Scores the pages, at each k of `ks` (the benchmark's are 1, 5, 10 and 20). Predictions for other ids than the records' are
/// ignored; one without pages scores 0.
///
/// # Errors
/// When there is no record, an id occurs twice on either side, a record has no prediction, or a k is 0.
pub fn score_retrieval(gold: &[Record], predictions: &[Prediction], ks: &[usize]) -> Result<RetrievalScores> {
    ensure!(!ks.contains(&0), "scores at k = 0 do not exist: ask for k ≥ 1");
    let mut sums = RetrievalScores {
        records: gold.len(),
        without_evidence: 0,
        r_precision: 0.0,
        at_k: ks.iter().map(|k| AtK::zero(*k)).collect(),
    };
    for (record, prediction) in pair(gold, predictions)? {
        let no_evidence = record.outputs.iter().all(|o| o.evidence().is_empty());
        sums.without_evidence += usize::from(no_evidence);
        sums.r_precision += r_precision(record, &prediction.pages);
        let rank = Rank::new(record, &prediction.pages);
        for at in &mut sums.at_k {
            at.precision += rank.precision_at(at.k);
            at.recall += rank.recall_at(at.k);
            at.success_rate += rank.success_at(at.k);
        }
    }
    let n = gold.len() as f64;
    sums.r_precision /= n;
    for at in &mut sums.at_k {
        at.precision /= n;
        at.recall /= n;
        at.success_rate /= n;
    }
    Ok(sums)
}

impl AtK {
    fn zero(k: usize) -> Self {
        Self { k, precision: 0.0, recall: 0.0, success_rate: 0.0 }
    }
}

/// Each record with its prediction, in the records' order.
fn pair<'a>(gold: &'a [Record], predictions: &'a [Prediction]) -> Result<Vec<(&'a Record, &'a Prediction)>> {
    ensure!(!gold.is_empty(), "no records to score");
    let mut by_id = HashMap::new();
    for prediction in predictions {
        if by_id.insert(prediction.id.as_str(), prediction).is_some() {
            bail!("two predictions for id {:?}", prediction.id);
        }
    }
    let mut seen = HashSet::new();
    let mut pairs = Vec::with_capacity(gold.len());
    for record in gold {
        ensure!(seen.insert(record.id.as_str()), "two records with id {:?}", record.id);
        let prediction =
            by_id.get(record.id.as_str()).with_context(|| format!("no prediction for id {:?}", record.id))?;
        pairs.push((record, *prediction));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests;
