//! Random numbers without state: each is a function of a seed, a stream and a counter, so that any thread, and any
//! machine, draws the same ones in any order.

/// 64 random bits: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) over the three, one by one.
pub fn bits(seed: u64, stream: u64, counter: u64) -> u64 {
    Stream::new(seed, stream).bits(counter)
}

/// One stream of [`bits`], its seed and number already mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(u64);

impl Stream {
    /// Stream number `stream` of a seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(split_mix(split_mix(seed) ^ stream))
    }

    /// What [`bits`](Self::bits) mixes with the counter.
    pub fn state(&self) -> u64 {
        self.0
    }

    /// 64 random bits.
    #[inline(always)]
    pub fn bits(&self, counter: u64) -> u64 {
        split_mix(self.0 ^ counter)
    }
}

/// SplitMix64's output for a state.
#[inline(always)]
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(GOLDEN_GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// 2⁶⁴ / φ, odd: SplitMix64's step.
const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Uniform in `[0, 1)`.
pub fn uniform(seed: u64, stream: u64, counter: u64) -> f64 {
    unit(bits(seed, stream, counter))
}

/// 64 random bits as a number in `[0, 1)`.
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Uniform in `0..bound`; `bound` is at least 1 and far below 2⁶⁴.
pub fn below(seed: u64, stream: u64, counter: u64, bound: usize) -> usize {
    within(bits(seed, stream, counter), bound)
}

/// 64 random bits as a number in `0..bound`.
pub fn within(bits: u64, bound: usize) -> usize {
    ((u128::from(bits) * bound as u128) >> 64) as usize
}

/// Normally distributed with mean 0 and deviation 1 (Box and Muller, 1958).
pub fn normal(seed: u64, stream: u64, counter: u64) -> f64 {
    let (u, v) = (uniform(seed, stream, 2 * counter), uniform(seed, stream, 2 * counter + 1));
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_split_mix() {
        // The published sequence for seed 0 begins so; its states are 0, γ, 2γ.
        assert_eq!(split_mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(split_mix(GOLDEN_GAMMA), 0x6E78_9E6A_A1B9_65F4);
        assert_eq!(split_mix(GOLDEN_GAMMA.wrapping_mul(2)), 0x06C4_5D18_8009_454F);
    }

    #[test]
    fn moments_are_those_of_a_normal_distribution() {
        let n = 200_000;
        let draws: Vec<f64> = (0..n).map(|i| normal(7, 3, i)).collect();
        let moment = |p: i32| draws.iter().map(|x| x.powi(p)).sum::<f64>() / n as f64;
        for (p, expected, bound) in [(1, 0.0, 0.01), (2, 1.0, 0.02), (3, 0.0, 0.05), (4, 3.0, 0.1)] {
            assert!((moment(p) - expected).abs() <= bound, "moment {p}: {}", moment(p));
        }
    }

    #[test]
    fn bounded_draws_cover_their_range_evenly() {
        let mut seen = [0; 7];
        (0..70_000).for_each(|i| seen[below(1, 2, i, 7)] += 1);
        assert!(seen.iter().all(|&count| (9_500..10_500).contains(&count)), "{seen:?}");
    }

    #[test]
    fn seeds_and_streams_differ() {
        let first: Vec<u64> = (0..4).map(|i| bits(1, 0, i)).collect();
        assert_ne!(first, (0..4).map(|i| bits(2, 0, i)).collect::<Vec<_>>());
        assert_ne!(first, (0..4).map(|i| bits(1, 1, i)).collect::<Vec<_>>());
    }
}
