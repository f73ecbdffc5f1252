//! T5's relative-position bias.

use super::{Backend, Mat};

/// Over which keys a row of T5's self-attention reaches, and so how distances fall into buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// All keys of the segment: the encoder.
    Both,
    /// Keys up to the row's own position: the decoder.
    Past,
}

/// T5's relative-position bias: `table[bucket(key − query), head]` is added to the attention logits.
pub struct Bias<'a, B: Backend> {
    /// `[buckets, h]`.
    pub table: &'a Mat<B>,
    /// The bucketing, and the mask that goes with it.
    pub direction: Direction,
    /// Distances from here on share the last bucket.
    pub max_distance: usize,
}

impl<B: Backend> Clone for Bias<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Bias<'_, B> {}

/// The bucket of a relative position `key − query`: exact while near, logarithmic farther off
/// (T5, section 2.1; in the arithmetic of Hugging Face's `_relative_position_bucket`).
pub fn relative_bucket(relative: i64, buckets: usize, max_distance: usize, direction: Direction) -> usize {
    let (base, buckets, distance) = match direction {
        Direction::Both => {
            let half = buckets / 2;
            (if relative > 0 { half } else { 0 }, half, relative.unsigned_abs() as usize)
        }
        Direction::Past => (0, buckets, (-relative).max(0) as usize),
    };
    let exact = buckets / 2;
    if distance < exact {
        return base + distance;
    }
    let octaves = (distance as f64 / exact as f64).ln() / (max_distance as f64 / exact as f64).ln();
    // The smallest distance of a bucket can fall a rounding error below it.
    let far = exact + (octaves * (buckets - exact) as f64 + 1e-9) as usize;
    base + far.min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First distance of each bucket from the exact part's end on, from the published tables of T5.
    const BOTH: [(i64, usize); 8] = [(8, 8), (12, 9), (16, 10), (23, 11), (32, 12), (46, 13), (64, 14), (91, 15)];
    const PAST: [(i64, usize); 16] = [
        (16, 16),
        (19, 17),
        (21, 18),
        (24, 19),
        (27, 20),
        (31, 21),
        (35, 22),
        (40, 23),
        (46, 24),
        (52, 25),
        (59, 26),
        (67, 27),
        (77, 28),
        (87, 29),
        (99, 30),
        (113, 31),
    ];

    fn expected(distance: i64, exact: i64, far: &[(i64, usize)]) -> usize {
        if distance < exact {
            return distance as usize;
        }
        far.iter().rev().find(|(first, _)| distance >= *first).unwrap().1
    }

    #[test]
    fn buckets_are_those_of_t5() {
        for distance in 0..=1000 {
            let near = expected(distance, 8, &BOTH);
            assert_eq!(relative_bucket(-distance, 32, 128, Direction::Both), near, "{distance} back");
            let ahead = if distance > 0 { near + 16 } else { near };
            assert_eq!(relative_bucket(distance, 32, 128, Direction::Both), ahead, "{distance} ahead");
            assert_eq!(relative_bucket(-distance, 32, 128, Direction::Past), expected(distance, 16, &PAST));
            assert_eq!(relative_bucket(distance, 32, 128, Direction::Past), 0, "the future is masked, and bucket 0");
        }
    }
}
