//! Where a run is, besides its weights.

use serde::{Deserialize, Serialize};

use crate::train::Losses;

/// Where a run is, besides its weights and its optimiser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// The step of the latest evaluation.
    pub evaluated: u64,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// What was done since the latest line of the log.
    pub window: Window,
    /// Seconds since the beginning, over all parts of the run.
    pub seconds: f64,
}

/// An evaluation that none surpasses so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// When.
    pub step: u64,
    /// Its score.
    #[serde(with = "digits")]
    pub score: f64,
}

/// Sums over some steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Of the target tokens' losses.
    #[serde(with = "digits")]
    pub lm: f64,
    /// Target tokens.
    pub targets: usize,
    /// Of the questions' divergences.
    #[serde(with = "digits")]
    pub distill: f64,
    /// Questions.
    pub questions: usize,
    /// Tokens that passed through the live encoder.
    pub tokens: usize,
    /// Seconds in these steps.
    pub seconds: f64,
}

impl Window {
    /// Adds a step.
    pub fn add(&mut self, losses: &Losses, tokens: usize, seconds: f64) {
        self.lm += losses.lm;
        self.targets += losses.tokens;
        self.distill += losses.distill;
        self.questions += losses.questions;
        self.tokens += tokens;
        self.seconds += seconds;
    }

    /// The mean loss of a target token.
    pub fn lm_loss(&self) -> f64 {
        self.lm / self.targets.max(1) as f64
    }

    /// The mean divergence of a question.
    pub fn distill_loss(&self) -> f64 {
        self.distill / self.questions.max(1) as f64
    }

    /// So many a second.
    pub fn rate(&self, count: usize) -> f64 {
        count as f64 / self.seconds.max(1e-9)
    }
}

/// Numbers as the shortest digits that mean them: a JSON reader may round the last bit of a number away.
mod digits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom(format!("{text:?} is no number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_comes_back() {
        for i in 0..2000 {
            let number = f64::from_bits(crate::random::bits(1, 2, i));
            let state = State {
                best: Some(Best { step: 3, score: number }),
                window: Window { lm: 0.1 + i as f64, ..Window::default() },
                ..State::default()
            };
            let back: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            assert_eq!(back.window, state.window);
            let score = back.best.unwrap().score;
            assert!(score.to_bits() == number.to_bits() || score.is_nan() && number.is_nan());
        }
    }
}
