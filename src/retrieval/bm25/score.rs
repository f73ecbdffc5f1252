//! Exact BM25 top k, document at a time, skipping what cannot reach the top (MaxScore: Turtle and Flood, "Query
//! evaluation: strategies and optimizations", 1995).

use anyhow::{Context, Result};
use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::SegmentReader;
use tantivy::postings::{Postings, SegmentPostings};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED, Term};

use super::Bm25;
use crate::retrieval::Hit;
use crate::retrieval::top::Top;

/// One word of the query and where it occurs.
struct List {
    postings: SegmentPostings,
    /// idf · (k1 + 1), which a word's share of a score never exceeds.
    weight: f64,
}

/// Searches for the words, distinct and sorted.
pub(super) fn search(index: &Bm25, segment: &SegmentReader, words: &[String], k: usize) -> Result<Vec<Hit>> {
    if k == 0 {
        return Ok(Vec::new());
    }
    let inverted = segment.inverted_index(index.field)?;
    let mut lists = Vec::with_capacity(words.len());
    for word in words {
        let term = Term::from_field_text(index.field, word);
        let postings = inverted.read_postings(&term, IndexRecordOption::WithFreqs)?;
        if let Some(postings) = postings {
            let weight = idf(postings.doc_freq(), segment.max_doc()) * (f64::from(index.settings.k1) + 1.0);
            lists.push(List { postings, weight });
        }
    }
    lists.sort_by(|a, b| a.weight.total_cmp(&b.weight));
    let lengths = segment.fieldnorms_readers().get_field(index.field)?.context("no lengths of passages")?;
    let mean_length = inverted.total_num_tokens() as f64 / f64::from(segment.max_doc());
    let penalty = LengthPenalty::new(index, lengths, mean_length);
    Ok(best(lists, &penalty, k))
}

/// `ln(1 + (N - n + 0.5) / (n + 0.5))` for a word in n of N passages.
fn idf(n: u32, passages: u32) -> f64 {
    let (n, passages) = (f64::from(n), f64::from(passages));
    (1.0 + (passages - n + 0.5) / (n + 0.5)).ln()
}

/// `k1 · (1 - b + b · |p| / mean |p|)`, tabulated over the byte that stands for a passage's length.
struct LengthPenalty {
    lengths: FieldNormReader,
    of_byte: Vec<f64>,
}

impl LengthPenalty {
    fn new(index: &Bm25, lengths: FieldNormReader, mean_length: f64) -> Self {
        let (k1, b) = (f64::from(index.settings.k1), f64::from(index.settings.b));
        let of = |byte| {
            let length = f64::from(FieldNormReader::id_to_fieldnorm(byte));
            k1 * (1.0 - b + b * length / mean_length)
        };
        Self { lengths, of_byte: (0..=u8::MAX).map(of).collect() }
    }

    fn of(&self, document: u32) -> f64 {
        self.of_byte[usize::from(self.lengths.fieldnorm_id(document))]
    }
}

impl List {
    fn share(&self, penalty: f64) -> f64 {
        let count = f64::from(self.postings.term_freq());
        self.weight * count / (count + penalty)
    }
}

/// `lists` by rising weight. Those before `needed` together stay below the floor of the top k, so that only passages
/// in a later list are looked at, and the earlier ones are consulted only while the passage can still make it.
fn best(mut lists: Vec<List>, penalty: &LengthPenalty, k: usize) -> Vec<Hit> {
    // reach[i]: the most that lists 0..=i give together.
    let reach: Vec<f64> = lists
        .iter()
        .scan(0.0, |sum, list| {
            *sum += list.weight;
            Some(*sum)
        })
        .collect();
    let mut top = Top::new(k);
    let mut needed = 0;
    loop {
        let next = lists[needed..].iter().map(|list| list.postings.doc()).min();
        let document = next.unwrap_or(TERMINATED);
        if document == TERMINATED {
            return top.into_hits();
        }
        let floor = f64::from(top.floor());
        if let Some(score) = score(&mut lists, needed, document, penalty.of(document), |i, sum| sum + reach[i] > floor)
        {
            // Documents come in rising order: one that equals the floor is later than those kept, and is not kept.
            top.push(Hit { passage: document, score: score as f32 });
            let floor = f64::from(top.floor());
            while needed < lists.len() && reach[needed] <= floor {
                needed += 1;
            }
        }
    }
}

/// The score of `document`, summed from the heaviest list down whatever the rest, so that equal passages have equal
/// scores; None if the lists 0..=i that remain at some point cannot lift it (`worth(i, sum so far)` is false).
/// Leaves the lists from `needed` on behind the document.
fn score(
    lists: &mut [List],
    needed: usize,
    document: u32,
    penalty: f64,
    worth: impl Fn(usize, f64) -> bool,
) -> Option<f64> {
    let mut sum = 0.0;
    let (optional, needed) = lists.split_at_mut(needed);
    for list in needed.iter_mut().rev() {
        if list.postings.doc() == document {
            sum += list.share(penalty);
            list.postings.advance();
        }
    }
    for (i, list) in optional.iter_mut().enumerate().rev() {
        if !worth(i, sum) {
            return None;
        }
        if list.postings.doc() < document {
            list.postings.seek(document);
        }
        if list.postings.doc() == document {
            sum += list.share(penalty);
        }
    }
    Some(sum)
}
