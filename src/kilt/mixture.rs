//! Which training record comes next.

use anyhow::{Result, bail, ensure};

/// Uniform task sampling: each draw picks a task uniformly, whatever its size, and then a record uniformly within it, with replacement.
///
/// Draw i of a seed is a pure function of both, so that a run resumed at step i goes on exactly as it would have, and workers need
/// share nothing.
#[derive(Debug, Clone)]
pub struct Mixture {
    sizes: Vec<u64>,
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
        Ok(Self {
            sizes: tasks.iter().map(|(_, records)| *records as u64).collect(),
            seed,
        })
    }

    /// Draw number `step`, from 0.
    pub fn sample(&self, step: u64) -> Sample {
        let task = below(self.bits(step, 0), self.sizes.len() as u64) as usize;
        let record = below(self.bits(step, 1), self.sizes[task]) as usize;
        Sample { task, record }
    }

    /// 64 random bits for (seed, step, which of the step's two draws): SplitMix64's finaliser over its own counter, the seed hashed
    /// first so that neighbouring seeds do not give shifted sequences.
    fn bits(&self, step: u64, draw: u64) -> u64 {
        let counter = step.wrapping_mul(2).wrapping_add(draw);
        split_mix(split_mix(self.seed).wrapping_add(counter.wrapping_mul(GOLDEN_GAMMA)))
    }
}

/// 2⁶⁴ / φ, odd: SplitMix64's step.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output for a state (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(GOLDEN_GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below n from 64 random bits: the high half of their product. Its bias, n / 2⁶⁴, is beyond notice.
fn below(bits: u64, n: u64) -> u64 {
    ((u128::from(bits) * u128::from(n)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(tasks: &[(&str, usize)], seed: u64, count: u64) -> Vec<Sample> {
        let mixture = Mixture::new(tasks, seed).unwrap();
        (0..count).map(|step| mixture.sample(step)).collect()
    }

    #[test]
    fn the_generator_is_split_mix() {
        // The published sequence for seed 0 begins so; its states are 0, γ, 2γ.
        assert_eq!(split_mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(split_mix(GOLDEN_GAMMA), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(
            split_mix(GOLDEN_GAMMA.wrapping_mul(2)),
            0x06c4_5d18_8009_454f
        );
        assert_eq!(
            (below(u64::MAX, 7), below(0, 7), below(1 << 63, 7)),
            (6, 0, 3)
        );
    }

    #[test]
    fn tasks_and_records_are_uniform() {
        let samples = draws(&[("small", 2), ("large", 500), ("one", 1)], 42, 60_000);
        let count =
            |want: &dyn Fn(&Sample) -> bool| samples.iter().filter(|s| want(s)).count() as f64;
        // A count of n draws of probability p has deviation √(n p (1 - p)); five of them leave one failure in a million.
        let near = |count: f64, p: f64| {
            (count - 60_000.0 * p).abs() <= 5.0 * (60_000.0 * p * (1.0 - p)).sqrt()
        };
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
