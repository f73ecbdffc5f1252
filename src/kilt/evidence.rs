//! How well a ranking of pages finds the evidence of a record.

use std::collections::HashSet;

use super::normalise::strip;
use super::task::{Output, Record};

/// R-precision by page: of the best R distinct guessed pages, the share that is in an evidence set of R distinct pages; the highest
/// over the record's outputs. An output without evidence scores 0.
pub fn r_precision(gold: &Record, pages: &[String]) -> f64 {
    let guesses = distinct(pages);
    let of_output = |output: &Output| {
        let evidence = page_set(output);
        if evidence.is_empty() {
            return 0.0;
        }
        let top = guesses.iter().take(evidence.len());
        let found = top.filter(|page| evidence.contains(*page)).count();
        found as f64 / evidence.len() as f64
    };
    gold.outputs.iter().map(of_output).fold(0.0, f64::max)
}

/// The benchmark's ranking of a record's evidence, in which a whole evidence set is one place.
///
/// The distinct guessed pages are walked best first. A page of no set takes a place that is a miss. A page of a set takes a place for
/// the set, and gives up the place that the set has had, so that later ones move up; the set is a hit from its last page on. A page
/// that is in two sets does this for both. Equal sets count once. An output whose evidence is an empty list is a set of its own, which
/// nothing completes (it lowers recall); one that has no such list is no set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rank {
    hits: Vec<bool>,
    evidence_sets: usize,
}

#[derive(PartialEq)]
enum Place {
    Miss,
    Part { set: usize },
    Hit,
}

impl Rank {
    /// Ranks the guessed pages, best first, of one record.
    pub fn new(gold: &Record, pages: &[String]) -> Self {
        let mut sets = evidence_sets(gold);
        let evidence_sets = sets.len();
        let mut places: Vec<Place> = Vec::new();
        for page in distinct(pages) {
            let mut found = false;
            for (set, missing) in sets.iter_mut().enumerate() {
                if !missing.remove(page) {
                    continue;
                }
                found = true;
                places.retain(|place| *place != Place::Part { set });
                places.push(if missing.is_empty() { Place::Hit } else { Place::Part { set } });
            }
            if !found {
                places.push(Place::Miss);
            }
        }
        Self { hits: places.iter().map(|place| *place == Place::Hit).collect(), evidence_sets }
    }

    /// Hits among the first k places, over k (which is positive), however few places there are.
    pub fn precision_at(&self, k: usize) -> f64 {
        self.hits_within(k) as f64 / k as f64
    }

    /// Hits among the first k places, over the number of distinct evidence sets; 0 if there is none.
    pub fn recall_at(&self, k: usize) -> f64 {
        match self.evidence_sets {
            0 => 0.0,
            sets => self.hits_within(k) as f64 / sets as f64,
        }
    }

    /// 1 if there is a hit among the first k places, else 0.
    pub fn success_at(&self, k: usize) -> f64 {
        f64::from(u8::from(self.hits_within(k) > 0))
    }

    fn hits_within(&self, k: usize) -> usize {
        self.hits.iter().take(k).filter(|hit| **hit).count()
    }
}

