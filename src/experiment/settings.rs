//! What an experiment is: one JSON file.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::io::write_atomic;
use crate::model::{Config, Cut, Glimmer};
use crate::nn::Recompute;
use crate::train::{Decay, MemoryEncoder, Rule, Schedule, Teacher};

mod choices;

pub use choices::{
    Beginning, Gold, Init, Missing, Objective, RerankerInit, Retriever, Sizes, Target, TaskFiles, TaskMetric,
};

/// A training run. Paths are relative to the folder of the file that it was read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", default)]
pub struct Settings {
    /// Where the weights begin.
    pub init: Init,
    /// The cut and the scorer; unless told the checkpoint's own, and for a plain T5 α = 1/3, β = 1/4, m = 5.
    pub reader: Option<Glimmer>,
    /// Whether the memory encoder is trained.
    pub memory: MemoryEncoder,
    /// Whom the scores follow.
    pub teacher: Teacher,
    /// How a separate reranker (`reader.reranker`) begins, where the checkpoint has none.
    pub reranker_init: RerankerInit,
    /// What is learned.
    pub objective: Objective,
    /// Knowledge source, jsonl or gzipped.
    pub knowledge: Option<PathBuf>,
    /// What is learned from; several are mixed, each as often as the others.
    pub tasks: Vec<TaskFiles>,
    /// Keep only gold entries whose evidence has at least this BLEU against the original.
    pub relevance_threshold: Option<f64>,
    /// What the threshold does with entries that have no such number.
    pub missing_score: Missing,
    /// Where passages come from.
    pub retriever: Retriever,
    /// Words of a passage, at most.
    pub passage_words: NonZeroUsize,
    /// `k`, passages retrieved for a question in training.
    pub passages: NonZeroUsize,
    /// The same in evaluation; as in training unless told.
    pub dev_passages: Option<NonZeroUsize>,
    /// What is done about a question whose evidence was not retrieved; in training only.
    pub gold: Gold,
    /// Which of a question's answers is learned.
    pub target: Target,
    /// Share of the questions that are learned with another answer than theirs, in the passages too, so that they can
    /// only be read and not be known.
    pub substitute: f64,
    /// Tokens of a question, at most.
    pub question_tokens: NonZeroUsize,
    /// Tokens of a passage, at most.
    pub passage_tokens: NonZeroUsize,
    /// Tokens of an answer that is learned, at most.
    pub target_tokens: NonZeroUsize,
    /// Tokens of an answer that is given, at most.
    pub answer_tokens: NonZeroUsize,
    /// Steps.
    pub steps: u64,
    /// Questions of a step.
    pub batch: NonZeroUsize,
    /// Tokens that pass through the live encoder together, at most, unless one question has more. A small reader on the
    /// CPU makes a pass on each thread, so that a batch is best divided into several times as many parts as there are
    /// threads.
    pub micro_batch_tokens: NonZeroUsize,
    /// How gradients become steps.
    pub optimiser: Rule,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// The scorer's, in those of the rest.
    pub scorer_rate: f64,
    /// Steps in which it rises from 0.
    pub warmup_steps: u64,
    /// What it does then.
    pub decay: Decay,
    /// The norm that the whole gradient is scaled down to.
    pub clip_norm: Option<f64>,
    /// Dropout; the checkpoint's unless told.
    pub dropout: Option<f64>,
    /// Of everything that is drawn.
    pub seed: u64,
    /// What the backward pass computes again instead of keeping it.
    pub recompute: Recompute,
    /// Steps between two lines of the log.
    pub log_every: NonZeroU64,
    /// Steps between two evaluations.
    pub evaluate_every: NonZeroU64,
    /// Steps between two savings of the state.
    pub save_every: NonZeroU64,
    /// Questions of each task in an evaluation.
    pub dev_questions: NonZeroUsize,
}

/// A count of steps.
pub type NonZeroU64 = std::num::NonZeroU64;

fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("not 0")
}

fn steps(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).expect("not 0")
}

