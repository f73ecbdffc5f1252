use std::io::Write;
use std::path::PathBuf;

use super::*;

fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn read(content: &str) -> Result<Vec<Record>> {
    let (_folder, path) = file("nq-dev-kilt.jsonl", content.as_bytes());
    read_task(&path)
}

/// A good row, then a bad one: the complaint must name line 2 of the file.
fn complaint(row: &str) -> String {
    let content = format!("{{\"id\": \"first\", \"input\": \"who?\"}}\n{row}\n");
    let message = format!("{:#}", read(&content).unwrap_err());
    assert!(message.contains("nq-dev-kilt.jsonl:2: "), "{message}");
    message
}

const HARBOUR: &str = r#"{"id": 17, "input": " which port? ", "output": [
    {"answer": "Rye ", "provenance": [{"wikipedia_id": 88, "title": "Rye", "start_paragraph_id": "2",
     "end_paragraph_id": 3, "start_character": 4, "end_character": 7, "bleu_score": 0.5, "section": 1}]},
    {"answer": "Rye"}, {"provenance": []}, {"answer": null}, {"answer": "the town of Rye"}], "meta": {"kind": "place"}}"#;

#[test]
fn a_record_has_its_answers_and_its_evidence() {
    let records = read(&HARBOUR.replace('\n', " ")).unwrap();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.id.as_str(), record.input.as_str()), ("17", " which port? "));
    assert_eq!(record.answers(), ["Rye", "the town of Rye"]);
    assert_eq!(record.meta["kind"], "place");
    let evidence = &record.outputs[0].evidence()[0];
    let want = Provenance {
        wikipedia_id: "88".into(),
        title: Some("Rye".into()),
        start_paragraph_id: Some(2),
        end_paragraph_id: Some(3),
        start_character: Some(4),
        end_character: Some(7),
        bleu_score: Some(0.5),
    };
    assert_eq!(evidence, &want);
    assert_eq!(record.outputs[1].provenance, None);
    assert_eq!(record.outputs[2].provenance, Some(vec![]));
    assert!(record.outputs[1].evidence().is_empty());
}

#[test]
fn a_test_split_has_no_outputs() {
    let records =
        read("{\"id\": \"a\", \"input\": \"x\"}\n{\"id\": \"b\", \"input\": \"y\", \"output\": []}\n\n").unwrap();
    assert!(records.iter().all(|r| r.outputs.is_empty() && r.answers().is_empty()));
    assert!(records.iter().all(|r| r.meta.is_null()));
}

#[test]
fn gzip_is_told_by_content() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(b"{\"id\": 1, \"input\": \"x\"}\n").unwrap();
    let (_folder, path) = file("plain-name.jsonl", &encoder.finish().unwrap());
    assert_eq!(read_task(&path).unwrap()[0].id, "1");
}

