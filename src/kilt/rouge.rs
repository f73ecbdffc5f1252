//! ROUGE-L as the benchmark computes it.

use std::collections::HashSet;

/// ROUGE-L between a guess and a gold answer: the `f` of Python's `rouge` 1.0.1, which KILT's scorer calls on the bare texts.
///
/// That package's ways are part of the score: a text is cut into sentences at every `.`, whitespace collapsed; words are counted
/// once each; the words of one longest common subsequence of each (gold sentence, guess sentence) are united, and
/// `f = 2 p r / (p + r + 10⁻⁸)`, so that a perfect guess has .999999995. A text of nothing but full stops scores 0.
pub fn rouge_l(guess: &str, gold: &str) -> f64 {
    let (guess, gold) = (sentences(guess), sentences(gold));
    if guess.is_empty() || gold.is_empty() {
        return 0.0;
    }
    let mut shared = HashSet::new();
    for gold_words in &gold {
        for guess_words in &guess {
            shared.extend(common_words(gold_words, guess_words));
        }
    }
    let precision = shared.len() as f64 / distinct_words(&guess) as f64;
    let recall = shared.len() as f64 / distinct_words(&gold) as f64;
    2.0 * (precision * recall / (precision + recall + 1e-8))
}

/// Each piece between full stops that has a character at all; one of whitespace alone is a sentence of one empty word.
fn sentences(text: &str) -> Vec<Vec<&str>> {
    let pieces = text.split('.').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let words = piece.split(super::normalise::is_space);
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            if words.is_empty() { vec![""] } else { words }
        })
        .collect()
}

fn distinct_words(sentences: &[Vec<&str>]) -> usize {
    sentences.iter().flatten().collect::<HashSet<_>>().len()
}

/// The words of one longest common subsequence. Where several are longest, the one found from the end by preferring to drop a gold
/// word only if that keeps more than dropping a guess word: which one it is shows in the union.
fn common_words<'a>(gold: &[&'a str], guess: &[&str]) -> Vec<&'a str> {
    let width = guess.len() + 1;
    let mut longest = vec![0u32; (gold.len() + 1) * width];
    for (i, word) in gold.iter().enumerate() {
        for (j, other) in guess.iter().enumerate() {
            longest[(i + 1) * width + j + 1] = if word == other {
                longest[i * width + j] + 1
            } else {
                longest[i * width + j + 1].max(longest[(i + 1) * width + j])
            };
        }
    }
    let mut common = Vec::new();
    let (mut i, mut j) = (gold.len(), guess.len());
    while i > 0 && j > 0 {
        if gold[i - 1] == guess[j - 1] {
            common.push(gold[i - 1]);
            (i, j) = (i - 1, j - 1);
        } else if longest[(i - 1) * width + j] > longest[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `2 p r / (p + r + 1e-8)`.
    fn f(precision: f64, recall: f64) -> f64 {
        2.0 * (precision * recall / (precision + recall + 1e-8))
    }

    #[test]
    fn a_subsequence_counts_in_order() {
        // One word of one, one of one: 2 · 1 / (2 + 1e-8).
        assert_eq!(rouge_l("oak", "oak"), f(1.0, 1.0));
        assert!((rouge_l("oak", "oak") - 0.999_999_995).abs() < 1e-15);
        // "oak" of "an oak": p = 1/2, r = 1.
        assert_eq!(rouge_l("an oak", "oak"), f(0.5, 1.0));
        // Longest in order: "red oak" or "red tree"; two of three, two of three.
        assert_eq!(rouge_l("red oak tree", "red tree oak"), f(2.0 / 3.0, 2.0 / 3.0));
        assert_eq!(rouge_l("elm", "oak"), 0.0);
        // Case and commas are part of a word.
        assert_eq!(rouge_l("Oak", "oak"), 0.0);
        assert_eq!(rouge_l("oak,", "oak"), 0.0);
    }

    #[test]
    fn words_count_once() {
        // Guess words {go}, gold words {go, now}: p = 1/1, r = 1/2.
        assert_eq!(rouge_l("go go go", "go go now"), f(1.0, 0.5));
    }

    #[test]
    fn sentences_are_matched_one_by_one_and_united() {
        // Gold sentences `a b` and `c d`; guess sentences `c a` and `b d`.
        // `a b` shares a with `c a` and b with `b d`; `c d` shares c and d: the union is all four of four words.
        assert_eq!(rouge_l("c a. b d", "a b. c d."), f(1.0, 1.0));
        // As one sentence, `c a b d` has only `a b` or `c d` ... and d: the longest of `a b c d` is a b d, three of four.
        assert_eq!(rouge_l("c a b d", "a b c d"), f(0.75, 0.75));
    }

    #[test]
    fn of_two_longest_subsequences_the_same_one_is_taken_each_time() {
        // `x y` against `y x`: from the end, y ≠ x and dropping either keeps one, so that the guess word x is dropped: y is shared.
        // Against the second guess sentence `x`, x is shared: the union is both words. Guess words {y, x}, gold words {x, y}.
        assert_eq!(rouge_l("y x. x", "x y"), f(1.0, 1.0));
        // With `y` as the second sentence nothing is added to y: one of two, one of two.
        assert_eq!(rouge_l("y x. y", "x y"), f(0.5, 0.5));
    }

    #[test]
    fn full_stops_alone_score_nothing() {
        assert_eq!(rouge_l("...", "oak"), 0.0);
        assert_eq!(rouge_l("oak", "."), 0.0);
        assert_eq!(rouge_l("", "oak"), 0.0);
        // The whitespace between two full stops is a sentence of one empty word: guess words {oak, ""}, p = 1/2.
        assert_eq!(rouge_l("oak. .", "oak"), f(0.5, 1.0));
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_highest_for_the_same_text(a in "([abc][ .]){0,8}", b in "([abc][ .]){0,8}") {
            let score = rouge_l(&a, &b);
            prop_assert!((0.0..1.0).contains(&score));
            prop_assert!(score <= rouge_l(&b, &b).max(rouge_l(&a, &a)) + 1e-12);
        }
    }
}
