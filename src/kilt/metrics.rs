//! How good one answer is.

use std::collections::HashMap;

use serde::Serialize;

use super::normalise::{normalise, strip};
use super::rouge::rouge_l;
use super::task::Metric;

/// Whether the guess is the gold answer letter for letter, outer whitespace aside: no normalisation, case counts.
pub fn accuracy(guess: &str, gold: &str) -> bool {
    strip(guess) == strip(gold)
}

/// Whether both have the same [`normalise`]d form.
pub fn exact_match(guess: &str, gold: &str) -> bool {
    normalise(guess) == normalise(gold)
}

/// Harmonic mean of precision and recall over the words of the [`normalise`]d forms, counted with repetition; 0 if none is shared.
pub fn f1(guess: &str, gold: &str) -> f64 {
    let (guess, gold) = (normalise(guess), normalise(gold));
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in words(&gold) {
        *left.entry(word).or_default() += 1;
    }
    let mut shared = 0;
    for word in words(&guess) {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    if shared == 0 {
        return 0.0;
    }
    let precision = f64::from(shared) / words(&guess).count() as f64;
    let recall = f64::from(shared) / words(&gold).count() as f64;
    (2.0 * precision * recall) / (precision + recall)
}

fn words(normal: &str) -> impl Iterator<Item = &str> {
    normal.split(' ').filter(|word| !word.is_empty())
}

/// The four answer metrics, of one guess or averaged over records. Each is in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct AnswerScores {
    /// See [`accuracy`].
    pub accuracy: f64,
    /// See [`exact_match`].
    pub exact_match: f64,
    /// See [`f1`].
    pub f1: f64,
    /// See [`rouge_l`].
    pub rouge_l: f64,
}

impl AnswerScores {
    /// The one that a task is judged by.
    pub fn headline(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Accuracy => self.accuracy,
            Metric::ExactMatch => self.exact_match,
        }
    }

    /// A guess against all gold answers of its record: of each metric the highest. An empty guess scores 0, and so does every guess
    /// where there is no gold answer.
    pub fn of(guess: &str, golds: &[&str]) -> Self {
        let guess = strip(guess);
        if guess.is_empty() {
            return Self::default();
        }
        golds.iter().fold(Self::default(), |best, gold| Self {
            accuracy: best.accuracy.max(unit(accuracy(guess, gold))),
            exact_match: best.exact_match.max(unit(exact_match(guess, gold))),
            f1: best.f1.max(f1(guess, gold)),
            rouge_l: best.rouge_l.max(rouge_l(guess, gold)),
        })
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.accuracy += other.accuracy;
        self.exact_match += other.exact_match;
        self.f1 += other.f1;
        self.rouge_l += other.rouge_l;
    }

    pub(crate) fn divided_by(self, records: usize) -> Self {
        let n = records as f64;
        Self {
            accuracy: self.accuracy / n,
            exact_match: self.exact_match / n,
            f1: self.f1 / n,
            rouge_l: self.rouge_l / n,
        }
    }
}

fn unit(hit: bool) -> f64 {
    f64::from(u8::from(hit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accuracy_is_to_the_letter() {
        assert!(accuracy(" SUPPORTS\n", "SUPPORTS"));
        assert!(!accuracy("supports", "SUPPORTS"));
        assert!(!accuracy("the Moon", "Moon"));
    }

    #[test]
    fn exact_match_is_normalised() {
        assert!(exact_match("The  Moon.", "moon"));
        assert!(!exact_match("moons", "moon"));
        // Both are nothing but an article.
        assert!(exact_match("the", "a"));
    }

    #[test]
    fn f1_counts_words_with_repetition() {
        // {new, york, city} and {york, city, hall}: 2 of 3 and 2 of 3.
        assert_eq!(f1("New York City", "the York City Hall"), 2.0 / 3.0);
        // {ha ×3} and {ha ×2}: two shared; p = 2/3, r = 1: 2 · (2/3) / (5/3) = 4/5.
        assert!((f1("ha ha ha", "ha ha") - 0.8).abs() < 1e-15);
        // The hyphen leaves {haha, ha ×2}: two of three shared on either side.
        assert!((f1("ha ha ha", "Ha-ha... ha ha") - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(f1("elm", "oak"), 0.0);
        assert_eq!(f1("the", "a"), 0.0);
        assert_eq!(f1("", ""), 0.0);
    }

    #[test]
    fn the_best_gold_answer_counts_for_each_metric() {
        // Exact match comes from the alias, accuracy from neither; ROUGE-L sees "red oak" against "Red Oak": no word, and against
        // "red oak tree": p = 1, r = 2/3 → 4/3 / (5/3 + 1e-8).
        let scores = AnswerScores::of(" red oak ", &["Red Oak", "red oak tree"]);
        assert_eq!((scores.accuracy, scores.exact_match, scores.f1), (0.0, 1.0, 1.0));
        assert!((scores.rouge_l - (4.0 / 3.0) / (5.0 / 3.0 + 1e-8)).abs() < 1e-15);
        assert_eq!(AnswerScores::of("  ", &["a"]), AnswerScores::default());
        assert_eq!(AnswerScores::of("oak", &[]), AnswerScores::default());
    }

    proptest! {
        #[test]
        fn f1_is_symmetric_bounded_and_full_for_a_match(a in "[a-c .,A-C]{0,12}", b in "[a-c .,A-C]{0,12}") {
            let score = f1(&a, &b);
            prop_assert!((score - f1(&b, &a)).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&score));
            if exact_match(&a, &b) && !normalise(&a).is_empty() {
                prop_assert_eq!(score, 1.0);
            }
        }
    }
}
