//! Dropout whose mask is a function of a seed and a place, so that any machine, on any number of threads, draws
//! the same one, and the backward pass draws it again instead of keeping it.

use crate::random::Stream;

/// A dropout mask over the elements of a matrix, or over the weights of an attention.
///
/// Column `c` of row `r` is kept if 16 bits of it, bits `16·(c mod 4) ..` of word `r·2³² + c/4` of the random
/// stream, as a number, are at least [`threshold`](Self::threshold). What is kept is multiplied by
/// [`scale`](Self::scale), so that the expectation stays. Rows of an attention's weights are `i·h + j` for head `j`
/// of query row `i`, columns the keys of the segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Of 65,536, how many elements are dropped.
    pub threshold: u16,
    /// Where the random words come from.
    pub stream: Stream,
}

impl Dropout {
    /// A mask that drops elements with probability `rate`, to the nearest 65,536th, or none where that is 0.
    pub fn new(rate: f64, stream: Stream) -> Option<Self> {
        let threshold = (rate * 65_536.0).round().clamp(0.0, 65_535.0) as u16;
        (threshold > 0).then_some(Self { threshold, stream })
    }

    /// What the kept elements are multiplied by: one over the probability to be kept.
    pub fn scale(&self) -> f64 {
        65_536.0 / (65_536.0 - f64::from(self.threshold))
    }

    /// The random word of the columns `4·quad .. 4·quad + 4` of a row, 16 bits for each.
    #[inline(always)]
    pub fn word(&self, row: u64, quad: u64) -> u64 {
        self.stream.bits(row << 32 | quad)
    }

    /// Which of the columns `4·quad .. 4·quad + 4` of a row are kept.
    #[inline(always)]
    pub fn kept(&self, row: u64, quad: u64) -> [bool; 4] {
        let word = self.word(row, quad);
        std::array::from_fn(|lane| (word >> (16 * lane)) as u16 >= self.threshold)
    }
}

/// The masks of one pass through a model, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    rate: f64,
    seed: u64,
    drawn: u64,
}

impl Noise {
    /// Masks of this rate. Passes with different seeds have unrelated masks.
    pub fn new(rate: f64, seed: u64) -> Self {
        Self { rate, seed, drawn: 0 }
    }

    /// No masks.
    pub fn none() -> Self {
        Self::new(0.0, 0)
    }

    /// The next mask. A copy of this value, made before, gives the same one again.
    pub fn draw(&mut self) -> Option<Dropout> {
        self.drawn += 1;
        Dropout::new(self.rate, Stream::new(self.seed, self.drawn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_rows_and_masks_differ() {
        let mut noise = Noise::new(0.1, 7);
        let masks = [noise.draw().unwrap(), noise.draw().unwrap()];
        let draws = |mask: &Dropout, row| -> Vec<bool> { (0..25_000).flat_map(|quad| mask.kept(row, quad)).collect() };
        let kept = draws(&masks[0], 0);
        // 100,000 draws of probability 0.9 deviate by 95.
        let count = kept.iter().filter(|&&kept| kept).count();
        assert!(count.abs_diff(90_000) <= 500, "{count} of 100,000 kept");
        assert!((masks[0].scale() * 0.9 - 1.0).abs() <= 1e-5);
        for other in [draws(&masks[0], 1), draws(&masks[1], 0)] {
            let agree = kept.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(agree.abs_diff(82_000) <= 700, "{agree} of 100,000 agree");
        }
    }

    #[test]
    fn a_copy_draws_the_same_again_and_no_rate_draws_none() {
        let mut noise = Noise::new(0.3, 7);
        noise.draw();
        let mut copy = noise;
        assert_eq!(noise.draw(), copy.draw());
        assert_eq!(Noise::none().draw(), None);
    }
}
