//! Examples together: as many as the machine's memory holds.

use anyhow::Result;

use super::data::Drawn;
use crate::backend::Stored;
use crate::eval::Corpus;
use crate::memory::Store;
use crate::model::{Passages, Question};
use crate::train::Example;

/// Divides a batch, in order, into parts of at most so many tokens; one example with more is a part by itself.
/// Rows are packed, so that long and short ones may share a part.
pub fn micro_batches(batch: &[Drawn], tokens: usize) -> Vec<&[Drawn]> {
    let (mut parts, mut rest) = (Vec::new(), batch);
    while !rest.is_empty() {
        let mut sum = 0;
        let fits = |drawn: &&Drawn| {
            sum += drawn.tokens();
            sum <= tokens
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (part, behind) = rest.split_at(count);
        parts.push(part);
        rest = behind;
    }
    parts
}

/// Divides a batch among processes so that each has about as many tokens to encode, and at least one example if there are
/// as many: the longest goes first, each to the one that has least. → the places of each one's examples, in order.
pub fn shares(batch: &[Drawn], processes: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(batch[place].tokens()));
    let mut shares = vec![(0, Vec::new()); processes];
    for place in order {
        let (tokens, share) = shares.iter_mut().min_by_key(|(tokens, _)| *tokens).expect("there is a process");
        *tokens += batch[place].tokens();
        share.push(place);
    }
    let sorted = |(_, mut share): (usize, Vec<usize>)| {
        share.sort_unstable();
        share
    };
    shares.into_iter().map(sorted).collect()
}

/// Examples as the reader takes them.
pub struct Examples<'a> {
    drawn: &'a [Drawn],
    passages: Vec<Kept<'a>>,
}

/// One question's passages.
enum Kept<'a> {
    Tokens(Vec<&'a [u32]>),
    Memory(Vec<Stored<'a>>),
}

impl<'a> Examples<'a> {
    /// Passages as tokens.
    pub fn new(drawn: &'a [Drawn]) -> Self {
        let tokens = |drawn: &'a Drawn| Kept::Tokens(drawn.passages.iter().map(Vec::as_slice).collect());
        Self { drawn, passages: drawn.iter().map(tokens).collect() }
    }

    /// Passages as they are stored.
    ///
    /// # Errors
    /// A store or a corpus that is damaged.
    pub fn stored(drawn: &'a [Drawn], corpus: &Corpus, store: &'a Store) -> Result<Self> {
        let numbers = drawn.iter().flat_map(|drawn| &drawn.numbers);
        let ids: Vec<String> = numbers.map(|&n| Ok(corpus.passage(n as usize)?.id)).collect::<Result<_>>()?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut memories = store.read_all(&ids)?.into_iter().map(|rows| rows.data);
        let of = |drawn: &Drawn| Kept::Memory(memories.by_ref().take(drawn.numbers.len()).collect());
        let passages = drawn.iter().map(of).collect();
        Ok(Self { drawn, passages })
    }

    /// Without their answers.
    pub fn questions(&'a self) -> Vec<Question<'a>> {
        let question = |(drawn, kept): (&'a Drawn, &'a Kept<'a>)| Question {
            ids: &drawn.question,
            passages: match kept {
                Kept::Tokens(texts) => Passages::Tokens(texts),
                Kept::Memory(memories) => Passages::Memory(memories),
            },
        };
        self.drawn.iter().zip(&self.passages).map(question).collect()
    }

    /// With their answers.
    pub fn examples(&'a self) -> Vec<Example<'a>> {
        let example =
            |(question, drawn): (_, &'a Drawn)| Example { question, target: &drawn.target, evidence: &drawn.evidence };
        self.questions().into_iter().zip(self.drawn).map(example).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(passages: &[usize]) -> Drawn {
        Drawn {
            question: vec![7, 1],
            passages: passages.iter().map(|&n| vec![5; n - 2]).collect(),
            target: vec![1],
            numbers: Vec::new(),
            evidence: Vec::new(),
        }
    }

    #[test]
    fn shares_have_about_as_many_tokens() {
        let batch: Vec<Drawn> = (0..37).map(|i| drawn(&[3 + i * 7 % 50, 10])).collect();
        for processes in 1..6 {
            let shares = shares(&batch, processes);
            let mut all = shares.concat();
            all.sort_unstable();
            assert_eq!(all, (0..37).collect::<Vec<_>>());
            assert!(shares.iter().all(|share| share.is_sorted()));
            let tokens: Vec<usize> =
                shares.iter().map(|share| share.iter().map(|&place| batch[place].tokens()).sum()).collect();
            let (least, most) = (tokens.iter().min().unwrap(), tokens.iter().max().unwrap());
            assert!(most - least <= 13, "{tokens:?}");
        }
        assert_eq!(shares(&batch[..2], 2).iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn parts_hold_what_fits_and_one_at_the_least() {
        let batch = [drawn(&[10, 10]), drawn(&[5]), drawn(&[100]), drawn(&[3]), drawn(&[7, 15])];
        let sizes = |bound| micro_batches(&batch, bound).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(sizes(25), [2, 1, 2]);
        assert_eq!(sizes(24), [1, 1, 1, 1, 1]);
        assert_eq!(sizes(150), [5]);
        assert_eq!(sizes(1), [1; 5]);
        let examples = Examples::new(&batch);
        assert_eq!(examples.examples()[0].question.passages.len(), 2);
    }
}
