//! Questions whose answer can only be read: it is another one than the world has (knowledge conflicts: Longpre et al.,
//! arXiv 2109.05052).
//!
//! What is changed must not tell where the answer is. So where the answer is a passage's title, all passages are
//! renamed and not that one alone; and where it is a word of their texts, it gives way to a word of its own kind.

use super::data::Drawn;
use crate::io::Tokenizer;
use crate::random::{Stream, within};

/// Pieces of an invented title.
const INVENTED: std::ops::RangeInclusive<usize> = 2..=6;
/// Ids below are padding, the end of text and the unknown piece.
const FIRST_PIECE: u32 = 3;

/// Gives every passage an invented title, random pieces of the vocabulary, in place of its own, one of `titles`; the
/// answer is then the new title of the passage whose title it was. None where it is no title, or stands in the question.
pub fn rename(drawn: &Drawn, titles: &[Vec<u32>], vocabulary: usize, stream: Stream) -> Option<Drawn> {
    let old = answer(drawn);
    let first_of = |title: &Vec<u32>| titles.iter().position(|other| other == title);
    let place = titles.iter().position(|title| title == old)?;
    if old.is_empty() || find(&drawn.question, old).is_some() || titles.iter().any(Vec::is_empty) {
        return None;
    }
    let invented = |place: usize| -> Vec<u32> {
        let draw = |i: usize| stream.bits(((place as u64 + 1) << 8) + i as u64);
        let count = INVENTED.start() + within(draw(0), INVENTED.count());
        let pieces = vocabulary - FIRST_PIECE as usize;
        (1..=count).map(|i| FIRST_PIECE + within(draw(i), pieces) as u32).collect()
    };
    // Passages of one page keep one title.
    let renamed = |(passage, title): (&Vec<u32>, &Vec<u32>)| {
        let new = invented(first_of(title).expect("it is one of them"));
        replaced(passage, title, &new)
    };
    let passages = drawn.passages.iter().zip(titles).map(renamed).collect();
    let (question, evidence) = (drawn.question.clone(), drawn.evidence.clone());
    Some(Drawn { question, passages, target: ended(&invented(place)), numbers: Vec::new(), evidence })
}

/// Puts `other`, the answer to another question, in the place of the answer, in all passages and as what is learned. A
/// question whose answer stands in itself or in no passage stays as it is.
pub fn substitute(drawn: Drawn, other: &[u32]) -> Drawn {
    let (old, new) = (answer(&drawn), &other[..other.len() - 1]);
    let readable = drawn.passages.iter().any(|passage| find(passage, old).is_some());
    if find(&drawn.question, old).is_some() || !readable {
        return drawn;
    }
    let passages = drawn.passages.iter().map(|passage| replaced(passage, old, new)).collect();
    Drawn { passages, target: ended(new), numbers: Vec::new(), ..drawn }
}

/// The answer without its end.
fn answer(drawn: &Drawn) -> &[u32] {
    &drawn.target[..drawn.target.len() - 1]
}

fn ended(answer: &[u32]) -> Vec<u32> {
    answer.iter().copied().chain([Tokenizer::EOS]).collect()
}

/// Where `part` first stands; nowhere if it is nothing.
fn find(text: &[u32], part: &[u32]) -> Option<usize> {
    if part.is_empty() { None } else { text.windows(part.len()).position(|window| window == part) }
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
        let evidence = vec![true, false, false];
        Drawn { question: vec![20, 9, 1], passages, target: vec![20, 21, 1], numbers: vec![7, 8, 9], evidence }
    }

    #[test]
    fn all_passages_are_renamed_alike() {
        let titles = [vec![20, 21], vec![12], vec![20, 21]];
        for number in 0..200 {
            let found = rename(&drawn(), &titles, 2000, Stream::new(5, number)).unwrap();
            let (end, new) = found.target.split_last().unwrap();
            assert_eq!(*end, 1);
            assert!(INVENTED.contains(&new.len()) && new.iter().all(|piece| (3..2000).contains(piece)));
            assert_eq!(found.passages[0], [&[10], new, &[11], new, &[1]].concat());
            assert_eq!(found.passages[2], [new, &[1]].concat());
            let (other, rest) = found.passages[1].split_at(found.passages[1].len() - 2);
            assert!(rest == [20, 1] && INVENTED.contains(&other.len()) && other != new);
            assert_eq!(found.question, [20, 9, 1]);
        }
        assert_eq!(rename(&drawn(), &[vec![10], vec![12], vec![20]], 2000, Stream::new(5, 1)), None, "no title");
        let asked = Drawn { question: vec![20, 21, 1], ..drawn() };
        assert_eq!(rename(&asked, &titles, 2000, Stream::new(5, 1)), None, "asked for by its name");
    }

    #[test]
    fn the_answer_is_another_one_everywhere() {
        let found = substitute(drawn(), &[30, 31, 32, 1]);
        assert_eq!(found.target, [30, 31, 32, 1]);
        let wanted = [vec![10, 30, 31, 32, 11, 30, 31, 32, 1], vec![12, 20, 1], vec![30, 31, 32, 1]];
        assert_eq!(found.passages, wanted);
        assert!(found.numbers.is_empty(), "no longer the corpus's");
    }

    #[test]
    fn what_cannot_be_read_or_stands_in_the_question_stays() {
        let asked = Drawn { question: vec![20, 21, 1], ..drawn() };
        let unread = Drawn { target: vec![77, 1], ..drawn() };
        let empty = Drawn { target: vec![1], ..drawn() };
        for drawn in [asked, unread, empty] {
            assert_eq!(substitute(drawn.clone(), &[30, 1]), drawn);
        }
    }
}