impl Default for Settings {
    /// The paper's fine-tuning, as far as it says.
    fn default() -> Self {
        Self {
            init: Init::Random(Sizes::default()),
            reader: None,
            memory: MemoryEncoder::Trained,
            teacher: Teacher::Perplexity,
            reranker_init: RerankerInit::Encoder,
            objective: Objective::Tasks,
            knowledge: None,
            tasks: Vec::new(),
            relevance_threshold: None,
            missing_score: Missing::Keep,
            retriever: Retriever::Bm25,
            passage_words: count(200),
            passages: count(25),
            dev_passages: None,
            gold: Gold::Insert,
            target: Target::Random,
            substitute: 0.0,
            question_tokens: count(48),
            passage_tokens: count(304),
            target_tokens: count(32),
            answer_tokens: count(16),
            steps: 1000,
            batch: count(128),
            micro_batch_tokens: count(8192),
            optimiser: Rule::default(),
            learning_rate: 1e-4,
            scorer_rate: 1.0,
            warmup_steps: 0,
            decay: Decay::Constant,
            clip_norm: None,
            dropout: None,
            seed: 1,
            recompute: Recompute::Nothing,
            log_every: steps(10),
            evaluate_every: steps(500),
            save_every: steps(100),
            dev_questions: count(50),
        }
    }
}

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// A file that is missing or is no experiment, with the field and what it should be.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let settings: Self =
            serde_json::from_str(&text).with_context(|| format!("{} describes no experiment", path.display()))?;
        settings.check().with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(settings)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, |file| Ok(serde_json::to_writer_pretty(file, self)?))
    }

    /// Refuses settings that cannot be meant.
    ///
    /// # Errors
    /// Which, and what to change.
    pub fn check(&self) -> Result<()> {
        self.schedule().check()?;
        ensure!(self.steps >= 1, "steps is 0; there is nothing to do");
        ensure!(
            self.clip_norm.is_none_or(|norm| norm > 0.0),
            "clip_norm is {}; it is a positive number, or left out for no clipping",
            self.clip_norm.unwrap_or(0.0)
        );
        let dropout = self.dropout.unwrap_or(0.0);
        ensure!((0.0..1.0).contains(&dropout), "dropout is {dropout}; it is a probability below 1");
        let times = self.scorer_rate;
        ensure!(times > 0.0 && times.is_finite(), "scorer_rate is {times}; it is a positive number of learning rates");
        let share = self.substitute;
        ensure!((0.0..=1.0).contains(&share), "substitute is {share}; it is a share of the questions, 0 to 1");
        for TaskFiles { train, thin, .. } in &self.tasks {
            let range = 0.0..1.0;
            ensure!(range.contains(thin), "{}: thin is {thin}; it is a share of words below 1", train.display());
        }
        let threshold = self.relevance_threshold.unwrap_or(0.0);
        ensure!((0.0..=1.0).contains(&threshold), "relevance_threshold is {threshold}; BLEU is within 0 to 1");
        ensure!(
            self.knowledge.is_some() || self.retriever == Retriever::Given && self.objective == Objective::Tasks,
            "knowledge is missing: passages come from there, unless retriever is \"given\""
        );
        let knows = self.objective == Objective::Tasks && self.retriever == Retriever::Bm25;
        ensure!(
            self.teacher == Teacher::Perplexity || knows,
            "teacher is \"evidence\", which only passages that are retrieved for tasks are known to be"
        );
        match &self.objective {
            Objective::Tasks => ensure!(!self.tasks.is_empty(), "tasks is empty: there is nothing to learn"),
            Objective::SpanCorruption(spans) => spans.check()?,
        }
        Ok(())
    }

    /// The learning rate as a function of the step.
    pub fn schedule(&self) -> Schedule {
        Schedule { rate: self.learning_rate, warmup: self.warmup_steps, decay: self.decay, steps: self.steps }
    }

    /// `k` in evaluation.
    pub fn dev_passages(&self) -> usize {
        self.dev_passages.unwrap_or(self.passages).get()
    }

    /// The reader to train, beginning with a T5 of these sizes.
    ///
    /// # Errors
    /// None for sizes that a T5 has.
    pub fn glimmer(&self, config: &Config) -> Result<Glimmer> {
        match (&self.reader, &config.glimmer) {
            (Some(asked), _) => Ok(asked.clone()),
            (None, Some(own)) => Ok(own.clone()),
            (None, None) => Ok(Glimmer::new(Cut::nearest(config.num_layers, 1.0 / 3.0, 0.25)?, 5)),
        }
    }

    /// Refuses to go on with a run that was begun with other settings. How long it runs, and when it is looked at
    /// and saved, may change.
    ///
    /// # Errors
    /// Which settings differ.
    pub fn check_continues(&self, begun: &Self) -> Result<()> {
        const MAY_CHANGE: [&str; 4] = ["steps", "evaluate_every", "save_every", "dev_questions"];
        let (Value::Object(here), Value::Object(there)) = (serde_json::to_value(self)?, serde_json::to_value(begun)?)
        else {
            unreachable!("settings are an object");
        };
        let differs = |(name, value): (&String, &Value)| {
            let (fixed, other) = (!MAY_CHANGE.contains(&name.as_str()), there.get(name).unwrap_or(&Value::Null));
            (fixed && value != other).then(|| format!("{name} (was {other}, is {value})"))
        };
        let differences: Vec<String> = here.iter().filter_map(differs).collect();
        ensure!(
            differences.is_empty(),
            "the run there was begun with another {}: name another folder, or delete that one to begin anew",
            differences.join(", ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::SpanCorruption;

    fn parse(text: &str) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("experiment.json");
        std::fs::write(&path, text).unwrap();
        Settings::read(&path)
    }

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let error = format!("{:#}", parse(text).unwrap_err());
        assert!(error.contains(part) && error.contains("experiment.json"), "{error}");
    }

    #[test]
    fn what_is_left_out_has_a_default_and_all_comes_back() {
        let settings = parse(
            r#"{"knowledge": "k.jsonl", "tasks": [{"train": "nq-train.jsonl"}], "init": {"checkpoint": "t5"},
                "reader": {"live_layers": 4, "rerank_layers": 1, "selected": 5, "temperature": 0.5},
                "optimiser": {"adafactor": {"step_offset": 1000000}}, "decay": "inverse_square_root"}"#,
        )
        .unwrap();
        assert_eq!((settings.batch.get(), settings.passages.get(), settings.dev_passages()), (128, 25, 25));
        assert_eq!(settings.optimiser, Rule::Adafactor { step_offset: 1_000_000 });
        assert_eq!(settings.reader.as_ref().unwrap().temperature, 0.5);
        assert_eq!(parse(&serde_json::to_string(&settings).unwrap()).unwrap(), settings);
        let spans = parse(r#"{"knowledge": "k.jsonl", "objective": {"span_corruption": {"mean_span": 5}}}"#).unwrap();
        assert_eq!(spans.objective, Objective::SpanCorruption(SpanCorruption { noise: 0.15, mean_span: 5.0 }));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |rest: &str| format!(r#"{{"knowledge": "k", "tasks": [{{"train": "nq-train.jsonl"}}], {rest}}}"#);
        refused("{", "describes no experiment");
        refused(r#"{"knowledge": "k"}"#, "tasks is empty");
        refused(r#"{"tasks": [{"train": "t"}]}"#, "knowledge is missing");
        refused(r#"{"tasks": [{"train": "t"}], "tusks": 3}"#, "tusks");
        refused(r#"{"knowledge": "k", "tasks": [{"train": "t", "thin": 1}]}"#, "thin is 1");
        refused(&with(r#""batch": 0"#), "nonzero");
        refused(&with(r#""learning_rate": -1"#), "learning_rate is -1");
        refused(&with(r#""dropout": 1"#), "dropout is 1");
        refused(&with(r#""relevance_threshold": 2"#), "relevance_threshold is 2");
        refused(&with(r#""clip_norm": 0"#), "clip_norm is 0");
        refused(&with(r#""steps": 0"#), "steps is 0");
        refused(&with(r#""gold": "maybe""#), "maybe");
        refused(&with(r#""objective": {"span_corruption": {"noise": 1}}"#), "noise is 1");
        refused(&with(r#""reader": {"live_layers": 4}"#), "rerank_layers");
        refused(&with(r#""teacher": "evidence", "retriever": "given""#), "teacher is");
    }

    #[test]
    fn a_run_goes_on_with_its_own_settings_only() {
        let begun = Settings::default();
        let longer = Settings { steps: 5000, dev_questions: count(7), ..begun.clone() };
        assert!(longer.check_continues(&begun).is_ok());
        let other = Settings { learning_rate: 0.5, seed: 9, ..begun.clone() };
        let error = other.check_continues(&begun).unwrap_err().to_string();
        assert!(error.contains("learning_rate (was 0.0001, is 0.5)") && error.contains("seed"), "{error}");
    }
}
