//! How large a step is, step by step.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// What the learning rate does after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// It falls as one over the square root of the step, from the end of the warm-up on.
    InverseSquareRoot,
    /// It falls on a straight line that ends at 0 behind the last step.
    Linear,
}

/// The learning rate as a function of the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub rate: f64,
    /// Steps in which it rises on a straight line from 0.
    pub warmup: u64,
    /// What comes then.
    pub decay: Decay,
    /// Steps in all.
    pub steps: u64,
}

impl Schedule {
    /// The rate of step number `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let (done, warmup) = ((step + 1) as f64, self.warmup as f64);
        if step < self.warmup {
            return self.rate * done / warmup;
        }
        match self.decay {
            Decay::Constant => self.rate,
            Decay::InverseSquareRoot => self.rate * (warmup.max(1.0) / done).sqrt(),
            Decay::Linear => {
                let left = self.steps.saturating_sub(step) as f64;
                self.rate * left / (self.steps.saturating_sub(self.warmup).max(1) as f64)
            }
        }
    }

    /// Refuses rates that no training has.
    ///
    /// # Errors
    /// Which, and what it may be.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.rate.is_finite() && self.rate > 0.0,
            "learning_rate is {}; it is a positive number, such as 1e-4 for fine-tuning",
            self.rate
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall() {
        let schedule = |decay| Schedule { rate: 1.0, warmup: 4, decay, steps: 12 };
        let rates = |decay| -> Vec<f64> { [0, 1, 3, 4, 8, 11, 15].map(|step| schedule(decay).rate(step)).into() };
        assert_eq!(rates(Decay::Constant), [0.25, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(rates(Decay::InverseSquareRoot)[3], (4.0f64 / 5.0).sqrt());
        assert_eq!(rates(Decay::InverseSquareRoot)[6], 0.5);
        assert_eq!(rates(Decay::Linear), [0.25, 0.5, 1.0, 1.0, 0.5, 0.125, 0.0]);
        let flat = Schedule { warmup: 0, ..schedule(Decay::Constant) };
        assert_eq!(flat.rate(0), 1.0);
        assert!(Schedule { rate: 0.0, ..flat }.check().unwrap_err().to_string().contains("learning_rate is 0"));
    }
}
