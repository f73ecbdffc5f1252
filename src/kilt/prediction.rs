//! Prediction files, as the benchmark's scorer and its server take them.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::fields;
use super::lines::Lines;
use super::task::Record;
use crate::io::write_atomic;

/// One guess: an answer, and the pages it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// The record's id.
    pub id: String,
    /// The answer. May be empty, which scores 0; `None` is a guess of pages alone, which has no answer to score.
    pub answer: Option<String>,
    /// The `wikipedia_id` of each page, best first. A page may be repeated.
    pub pages: Vec<String>,
}

/// Writes one row per record, in the records' order:
/// `{"id": …, "output": [{"answer": …, "provenance": [{"wikipedia_id": …}, …]}]}`. The file appears whole or not at all.
///
/// # Errors
/// When a record has no prediction or two, or a prediction no record; when the file cannot be written.
pub fn write_predictions(path: &Path, records: &[Record], predictions: &[Prediction]) -> Result<()> {
    let mut by_id: HashMap<&str, &Prediction> = HashMap::new();
    for prediction in predictions {
        if by_id.insert(&prediction.id, prediction).is_some() {
            bail!("two predictions for id {:?}", prediction.id);
        }
    }
    let mut ordered = Vec::with_capacity(records.len());
    for record in records {
        let found = by_id.remove(record.id.as_str());
        ordered.push(found.with_context(|| format!("no prediction for id {:?}", record.id))?);
    }
    if let Some(id) = by_id.keys().min() {
        bail!("a prediction for id {id:?}, which no record has");
    }
    write_atomic(path, |file| {
        for prediction in ordered {
            serde_json::to_writer(&mut *file, &row(prediction))?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })
}

fn row(prediction: &Prediction) -> Value {
    let pages = prediction.pages.iter();
    let provenance: Vec<Value> = pages.map(|page| json!({ "wikipedia_id": page })).collect();
    let output = match &prediction.answer {
        Some(answer) => json!({ "answer": answer, "provenance": provenance }),
        None => json!({ "provenance": provenance }),
    };
    json!({ "id": prediction.id, "output": [output] })
}

/// Reads a prediction file, `.jsonl` or gzipped. Further keys (`input`, `meta`, a page's title) are passed over.
///
/// # Errors
/// Names file and line of a malformed row, of an id used twice, and of a row that has not exactly one output: the benchmark takes
/// one guess per record.
pub fn read_predictions(path: &Path) -> Result<Vec<Prediction>> {
    let mut predictions = Vec::new();
    let mut seen = HashSet::new();
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next() {
        let line = line?;
        let prediction = parse(&line.text).with_context(|| lines.place(line.number))?;
        if !seen.insert(prediction.id.clone()) {
            bail!("{}: a second prediction for id {:?}", lines.place(line.number), prediction.id);
        }
        predictions.push(prediction);
    }
    if predictions.is_empty() {
        bail!("{}: no predictions", path.display());
    }
    Ok(predictions)
}

fn parse(text: &str) -> Result<Prediction> {
    let mut row = fields::parse_row(text)?;
    let id = fields::id(&row, "id")?;
    let outputs = fields::list(&mut row, "output")?.context("`output` is missing")?;
    let count = outputs.len();
    let Ok([output]) = <[Value; 1]>::try_from(outputs) else {
        bail!("`output` has {count} entries; a prediction has exactly one");
    };
    let mut output = fields::object(output, "output[0]")?;
    let answer = fields::text(&mut output, "answer").context("output[0]")?;
    let items = fields::list(&mut output, "provenance").context("output[0]")?;
    let pages = items
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(i, item)| page(item).with_context(|| format!("output[0]: provenance[{i}]")))
        .collect::<Result<_>>()?;
    Ok(Prediction { id, answer, pages })
}

