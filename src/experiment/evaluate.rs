//! How good a reader is on questions that it does not learn.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::batch::{Examples, micro_batches};
use super::data::{Data, Drawn};
use super::settings::Settings;
use crate::backend::{Backend, Element};
use crate::cost::CostMode;
use crate::eval::{Means, Run, TaskReport};
use crate::io::{Progress, interrupted};
use crate::model::{Evidence, Reader};

/// Questions that are answered together.
const BATCH: usize = 8;

/// What came of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What the best checkpoint has most of: the mean over the tasks' headline metrics; in pretraining, the negative
    /// of the loss.
    pub score: f64,
    /// The mean loss of a target token; pretraining only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Each task's headline metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, f64>,
    /// The mean of recall@5 as the retriever ordered the passages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall_at_5_before: Option<f64>,
    /// The mean of recall@5 as the reader ordered them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall_at_5_after: Option<f64>,
}

/// Evaluates a reader as the settings say. None where a Ctrl-C came first, or there is nothing to evaluate on.
///
/// # Errors
/// Those of the reader.
pub fn evaluate<B: Backend>(reader: &Reader<B>, data: &Data, settings: &Settings) -> Result<Option<Evaluation>> {
    let held_out = data.held_out(settings.dev_questions.get())?;
    if !held_out.is_empty() {
        let loss = loss(reader, &held_out, settings.micro_batch_tokens.get())?;
        return Ok(loss.map(|loss| Evaluation { score: -loss, loss: Some(loss), ..Evaluation::default() }));
    }
    let run = Run {
        reader,
        prompts: data.prompts(),
        corpus: data.corpus(),
        source: data.memories(),
        passages: settings.dev_passages(),
        batch: BATCH,
        answer_tokens: settings.answer_tokens.get(),
        cost: CostMode::Exact,
    };
    // The training's own line is on the screen.
    let progress = Progress::hidden();
    let mut reports: Vec<TaskReport> = Vec::new();
    for task in &data.dev {
        reports.push(run.task(task, &progress)?.report);
        if interrupted() {
            return Ok(None);
        }
    }
    let means = Means::of(&reports);
    Ok(means.score.map(|score| Evaluation {
        score,
        loss: None,
        tasks: reports.iter().filter_map(|report| Some((report.task.clone(), report.score?))).collect(),
        recall_at_5_before: means.recall_at_5_before,
        recall_at_5_after: means.recall_at_5_after,
    }))
}

/// The mean loss of a target token; none where a Ctrl-C came first.
fn loss<B: Backend>(reader: &Reader<B>, drawn: &[Drawn], micro_batch_tokens: usize) -> Result<Option<f64>> {
    let (be, weights) = (&reader.be, &reader.weights);
    let (mut sum, mut tokens) = (0.0, 0);
    for batch in micro_batches(drawn, micro_batch_tokens) {
        if interrupted() {
            return Ok(None);
        }
        let examples = Examples::new(batch);
        let scored = reader.score(&examples.questions())?;
        let chosen = be.top_m(&scored.scores, &scored.groups, reader.glimmer.selected);
        let encoded = reader.finish(&scored.live_a, &chosen);
        let segments = be.merge(&encoded.segments, &chosen.groups);
        let evidence = Evidence { rows: &encoded.rows, segments: &segments };
        let targets: Vec<&[u32]> = batch.iter().map(|drawn| drawn.target.as_slice()).collect();
        let logits = weights.decoder.teach(be, &reader.config, &weights.encoder.embedding, &evidence, &targets);
        let log_probs = be.download(&be.log_prob(&logits, &be.upload(targets.concat())))?;
        sum -= log_probs.iter().map(|x| x.to_f64()).sum::<f64>();
        tokens += log_probs.len();
    }
    Ok(Some(sum / tokens.max(1) as f64))
}
