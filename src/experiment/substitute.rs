//! Questions whose answer can only be read: it is another one than the world has.

use super::data::Drawn;
use crate::io::Tokenizer;
use crate::random::{Stream, within};

/// Pieces of an invented answer, at most.
const INVENTED: usize = 6;
/// Ids below are padding, the end of text and the unknown piece.
const FIRST_PIECE: u32 = 3;

/// Puts another answer in the place of the old one, in the passages and as what is learned (knowledge conflicts:
/// Longpre et al., arXiv 2109.05052): the one given, or, half of the time, random pieces of the vocabulary, which
/// nobody can guess. A question whose answer stands in itself or in no passage stays as it is.
///
/// Random words are drawn from number 2 of `stream` on.
pub fn substitute(drawn: Drawn, other: &[u32], vocabulary: usize, stream: Stream) -> Drawn {
    let old = &drawn.target[..drawn.target.len() - 1];
    let readable = drawn.passages.iter().any(|passage| find(passage, old).is_some());
    if old.is_empty() || find(&drawn.question, old).is_some() || !readable {
        return drawn;
    }
    let new: Vec<u32> = if stream.bits(2) & 1 == 0 {
        other[..other.len() - 1].to_vec()
    } else {
        let pieces = vocabulary - FIRST_PIECE as usize;
        let count = 1 + within(stream.bits(3), INVENTED) as u64;
        (0..count).map(|i| FIRST_PIECE + within(stream.bits(4 + i), pieces) as u32).collect()
    };
    let passages = drawn.passages.iter().map(|passage| replaced(passage, old, &new)).collect();
    let target = new.iter().copied().chain([Tokenizer::EOS]).collect();
    Drawn { question: drawn.question, passages, target, numbers: Vec::new() }
}

/// Where `part` first stands.
fn find(text: &[u32], part: &[u32]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// The text with `new` wherever `old` stood.
fn replaced(text: &[u32], old: &[u32], new: &[u32]) -> Vec<u32> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = find(rest, old) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn() -> Drawn {
        let passages = vec![vec![10, 20, 21, 11, 20, 21, 1], vec![12, 20, 1], vec![20, 21, 1]];
        Drawn { question: vec![20, 9, 1], passages, target: vec![20, 21, 1], numbers: vec![7, 8, 9] }
    }

    #[test]
    fn the_answer_is_another_one_everywhere() {
        let mut invented = 0;
        for number in 0..200 {
            let found = substitute(drawn(), &[30, 31, 32, 1], 2000, Stream::new(5, number));
            let (end, new) = found.target.split_last().unwrap();
            assert_eq!(*end, 1);
            invented += usize::from(new != [30, 31, 32]);
            assert!((1..=INVENTED).contains(&new.len()) && new.iter().all(|piece| (3..2000).contains(piece)));
            let wanted = [[&[10], new, &[11], new, &[1]].concat(), vec![12, 20, 1], [new, &[1]].concat()];
            assert_eq!(found.passages, wanted);
            assert_eq!(found.question, [20, 9, 1]);
        }
        assert!((70..130).contains(&invented), "{invented} of 200 invented");
    }

    #[test]
    fn what_cannot_be_read_or_stands_in_the_question_stays() {
        let substituted = |drawn: &Drawn| substitute(drawn.clone(), &[30, 1], 2000, Stream::new(5, 1));
        let asked = Drawn { question: vec![20, 21, 1], ..drawn() };
        let unread = Drawn { target: vec![77, 1], ..drawn() };
        let empty = Drawn { target: vec![1], ..drawn() };
        for drawn in [asked, unread, empty] {
            assert_eq!(substituted(&drawn), drawn);
        }
    }
}