fn page(item: Value) -> Result<String> {
    fields::id(&fields::object(item, "it")?, "wikipedia_id")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(id: &str) -> Record {
        Record { id: id.into(), input: "?".into(), outputs: vec![], meta: Value::Null }
    }

    fn guess(id: &str, answer: Option<&str>, pages: &[&str]) -> Prediction {
        Prediction {
            id: id.into(),
            answer: answer.map(str::to_string),
            pages: pages.iter().map(|p| p.to_string()).collect(),
        }
    }

    fn complaint(content: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guess.jsonl");
        std::fs::write(&path, content).unwrap();
        format!("{:#}", read_predictions(&path).unwrap_err())
    }

    #[test]
    fn rows_are_the_benchmarks_and_in_record_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guess.jsonl");
        let guesses = [guess("b", None, &[]), guess("a", Some("Zoë \"Z\""), &["7", "7"])];
        write_predictions(&path, &[record("a"), record("b")], &guesses).unwrap();
        let want = concat!(
            r#"{"id":"a","output":[{"answer":"Zoë \"Z\"","provenance":[{"wikipedia_id":"7"},{"wikipedia_id":"7"}]}]}"#,
            "\n",
            r#"{"id":"b","output":[{"provenance":[]}]}"#,
            "\n"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), want);
        let read = read_predictions(&path).unwrap();
        assert_eq!(read, [guesses[1].clone(), guesses[0].clone()]);
    }

    #[test]
    fn predictions_and_records_must_match() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guess.jsonl");
        let one = guess("a", Some("x"), &[]);
        let cases = [
            (vec![], "no prediction for id \"a\""),
            (vec![one.clone(), one.clone()], "two predictions for id \"a\""),
            (vec![one.clone(), guess("z", None, &[])], "id \"z\", which no record has"),
        ];
        for (guesses, want) in cases {
            let error = write_predictions(&path, &[record("a")], &guesses).unwrap_err();
            assert!(format!("{error:#}").contains(want), "{error:#}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn every_bad_row_is_named() {
        let cases = [
            ("{", ":1: bad JSON"),
            (r#"{"output": [{"answer": "x"}]}"#, ":1: `id` is missing"),
            (r#"{"id": 1}"#, ":1: `output` is missing"),
            (r#"{"id": 1, "output": "x"}"#, "`output` is a string, not a list"),
            (r#"{"id": 1, "output": []}"#, "0 entries"),
            (r#"{"id": 1, "output": [{}, {}]}"#, "2 entries"),
            (r#"{"id": 1, "output": [{"answer": 1999}]}"#, "output[0]: `answer` is a number"),
            (r#"{"id": 1, "output": [{"provenance": [{}]}]}"#, "provenance[0]: `wikipedia_id` is missing"),
            (
                "{\"id\": 1, \"output\": [{}]}\n{\"id\": \"1\", \"output\": [{}]}",
                ":2: a second prediction for id \"1\"",
            ),
            ("", "no predictions"),
        ];
        for (content, want) in cases {
            let message = complaint(content);
            assert!(message.contains("guess.jsonl"), "{message}");
            assert!(message.contains(want), "{content}: {message}");
        }
    }

    #[test]
    fn other_keys_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guess.jsonl");
        let row = r#"{"id": 5, "input": "?", "output": [{"answer": "x", "provenance": [{"wikipedia_id": 9, "title": "T"}], "s": 1}]}"#;
        std::fs::write(&path, row).unwrap();
        assert_eq!(read_predictions(&path).unwrap(), [guess("5", Some("x"), &["9"])]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(answers in prop::collection::vec(prop::option::of("\\PC{0,20}"), 1..6)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("guess.jsonl");
            let ids: Vec<String> = (0..answers.len()).map(|i| format!("id {i}")).collect();
            let records: Vec<Record> = ids.iter().map(|id| record(id)).collect();
            let guesses: Vec<Prediction> =
                ids.iter().zip(&answers).map(|(id, a)| guess(id, a.as_deref(), &["1", "2"])).collect();
            write_predictions(&path, &records, &guesses).unwrap();
            prop_assert_eq!(read_predictions(&path).unwrap(), guesses);
        }
    }
}
