//! The log: a line of JSON for some steps together, and one for each evaluation.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evaluate::Evaluation;
use super::state::State;
use crate::io::write_atomic;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// An evaluation.
    Evaluated {
        /// Steps done before it.
        step: u64,
        /// What came of it.
        evaluation: Evaluation,
        /// Whether none was better before.
        best: bool,
        /// Since the beginning.
        seconds: f64,
    },
    /// Some steps together.
    Trained {
        /// The last one of them, counted from 1.
        step: u64,
        /// Mean over the target tokens.
        lm_loss: f64,
        /// Mean over the questions; none where nothing is distilled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        distill_loss: Option<f64>,
        /// Of the last step.
        learning_rate: f64,
        /// Of the last step's gradient, where it is clipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f64>,
        /// Questions a second.
        examples_per_second: f64,
        /// Tokens through the live encoder a second.
        tokens_per_second: f64,
        /// Since the beginning.
        seconds: f64,
    },
}

/// The file.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log of a run that is where `state` says. What a killed run wrote beyond that is cut off: it will be
    /// written again.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, state: &State) -> Result<Self> {
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let kept: String = text.lines().filter(|line| belongs(line, state)).flat_map(|line| [line, "\n"]).collect();
        if kept != text || !path.exists() {
            write_atomic(path, |file| Ok(file.write_all(kept.as_bytes())?))?;
        }
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self { path: path.to_path_buf(), file: file.with_context(|| format!("cannot open {}", path.display()))? })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn add(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reads a log.
///
/// # Errors
/// A file that cannot be read, and a line that is none of a log, with its number.
pub fn read_log(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(number, line)| {
        serde_json::from_str(line).with_context(|| format!("{}:{number}: no line of a log", path.display()))
    };
    (1..).zip(text.lines()).map(parse).collect()
}

/// Whether a line is of the part of the run that led to `state`.
fn belongs(line: &str, state: &State) -> bool {
    let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
    let end = if line.get("evaluation").is_some() { state.evaluated } else { state.step };
    line["step"].as_u64().is_some_and(|step| step <= end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained(step: u64) -> Line {
        let (lm_loss, learning_rate, seconds) = (2.5, 1e-4, 0.5);
        let (examples_per_second, tokens_per_second) = (8.0, 9000.0);
        Line::Trained {
            step,
            lm_loss,
            distill_loss: None,
            learning_rate,
            gradient_norm: None,
            examples_per_second,
            tokens_per_second,
            seconds,
        }
    }

    fn evaluated(step: u64) -> Line {
        let evaluation = Evaluation { score: 0.25, ..Evaluation::default() };
        Line::Evaluated { step, evaluation, best: true, seconds: 1.0 }
    }

    #[test]
    fn what_a_killed_run_wrote_beyond_its_state_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = Log::open(&path, &State::default()).unwrap();
        for line in [trained(10), trained(20), evaluated(20), trained(30), evaluated(40)] {
            log.add(&line).unwrap();
        }
        log.file.write_all(b"{\"step\": 5").unwrap();
        let state = State { step: 30, evaluated: 20, ..State::default() };
        Log::open(&path, &state).unwrap().add(&trained(40)).unwrap();
        assert_eq!(read_log(&path).unwrap(), [trained(10), trained(20), evaluated(20), trained(30), trained(40)]);
        Log::open(&path, &State { step: 20, ..State::default() }).unwrap();
        assert_eq!(read_log(&path).unwrap(), [trained(10), trained(20)]);
        std::fs::write(&path, "{}\nnonsense\n").unwrap();
        assert!(format!("{:#}", read_log(&path).unwrap_err()).contains("log.jsonl:1"));
    }
}
