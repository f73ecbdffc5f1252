use super::*;
use crate::kilt::{Output, Provenance};

/// A record of (answer, evidence pages) outputs.
fn record(id: &str, outputs: &[(&str, &[&str])]) -> Record {
    let evidence = |page: &&str| Provenance { wikipedia_id: page.to_string(), ..Provenance::default() };
    let outputs = outputs.iter().map(|(answer, pages)| Output {
        answer: Some(answer.to_string()),
        provenance: (!pages.is_empty()).then(|| pages.iter().map(evidence).collect()),
    });
    Record { id: id.into(), input: "?".into(), outputs: outputs.collect(), meta: serde_json::Value::Null }
}

fn guess(id: &str, answer: &str, pages: &[&str]) -> Prediction {
    Prediction {
        id: id.into(),
        answer: Some(answer.into()),
        pages: pages.iter().map(|page| page.to_string()).collect(),
    }
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

fn gold() -> Vec<Record> {
    vec![
        record("1", &[("Lake Como", &["p1"]), ("Como", &[]), ("Lago di Como", &["p2", "p3"])]),
        record("2", &[("1932", &["p4"])]),
        record("3", &[("the blue rose", &["p5"])]),
        record("4", &[("Ada", &[])]),
    ]
}

fn guesses() -> Vec<Prediction> {
    vec![
        guess("4", "Ada", &["p9"]),
        guess("3", "blue rose garden", &["p5"]),
        guess("2", " 1932 ", &["p8", "p4"]),
        guess("1", "como", &["p1", "p7"]),
        guess("spare", "x", &[]),
    ]
}

#[test]
fn answers_are_averaged_over_records() {
    // 1: "como" is not "Como" letter for letter, matches it normalised; ROUGE-L sees no word. R-precision 1 by {p1}.
    // 2: right in every way, ROUGE-L 2/(2 + 1e-8); the first page is p8: R-precision 0.
    // 3: {blue, rose, garden} against {blue, rose}: p = 2/3, r = 1, F1 4/5. ROUGE-L keeps "the": 2/3, 2/3. R-precision 1.
    // 4: right, but no page can be: R-precision 0.
    let scores = score_answers(&gold(), &guesses()).unwrap();
    let perfect = 2.0 / (2.0 + 1e-8);
    let garden = 2.0 * (4.0 / 9.0) / (4.0 / 3.0 + 1e-8);
    assert_eq!(scores.records, 4);
    near(scores.answers.accuracy, 2.0 / 4.0);
    near(scores.answers.exact_match, 3.0 / 4.0);
    near(scores.answers.f1, 3.8 / 4.0);
    near(scores.answers.rouge_l, (2.0 * perfect + garden) / 4.0);
    near(scores.kilt.accuracy, 0.0);
    near(scores.kilt.exact_match, 1.0 / 4.0);
    near(scores.kilt.f1, 1.8 / 4.0);
    near(scores.kilt.rouge_l, garden / 4.0);
}

#[test]
fn pages_are_averaged_over_records() {
    // 1: sets {p1} and {p2, p3}; p1 hits, p7 misses: P@1 1, P@2 1/2, R@1 = R@2 = 1/2, success 1.
    // 2: {p4} at the second place: P@1 0, P@2 1/2, R@1 0, R@2 1, success@1 0, @2 1.
    // 3: P@1 1, P@2 1/2 (over k, though there is one place), recall and success 1. 4: no set, all 0.
    let scores = score_retrieval(&gold(), &guesses(), &[2, 1]).unwrap();
    assert_eq!((scores.records, scores.without_evidence), (4, 1));
    near(scores.r_precision, 2.0 / 4.0);
    let want = [
        AtK { k: 2, precision: 1.5 / 4.0, recall: 2.5 / 4.0, success_rate: 3.0 / 4.0 },
        AtK { k: 1, precision: 2.0 / 4.0, recall: 1.5 / 4.0, success_rate: 2.0 / 4.0 },
    ];
    assert_eq!(scores.at_k, want);
}

#[test]
fn the_headline_is_the_tasks_own_metric() {
    let scores = score(&gold(), &guesses(), &[1, 5]).unwrap();
    near(scores.headline(Metric::Accuracy), 0.5);
    near(scores.headline(Metric::ExactMatch), 0.75);
}

#[test]
fn a_perfect_guess_scores_full_marks() {
    let gold = &gold()[..3];
    let perfect =
        [guess("1", "Lago di Como", &["p3", "p2"]), guess("2", "1932", &["p4"]), guess("3", "the blue rose", &["p5"])];
    let scores = score(gold, &perfect, &[1]).unwrap();
    let want = AnswerScores { accuracy: 1.0, exact_match: 1.0, f1: 1.0, rouge_l: 2.0 * (1.0 / (2.0 + 1e-8)) };
    assert_eq!(scores.downstream.kilt, scores.downstream.answers);
    near(scores.downstream.answers.rouge_l, want.rouge_l);
    assert_eq!((scores.downstream.answers.accuracy, scores.downstream.answers.f1), (1.0, 1.0));
    assert_eq!(scores.retrieval.r_precision, 1.0);
    // Record 1 has a second set, {p1}.
    near(scores.retrieval.at_k[0].recall, 2.5 / 3.0);
}

#[test]
fn an_empty_guess_scores_nothing() {
    let gold = [record("1", &[("x", &["p"])])];
    let scores = score(&gold, &[guess("1", " \n", &[])], &[5]).unwrap();
    assert_eq!(scores.downstream.answers, AnswerScores::default());
    assert_eq!(scores.retrieval.r_precision, 0.0);
    assert_eq!(scores.retrieval.at_k[0], AtK::zero(5));
}

#[test]
fn what_cannot_be_scored_is_named() {
    let one = || vec![record("1", &[("x", &["p"])])];
    let mut silent = guess("1", "", &["p"]);
    silent.answer = None;
    let cases = [
        (one(), vec![], "no prediction for id \"1\""),
        (one(), vec![guess("1", "x", &[]), guess("1", "y", &[])], "two predictions for id \"1\""),
        ([one(), one()].concat(), vec![guess("1", "x", &[])], "two records with id \"1\""),
        (vec![], vec![guess("1", "x", &[])], "no records"),
        (one(), vec![silent.clone()], "the prediction for id \"1\" has no answer"),
        (vec![record("1", &[])], vec![guess("1", "x", &[])], "record \"1\" has no gold answer"),
        (vec![record("1", &[(" ", &["p"])])], vec![guess("1", "x", &[])], "record \"1\" has no gold answer"),
    ];
    for (gold, guesses, want) in cases {
        let error = score(&gold, &guesses, &[1]).unwrap_err();
        assert!(error.to_string().contains(want), "{error:#}");
    }
    assert!(score_retrieval(&one(), &[guess("1", "x", &[])], &[1, 0]).is_err());
    // Pages can be scored without answers on either side.
    assert_eq!(score_retrieval(&one(), &[silent], &[1]).unwrap().r_precision, 1.0);
}