#[test]
fn every_bad_row_is_named() {
    let cases = [
        ("{\"id\": \"b\", \"input\": ", "bad JSON"),
        ("[1, 2]", "the row is a list, not an object"),
        (r#"{"input": "x"}"#, "`id` is missing"),
        (r#"{"id": null, "input": "x"}"#, "`id` is missing"),
        (r#"{"id": "  ", "input": "x"}"#, "`id` is empty"),
        (r#"{"id": 1.5, "input": "x"}"#, "not a string or an integer"),
        (r#"{"id": " first ", "input": "x"}"#, "already that of line 1"),
        (r#"{"id": "b"}"#, "`input` is missing"),
        (r#"{"id": "b", "input": " \t "}"#, "`input` is empty"),
        (r#"{"id": "b", "input": 5}"#, "`input` is a number"),
        (r#"{"id": "b", "input": "x", "output": {}}"#, "`output` is an object, not a list"),
        (r#"{"id": "b", "input": "x", "output": null}"#, "`output` is null"),
        (r#"{"id": "b", "input": "x", "output": ["y"]}"#, "output[0]: it is a string, not an object"),
        (r#"{"id": "b", "input": "x", "output": [{"answer": ["y"]}]}"#, "output[0]: `answer` is a list"),
        (r#"{"id": "b", "input": "x", "output": [{}, {"provenance": null}]}"#, "output[1]: `provenance` is null"),
        (
            r#"{"id": "b", "input": "x", "output": [{"provenance": [{"wikipedia_id": "1"}, {"title": "T"}]}]}"#,
            "output[0]: provenance[1]: `wikipedia_id` is missing",
        ),
        (
            r#"{"id": "b", "input": "x", "output": [{"provenance": [{"wikipedia_id": "1", "bleu_score": "high"}]}]}"#,
            "`bleu_score` is a string, not a number",
        ),
        (
            r#"{"id": "b", "input": "x", "output": [{"provenance": [{"wikipedia_id": "1", "start_paragraph_id": "one"}]}]}"#,
            "`start_paragraph_id` is \"one\", not an integer",
        ),
    ];
    for (row, want) in cases {
        let message = complaint(row);
        assert!(message.contains(want), "{row}: {message}");
    }
}

#[test]
fn bad_files_are_named() {
    let (_folder, path) = file("nq-dev.jsonl", b"{\"id\": 1, \"input\": \"\xff\"}\n");
    assert!(format!("{:#}", read_task(&path).unwrap_err()).contains("nq-dev.jsonl:1: not UTF-8"));
    assert!(format!("{:#}", read("\n\n").unwrap_err()).contains("no records"));
    let gap = read("{\"id\": 1, \"input\": \"x\"}\n\n{\"id\": 2, \"input\": \"y\"}\n").unwrap_err();
    assert!(format!("{gap:#}").contains(":2: a blank line"));
}

#[test]
fn inputs_come_from_a_second_file() {
    let (_one, task) =
        file("triviaqa-dev.jsonl", b"{\"id\": \"q1\"}\n{\"id\": 2}\n{\"id\": \"q3\", \"input\": \"own\"}\n");
    assert!(format!("{:#}", read_task(&task).unwrap_err()).contains("TriviaQA"));
    let rows = "{\"id\": \"2\", \"input\": \"two?\"}\n{\"id\": \"q1\", \"input\": \"one?\"}\n{\"id\": \"spare\", \"input\": \"z\"}\n";
    let (_two, inputs) = file("inputs.jsonl", rows.as_bytes());
    let records = read_task_with_inputs(&task, &inputs).unwrap();
    let inputs: Vec<&str> = records.iter().map(|r| r.input.as_str()).collect();
    assert_eq!(inputs, ["one?", "two?", "own"]);
}

#[test]
fn a_bad_inputs_file_is_named() {
    let (_one, task) = file("triviaqa-dev.jsonl", b"{\"id\": \"q1\"}\n{\"id\": \"q2\"}\n");
    let cases = [
        ("{\"id\": \"q1\", \"input\": \"x\"}\n", "inputs.jsonl: no row gives the input of id \"q2\""),
        ("{\"id\": \"q1\", \"input\": \"x\"}\n{\"id\": \"q1\", \"input\": \"x\"}\n", "inputs.jsonl:2: id \"q1\""),
        ("{\"id\": \"q1\"}\n", "inputs.jsonl:1: `input` is missing"),
        ("{\"id\": \"q1\", \"input\": \" \"}\n", "inputs.jsonl:1: `input` is empty"),
    ];
    for (rows, want) in cases {
        let (_two, inputs) = file("inputs.jsonl", rows.as_bytes());
        let message = format!("{:#}", read_task_with_inputs(&task, &inputs).unwrap_err());
        assert!(message.contains(want), "{rows}: {message}");
    }
}

#[test]
fn slot_filling_inputs_have_two_halves() {
    let halves = |input: &str| {
        let record = Record { id: "1".into(), input: input.into(), outputs: vec![], meta: Value::Null };
        record.subject_relation().map(|(s, r)| format!("{s}|{r}"))
    };
    assert_eq!(halves("River Cam [SEP] mouth of the watercourse").unwrap(), "River Cam|mouth of the watercourse");
    assert_eq!(halves("who wrote it?"), None);
    assert_eq!(halves(" [SEP] genre"), None);
}

#[test]
fn the_file_name_tells_task_and_metric() {
    let cases = [
        ("/d/nq-dev-kilt.jsonl", "nq", Metric::ExactMatch),
        ("triviaqa-dev_id-kilt.jsonl", "triviaqa", Metric::ExactMatch),
        ("hotpotqa-train-kilt.jsonl.gz", "hotpotqa", Metric::ExactMatch),
        ("fever-dev-kilt.jsonl", "fever", Metric::Accuracy),
        ("trex-dev-kilt.jsonl", "trex", Metric::Accuracy),
        ("structured_zeroshot-dev-kilt.jsonl", "structured_zeroshot", Metric::Accuracy),
        ("zsre.jsonl", "zsre", Metric::Accuracy),
        ("wiki_desc-dev.jsonl.gz", "wiki_desc", Metric::ExactMatch),
        ("wiki_hop-dev.jsonl.gz", "wiki_hop", Metric::ExactMatch),
        ("wiki_cloze-dev.jsonl.gz", "wiki_cloze", Metric::ExactMatch),
        ("wiki_claim-dev.jsonl.gz", "wiki_claim", Metric::Accuracy),
        ("wiki_slot-dev.jsonl.gz", "wiki_slot", Metric::Accuracy),
        ("wiki_zeroshot-dev.jsonl.gz", "wiki_zeroshot", Metric::Accuracy),
    ];
    for (path, name, metric) in cases {
        assert_eq!(task_name(Path::new(path)).unwrap(), name);
        assert_eq!(Metric::of_task(name).unwrap(), metric);
    }
    assert!(task_name(Path::new("-dev.jsonl")).is_err());
    assert!(task_name(Path::new("/")).is_err());
    let unknown = Metric::of_task("eli5").unwrap_err().to_string();
    assert!(unknown.contains("eli5") && unknown.contains("hotpotqa"));
}
