//! Questions of fewer words.

use std::borrow::Cow;

use crate::random::{Stream, unit, within};

/// The question without about `share` of its words, as the stream draws them. One is left at the least.
pub fn thinned(question: &str, share: f64, stream: Stream) -> Cow<'_, str> {
    let words: Vec<&str> = question.split_whitespace().collect();
    if share == 0.0 || words.is_empty() {
        return Cow::Borrowed(question);
    }
    let drawn = |place: &usize| unit(stream.bits(*place as u64)) >= share;
    let mut left: Vec<usize> = (0..words.len()).filter(drawn).collect();
    if left.is_empty() {
        left.push(within(stream.bits(words.len() as u64), words.len()));
    }
    Cow::Owned(left.into_iter().map(|place| words[place]).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &str = "a  sentence of exactly seven different words";

    #[test]
    fn words_are_left_out_in_their_order_and_others_each_time() {
        let words: Vec<&str> = QUESTION.split_whitespace().collect();
        let (mut left, mut seen) = (0, std::collections::HashSet::new());
        for number in 0..4000 {
            let thin = thinned(QUESTION, 0.6, Stream::new(1, number));
            assert_eq!(thin, thinned(QUESTION, 0.6, Stream::new(1, number)));
            let mut rest = words.iter();
            let kept: Vec<&str> = thin.split(' ').collect();
            assert!(kept.iter().all(|word| rest.any(|other| other == word)), "{thin}");
            left += kept.len();
            seen.insert(thin.into_owned());
        }
        // 2.8 of 7 words, a little more where none would be left.
        assert!((11_000..11_600).contains(&left), "{left}");
        assert!(seen.len() > 80, "{}", seen.len());
    }

    #[test]
    fn nothing_is_left_out_unless_told_and_never_everything() {
        assert_eq!(thinned(QUESTION, 0.0, Stream::new(1, 1)), QUESTION);
        assert_eq!(thinned("  ", 0.9, Stream::new(1, 1)), "  ");
        for number in 0..200 {
            assert!(QUESTION.split_whitespace().any(|word| word == thinned(QUESTION, 0.999, Stream::new(3, number))));
        }
    }
}
