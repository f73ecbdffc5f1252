//! T5's pretraining objective: spans of a text are replaced by sentinels, and the model says what was there.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::io::Tokenizer;
use crate::random::Stream;

/// How much of a text is corrupted, as in Raffel et al., "Exploring the Limits of Transfer Learning" (2020), 3.1.4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpanCorruption {
    /// Share of the tokens that go.
    pub noise: f64,
    /// Tokens of a span, on average.
    pub mean_span: f64,
}

impl Default for SpanCorruption {
    fn default() -> Self {
        Self { noise: 0.15, mean_span: 3.0 }
    }
}

/// A corrupted text, and what it lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Corrupted {
    /// The text, each span a sentinel, and the end of text.
    pub input: Vec<u32>,
    /// Each sentinel and what it stands for, and the end of text.
    pub target: Vec<u32>,
}

impl SpanCorruption {
    /// Refuses shares and lengths that leave nothing of a text, or all of it.
    ///
    /// # Errors
    /// Which, and what it may be.
    pub fn check(&self) -> Result<()> {
        let Self { noise, mean_span } = self;
        ensure!(*noise > 0.0 && *noise < 1.0, "objective.span_corruption.noise is {noise}; it is between 0 and 1");
        ensure!(
            mean_span.is_finite() && *mean_span >= 1.0,
            "objective.span_corruption.mean_span is {mean_span}; it is at least 1"
        );
        Ok(())
    }

    /// Corrupts a text of at least two tokens, its end not counted. Which spans go depends on the stream alone.
    pub fn corrupt(&self, text: &[u32], sentinels: &[u32], stream: Stream) -> Corrupted {
        let gone = ((text.len() as f64 * self.noise).round() as usize).clamp(1, text.len() - 1);
        let spans = ((gone as f64 / self.mean_span).round() as usize).max(1);
        let spans = spans.min(gone).min(text.len() - gone).min(sentinels.len());
        let mut draw = Draw { stream, drawn: 0 };
        let (noise, kept) = (draw.parts(gone, spans), draw.parts(text.len() - gone, spans));
        let (mut input, mut target, mut rest) = (Vec::new(), Vec::new(), text);
        for ((kept, noise), &sentinel) in kept.into_iter().zip(noise).zip(sentinels) {
            let (before, behind) = rest.split_at(kept);
            let (span, behind) = behind.split_at(noise);
            input.extend_from_slice(before);
            input.push(sentinel);
            target.push(sentinel);
            target.extend_from_slice(span);
            rest = behind;
        }
        input.push(Tokenizer::EOS);
        target.push(Tokenizer::EOS);
        Corrupted { input, target }
    }
}

/// All sentinels that a vocabulary has, in their order.
///
/// # Errors
/// When it has none.
pub fn sentinels(tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let all: Vec<u32> = (0..).map_while(|number| tokenizer.sentinel(number)).collect();
    ensure!(
        !all.is_empty(),
        "the tokenizer has no <extra_id_0>: span corruption marks what is missing with such tokens; use T5's own"
    );
    Ok(all)
}

/// Numbers from a stream, one after the other.
struct Draw {
    stream: Stream,
    drawn: u64,
}

impl Draw {
    /// Divides `items` into so many parts of at least one, every division as likely as the others.
    fn parts(&mut self, items: usize, parts: usize) -> Vec<usize> {
        // The places between two items where a part ends: those with the smallest of random numbers.
        let mut places: Vec<(u64, usize)> = (1..items)
            .map(|place| {
                self.drawn += 1;
                (self.stream.bits(self.drawn), place)
            })
            .collect();
        places.sort_unstable();
        let mut ends: Vec<usize> = places.into_iter().take(parts - 1).map(|(_, place)| place).collect();
        ends.sort_unstable();
        ends.push(items);
        let mut begin = 0;
        ends.into_iter().map(|end| end - std::mem::replace(&mut begin, end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTINELS: [u32; 4] = [999, 998, 997, 996];

    /// The text that a corrupted one came from.
    fn restored(corrupted: &Corrupted) -> Vec<u32> {
        let mut text = Vec::new();
        for &id in &corrupted.input {
            if let Some(place) = corrupted.target.iter().position(|&t| t == id && id > 900) {
                let behind = &corrupted.target[place + 1..];
                text.extend(behind.iter().take_while(|&&t| t < 900 && t != Tokenizer::EOS));
            } else {
                text.push(id);
            }
        }
        text
    }

    #[test]
    fn what_is_missing_in_the_input_is_in_the_target() {
        let spans = SpanCorruption::default();
        for length in [2, 3, 7, 20, 61, 80] {
            let text: Vec<u32> = (100..100 + length).collect();
            for draw in 0..50 {
                let corrupted = spans.corrupt(&text, &SENTINELS, Stream::new(1, draw));
                let mut whole = text.clone();
                whole.push(Tokenizer::EOS);
                assert_eq!(restored(&corrupted), whole);
                assert!(corrupted.input[0] < 900, "a text begins with its own first token");
                let marks = |ids: &[u32]| ids.iter().copied().filter(|id| *id > 900).collect::<Vec<_>>();
                assert_eq!(marks(&corrupted.input), marks(&corrupted.target));
                assert!(SENTINELS.starts_with(&marks(&corrupted.input)));
                let gone = corrupted.target.len() - marks(&corrupted.target).len() - 1;
                assert_eq!(gone, ((f64::from(length) * 0.15).round() as usize).max(1));
                assert!(corrupted.input.iter().zip(&corrupted.input[1..]).all(|(a, b)| *a < 900 || *b < 900));
            }
        }
    }

    #[test]
    fn spans_have_the_mean_length_and_lie_everywhere() {
        let spans = SpanCorruption { noise: 0.3, mean_span: 3.0 };
        let text: Vec<u32> = (100..140).collect();
        let mut gone = [0; 40];
        for draw in 0..4000 {
            let corrupted = spans.corrupt(&text, &SENTINELS, Stream::new(2, draw));
            assert_eq!(corrupted.target.len(), 12 + 4 + 1);
            corrupted.target.iter().filter(|id| (100..140).contains(*id)).for_each(|id| gone[*id as usize - 100] += 1);
        }
        assert_eq!(gone[0], 0);
        assert!(gone[1..].iter().all(|&count| count > 100), "{gone:?}");
        let same = |draw| spans.corrupt(&text, &SENTINELS, Stream::new(3, draw));
        assert_eq!(same(5), same(5));
        assert_ne!(same(5), same(6));
    }
}
