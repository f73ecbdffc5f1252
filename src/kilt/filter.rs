//! Which records are worth training on.

use super::task::{Output, Record};

/// What becomes of an output entry whose evidence has no score: no evidence at all, or none with a `bleu_score`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingScore {
    /// It stays. In a task with alias answers, which have no evidence, hardly a record is then dropped.
    Keep,
    /// It goes, so that each record left has an answer whose evidence was found.
    Drop,
}

/// Keeps the outputs whose evidence is in the knowledge source.
///
/// KILT mapped the evidence of older data sets onto its own copy of Wikipedia, and `bleu_score` says how well that went. After the
/// relevance filter of Hofstätter et al. 2022 (arXiv 2207.03030), whose threshold is not public: an output entry stays if the
/// highest score among its evidence is at least `threshold`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RelevanceFilter {
    /// In [0, 1].
    pub threshold: f64,
    /// The rule for entries without a score.
    pub missing: MissingScore,
}

/// What a filter did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilterReport {
    /// Records that stay.
    pub kept: usize,
    /// Records that go.
    pub dropped: usize,
    /// Output entries that went from records that stay.
    pub trimmed_outputs: usize,
}

impl RelevanceFilter {
    /// Filters the records of a task, in order. A record goes if no entry of it stays, or if it had an answer and none stays:
    /// there is then nothing to train towards.
    pub fn apply(&self, records: Vec<Record>) -> (Vec<Record>, FilterReport) {
        let mut report = FilterReport::default();
        let mut kept = Vec::with_capacity(records.len());
        for mut record in records {
            let (before, had_answer) = (record.outputs.len(), !record.answers().is_empty());
            record.outputs.retain(|output| self.keeps(output));
            let lost_answers = had_answer && record.answers().is_empty();
            if record.outputs.is_empty() || lost_answers {
                report.dropped += 1;
                continue;
            }
            report.kept += 1;
            report.trimmed_outputs += before - record.outputs.len();
            kept.push(record);
        }
        (kept, report)
    }

    fn keeps(&self, output: &Output) -> bool {
        let scores = output.evidence().iter().filter_map(|p| p.bleu_score);
        match scores.reduce(f64::max) {
            Some(best) => best >= self.threshold,
            None => self.missing == MissingScore::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::kilt::Provenance;

    fn output(answer: Option<&str>, scores: &[Option<f64>]) -> Output {
        let provenance =
            |score: &Option<f64>| Provenance { wikipedia_id: "1".into(), bleu_score: *score, ..Provenance::default() };
        Output { answer: answer.map(str::to_string), provenance: Some(scores.iter().map(provenance).collect()) }
    }

    fn record(id: &str, outputs: Vec<Output>) -> Record {
        Record { id: id.into(), input: "?".into(), outputs, meta: Value::Null }
    }

    fn apply(missing: MissingScore) -> (Vec<String>, FilterReport) {
        let filter = RelevanceFilter { threshold: 0.5, missing };
        let (kept, report) = filter.apply(vec![
            record("best counts", vec![output(Some("x"), &[Some(0.1), None, Some(0.5)])]),
            record("too low", vec![output(Some("x"), &[Some(0.49)])]),
            record("unscored", vec![output(Some("x"), &[None])]),
            record("alias", vec![output(Some("x"), &[Some(0.2)]), output(Some("y"), &[])]),
            // Its long evidence scores well, its short answer does not: no answer would be left.
            record("answerless", vec![output(Some("x"), &[Some(0.2)]), output(None, &[Some(0.9)])]),
            record("no outputs", vec![]),
        ]);
        let ids = kept.iter().map(|r| format!("{} {}", r.id, r.outputs.len()));
        (ids.collect(), report)
    }

    #[test]
    fn entries_without_a_score_stay_if_asked() {
        let (kept, report) = apply(MissingScore::Keep);
        assert_eq!(kept, ["best counts 1", "unscored 1", "alias 1"]);
        let want = FilterReport { kept: 3, dropped: 3, trimmed_outputs: 1 };
        assert_eq!(report, want);
    }

    #[test]
    fn entries_without_a_score_go_if_asked() {
        let (kept, report) = apply(MissingScore::Drop);
        assert_eq!(kept, ["best counts 1"]);
        let want = FilterReport { kept: 1, dropped: 5, trimmed_outputs: 0 };
        assert_eq!(report, want);
    }
}
