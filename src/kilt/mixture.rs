//! Which training record comes next.

use anyhow::{Result, bail, ensure};

use crate::random;

/// Uniform task sampling: each draw picks a task uniformly, whatever its size, and then a record uniformly within it, with replacement.
///
/// Draw i of a seed is a pure function of both, so that a run resumed at step i goes on exactly as it would have, and workers need
/// share nothing.
#[derive(Debug, Clone)]
pub struct Mixture {
    sizes: Vec<usize>,
    seed: u64,
}

/// A draw, as positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Which task, in the order given to [`Mixture::new`].
    pub task: usize,
    /// Which record of it.
    pub record: usize,
}

impl Mixture {
    /// A mixture of tasks, each a name (for complaints) and a number of records.
    ///
    /// # Errors
    /// When there is no task, or one without records.
    pub fn new(tasks: &[(&str, usize)], seed: u64) -> Result<Self> {
        ensure!(!tasks.is_empty(), "no task to sample from");
        if let Some((name, _)) = tasks.iter().find(|(_, records)| *records == 0) {
            bail!("the task {name:?} has no record to sample (did a filter drop them all?)");
        }
        Ok(Self { sizes: tasks.iter().map(|(_, records)| *records).collect(), seed })
    }

    /// Draw number `step`, from 0.
    pub fn sample(&self, step: u64) -> Sample {
        let task = random::below(self.seed, 0, step, self.sizes.len());
        let record = random::below(self.seed, 1, step, self.sizes[task]);
        Sample { task, record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(tasks: &[(&str, usize)], seed: u64, count: u64) -> Vec<Sample> {
        let mixture = Mixture::new(tasks, seed).unwrap();
        (0..count).map(|step| mixture.sample(step)).collect()
    }

    #[test]
    fn tasks_and_records_are_uniform() {
        let samples = draws(&[("small", 2), ("large", 500), ("one", 1)], 42, 60_000);
        let count = |want: &dyn Fn(&Sample) -> bool| samples.iter().filter(|s| want(s)).count() as f64;
        // A count of n draws of probability p has deviation √(n p (1 - p)); five of them leave one failure in a million.
        let near = |count: f64, p: f64| (count - 60_000.0 * p).abs() <= 5.0 * (60_000.0 * p * (1.0 - p)).sqrt();
        for task in 0..3 {
            assert!(near(count(&|s| s.task == task), 1.0 / 3.0), "task {task}");
        }
        assert!(near(count(&|s| s.task == 0 && s.record == 1), 1.0 / 6.0));
        assert!(near(count(&|s| s.task == 1 && s.record < 250), 1.0 / 6.0));
        assert!(samples.iter().all(|s| s.record < [2, 500, 1][s.task]));
    }

    #[test]
    fn a_draw_depends_on_seed_and_step_alone() {
        let tasks = [("a", 1000), ("b", 1000)];
        let mixture = Mixture::new(&tasks, 7).unwrap();
        let forward = draws(&tasks, 7, 100);
        let backward: Vec<Sample> = (0..100).rev().map(|step| mixture.sample(step)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        // Another seed gives another sequence, not this one shifted: 100 draws of 2000 outcomes agree about 0.05 times by chance.
        let other = draws(&tasks, 8, 200);
        for shift in 0..100 {
            let agree = forward.iter().zip(&other[shift..]).filter(|(a, b)| a == b);
            assert!(agree.count() < 5);
        }
        mixture.sample(u64::MAX);
    }

    #[test]
    fn an_empty_mixture_is_refused() {
        assert!(Mixture::new(&[], 0).is_err());
        let error = Mixture::new(&[("nq", 3), ("fever", 0)], 0).unwrap_err();
        assert!(error.to_string().contains("fever"));
    }
}
