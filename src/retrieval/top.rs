//! The best k hits of a stream.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::Hit;

/// Keeps the k best hits of those pushed, whatever the order in which they come. Scores must not be NaN.
pub(super) struct Top {
    k: usize,
    kept: BinaryHeap<Ranked>,
}

/// Ordered so that the worst of the kept hits is the heap's greatest.
struct Ranked(Hit);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = other.0.score.partial_cmp(&self.0.score);
        by_score.unwrap_or(Ordering::Equal).then(self.0.passage.cmp(&other.0.passage))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

impl Top {
    /// Nothing is reserved for the k hits: k may be far above what there is to keep.
    pub fn new(k: usize) -> Self {
        Self { k, kept: BinaryHeap::new() }
    }

    /// The score below which nothing is kept any more; an equal score is kept only for an earlier passage.
    pub fn floor(&self) -> f32 {
        match self.kept.peek() {
            _ if self.k == 0 => f32::INFINITY,
            Some(worst) if self.kept.len() == self.k => worst.0.score,
            _ => f32::NEG_INFINITY,
        }
    }

    pub fn push(&mut self, hit: Hit) {
        let hit = Ranked(hit);
        if self.kept.len() < self.k {
            self.kept.push(hit);
            return;
        }
        if let Some(mut worst) = self.kept.peek_mut()
            && hit < *worst
        {
            *worst = hit;
        }
    }

    pub fn merge(mut self, other: Self) -> Self {
        other.kept.into_iter().for_each(|Ranked(hit)| self.push(hit));
        self
    }

    /// Best first.
    pub fn into_hits(self) -> Vec<Hit> {
        let sorted = self.kept.into_sorted_vec();
        sorted.into_iter().map(|Ranked(hit)| hit).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_sorting_everything(
            scores in prop::collection::vec(-3i8..3, 0..40),
            k in 0usize..50,
            cut in 0usize..40,
        ) {
            let hits: Vec<Hit> = scores
                .iter()
                .enumerate()
                .map(|(i, s)| Hit { passage: i as u32, score: f32::from(*s) })
                .collect();
            let mut expected = hits.clone();
            expected.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.passage.cmp(&b.passage)));
            expected.truncate(k);

            let (mut late, mut early) = (Top::new(k), Top::new(k));
            for hit in &hits {
                let half = if (hit.passage as usize) < cut { &mut early } else { &mut late };
                half.push(*hit);
            }
            prop_assert_eq!(late.merge(early).into_hits(), expected);
        }
    }

    #[test]
    fn the_floor_rises_once_full() {
        let mut top = Top::new(2);
        let hit = |passage, score| Hit { passage, score };
        top.push(hit(0, 1.0));
        assert_eq!(top.floor(), f32::NEG_INFINITY);
        top.push(hit(1, 3.0));
        assert_eq!(top.floor(), 1.0);
        top.push(hit(2, 2.0));
        assert_eq!(top.floor(), 2.0);
        assert_eq!(Top::new(0).floor(), f32::INFINITY);
    }
}
