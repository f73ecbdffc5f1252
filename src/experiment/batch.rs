//! Examples together: as many as the machine's memory holds.

use super::data::Drawn;
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

/// Examples as the reader takes them.
pub struct Examples<'a> {
    drawn: &'a [Drawn],
    passages: Vec<Vec<&'a [u32]>>,
}

impl<'a> Examples<'a> {
    /// Borrows the tokens.
    pub fn new(drawn: &'a [Drawn]) -> Self {
        let passages = drawn.iter().map(|drawn| drawn.passages.iter().map(Vec::as_slice).collect()).collect();
        Self { drawn, passages }
    }

    /// Without their answers.
    pub fn questions(&self) -> Vec<Question<'_>> {
        let question =
            |(drawn, passages): (&'a Drawn, _)| Question { ids: &drawn.question, passages: Passages::Tokens(passages) };
        self.drawn.iter().zip(self.passages.iter().map(Vec::as_slice)).map(question).collect()
    }

    /// With their answers.
    pub fn examples(&self) -> Vec<Example<'_>> {
        let example = |(question, drawn): (_, &'a Drawn)| Example { question, target: &drawn.target };
        self.questions().into_iter().zip(self.drawn).map(example).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_what_fits_and_one_at_the_least() {
        let drawn = |passages: &[usize]| Drawn {
            question: vec![7, 1],
            passages: passages.iter().map(|&n| vec![5; n - 2]).collect(),
            target: vec![1],
        };
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