fn evidence_sets(gold: &Record) -> Vec<HashSet<&str>> {
    let mut sets = Vec::new();
    for output in gold.outputs.iter().filter(|o| o.provenance.is_some()) {
        let set = page_set(output);
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    sets
}

fn page_set(output: &Output) -> HashSet<&str> {
    let pages = output.evidence().iter();
    pages.map(|evidence| strip(&evidence.wikipedia_id)).collect()
}

fn distinct(pages: &[String]) -> Vec<&str> {
    let mut seen = HashSet::new();
    let pages = pages.iter().map(|page| strip(page));
    pages.filter(|page| seen.insert(*page)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kilt::Provenance;

    /// Outputs by their evidence pages; `None` has no list of evidence.
    fn gold(outputs: &[Option<&[&str]>]) -> Record {
        let evidence = |page: &&str| Provenance { wikipedia_id: page.to_string(), ..Provenance::default() };
        let output = |pages: &Option<&[&str]>| Output {
            answer: None,
            provenance: pages.map(|pages| pages.iter().map(evidence).collect()),
        };
        Record {
            id: "1".into(),
            input: "?".into(),
            outputs: outputs.iter().map(output).collect(),
            meta: serde_json::Value::Null,
        }
    }

    fn pages(pages: &[&str]) -> Vec<String> {
        pages.iter().map(|page| page.to_string()).collect()
    }

    fn hits(gold: &Record, guess: &[&str]) -> Vec<bool> {
        Rank::new(gold, &pages(guess)).hits
    }

    #[test]
    fn r_precision_takes_the_best_output() {
        let gold = gold(&[Some(&["a", "b"]), Some(&["c"]), None, Some(&[])]);
        // Of {a, b} the first two distinct guesses, x and a, hold one: 1/2. Of {c} the first, x, is not it: 0.
        assert_eq!(r_precision(&gold, &pages(&["x", "x", "a", "b"])), 0.5);
        assert_eq!(r_precision(&gold, &pages(&["b", "b", "a"])), 1.0);
        assert_eq!(r_precision(&gold, &pages(&["c", "x"])), 1.0);
        // c is second: {c} 0 of 1; {a, b}: a is one of two.
        assert_eq!(r_precision(&gold, &pages(&["a", "c"])), 0.5);
        assert_eq!(r_precision(&gold, &[]), 0.0);
    }

    #[test]
    fn a_page_that_evidence_repeats_counts_once() {
        // Two spans of one page are an evidence set of one page: R = 1.
        let gold = gold(&[Some(&["a", "a", " a "])]);
        assert_eq!(r_precision(&gold, &pages(&["a", "b"])), 1.0);
        assert_eq!(hits(&gold, &["a", "b"]), [true, false]);
    }

    #[test]
    fn records_without_evidence_score_nothing() {
        for gold in [gold(&[]), gold(&[None, None])] {
            assert_eq!(r_precision(&gold, &pages(&["a"])), 0.0);
            let rank = Rank::new(&gold, &pages(&["a"]));
            assert_eq!((rank.precision_at(1), rank.recall_at(1), rank.success_at(1)), (0.0, 0.0, 0.0));
        }
    }

    #[test]
    fn an_evidence_set_moves_to_the_place_of_its_last_page() {
        let gold = gold(&[Some(&["a", "b"]), Some(&["c"])]);
        // a takes a place for {a, b}; x misses; c hits; b takes a's place away and hits: x, c, b.
        assert_eq!(hits(&gold, &["a", "x", "c", "b"]), [false, true, true]);
        let rank = Rank::new(&gold, &pages(&["a", "x", "c", "b"]));
        // First two places: x and c. All three: both sets. k = 5 divides by 5 all the same.
        assert_eq!((rank.precision_at(2), rank.recall_at(2)), (0.5, 0.5));
        assert_eq!((rank.precision_at(5), rank.recall_at(5)), (0.4, 1.0));
        assert_eq!((rank.success_at(1), rank.success_at(2)), (0.0, 1.0));
        // An incomplete set keeps its place, which is no hit.
        assert_eq!(hits(&gold, &["a", "c"]), [false, true]);
    }

    #[test]
    fn a_page_of_two_sets_takes_two_places() {
        // {a} hits; {a, b} is begun: two places from one page. Then b completes the second set, whose place moves behind.
        let gold = gold(&[Some(&["a"]), Some(&["a", "b"])]);
        assert_eq!(hits(&gold, &["a"]), [true, false]);
        assert_eq!(hits(&gold, &["a", "x", "b"]), [true, false, true]);
    }

    #[test]
    fn repeated_pages_and_repeated_sets_count_once() {
        // {a, b} twice, in either order, is one set; the repeated guesses of a take no place.
        let gold = gold(&[Some(&["a", "b"]), Some(&["b", "a"])]);
        assert_eq!(hits(&gold, &["a", "a", " a", "b", "b"]), [true]);
        assert_eq!(Rank::new(&gold, &pages(&["a", "b"])).recall_at(1), 1.0);
    }

    #[test]
    fn an_empty_list_of_evidence_is_a_set_that_nobody_finds() {
        let rank = |outputs: &[Option<&[&str]>]| Rank::new(&gold(outputs), &pages(&["a"])).recall_at(5);
        assert_eq!(rank(&[Some(&["a"]), None]), 1.0);
        assert_eq!(rank(&[Some(&["a"]), Some(&[])]), 0.5);
        // Two empty lists are equal sets, and so one.
        assert_eq!(rank(&[Some(&["a"]), Some(&[]), Some(&[])]), 0.5);
    }

    proptest! {
        #[test]
        fn all_scores_are_shares(
            sets in prop::collection::vec(prop::collection::vec("[a-e]", 0..4), 0..4),
            guess in prop::collection::vec("[a-f]", 0..8),
            k in 1usize..9,
        ) {
            let sets: Vec<Vec<&str>> = sets.iter().map(|s| s.iter().map(String::as_str).collect()).collect();
            let sets: Vec<Option<&[&str]>> = sets.iter().map(|s| Some(s.as_slice())).collect();
            let gold = gold(&sets);
            let rank = Rank::new(&gold, &guess);
            for score in [r_precision(&gold, &guess), rank.precision_at(k), rank.recall_at(k), rank.success_at(k)] {
                prop_assert!((0.0..=1.0).contains(&score));
            }
            prop_assert!(rank.recall_at(k) <= rank.recall_at(k + 1));
            prop_assert_eq!(rank.success_at(k) > 0.0, rank.recall_at(k) > 0.0);
        }
    }
}
