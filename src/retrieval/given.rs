//! Passages given in the task file itself, as FiD and Atlas distribute them.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;

use crate::kilt::{Line, Lines};

/// One question with its passages.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The record's id, as text.
    pub id: String,
    /// The question, as it stands.
    pub question: String,
    /// In the file's order, whatever their scores.
    pub passages: Vec<GivenPassage>,
}

/// One passage of [`Given`].
#[derive(Clone, Debug, PartialEq)]
pub struct GivenPassage {
    /// Its id as text, if it has one.
    pub id: Option<String>,
    /// Title of its page; may be empty.
    pub title: String,
    /// Its text.
    pub text: String,
    /// The retriever's score, if the file has one; never made up.
    pub score: Option<f64>,
}

/// Reads a file of questions with their passages, in its order.
///
/// One JSON object per line, gzipped or not:
///
/// ```text
/// {"id": "q1", "question": "…", "ctxs": [{"id": "p7", "title": "…", "text": "…", "score": 81.5}, …]}
/// ```
///
/// | field | accepted |
/// |-------|----------|
/// | `id` | string or integer, distinct within the file |
/// | `input` or `question` | one of the two, not blank |
/// | `ctxs` or `passages` | one of the two: a list, best first, which may be empty |
/// | `….title` | string, may be empty |
/// | `….text` | string, not blank |
/// | `….id` | string or integer, or absent |
/// | `….score` | finite number, or a string that holds one (as DPR writes it), or absent |
///
/// All other fields are left alone: answers and evidence are read with the task.
///
/// # Errors
/// At the first record that is not of that shape, with file, line and, where there is one, passage.
pub fn read_given(path: &Path) -> Result<Vec<Given>> {
    let mut lines = Lines::open(path)?;
    let mut records = Vec::new();
    let mut line_of_id: HashMap<String, usize> = HashMap::new();
    while let Some(line) = lines.next() {
        let Line { number, text } = line?;
        let record = parse(&text).with_context(|| lines.place(number))?;
        if let Some(earlier) = line_of_id.insert(record.id.clone(), number) {
            bail!("{}: id {:?} is already on line {earlier}", lines.place(number), record.id);
        }
        records.push(record);
    }
    Ok(records)
}

#[derive(Deserialize)]
struct RawRecord {
    id: Text,
    input: Option<String>,
    question: Option<String>,
    ctxs: Option<Vec<serde_json::Value>>,
    passages: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct RawPassage {
    id: Option<Text>,
    title: String,
    text: String,
    score: Option<Number>,
}

/// Ids come quoted and unquoted.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an id must be a string or an integer")]
enum Text {
    String(String),
    Integer(i64),
}

/// Scores come quoted and unquoted.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a score must be a number")]
enum Number {
    Number(f64),
    String(String),
}

fn parse(line: &str) -> Result<Given> {
    let raw: RawRecord = serde_json::from_str(line).map_err(|e| anyhow!(without_line(&e)))?;
    let question = only(("input", raw.input), ("question", raw.question))?;
    ensure!(!question.trim().is_empty(), "the question is blank");
    let passages = only(("ctxs", raw.ctxs), ("passages", raw.passages))?;
    let passages = passages
        .into_iter()
        .enumerate()
        .map(|(i, passage)| parse_passage(passage).with_context(|| format!("passage {i} (from 0)")))
        .collect::<Result<_>>()?;
    Ok(Given { id: raw.id.into_string(), question, passages })
}

fn parse_passage(value: serde_json::Value) -> Result<GivenPassage> {
    let raw: RawPassage = serde_json::from_value(value)?;
    ensure!(!raw.text.trim().is_empty(), "its text is blank");
    Ok(GivenPassage {
        id: raw.id.map(Text::into_string),
        title: raw.title,
        text: raw.text,
        score: raw.score.map(Number::into_f64).transpose()?,
    })
}

/// The value of whichever of two names for one thing is there.
fn only<T>(a: (&str, Option<T>), b: (&str, Option<T>)) -> Result<T> {
    match (a, b) {
        ((_, Some(value)), (_, None)) | ((_, None), (_, Some(value))) => Ok(value),
        ((a, None), (b, None)) => bail!("has neither `{a}` nor `{b}`"),
        ((a, Some(_)), (b, Some(_))) => bail!("has both `{a}` and `{b}`: keep the one to be used"),
    }
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::String(text) => text,
            Self::Integer(number) => number.to_string(),
        }
    }
}

impl Number {
    fn into_f64(self) -> Result<f64> {
        let number = match &self {
            Self::Number(number) => *number,
            Self::String(text) => text.trim().parse().with_context(|| format!("its score {text:?} is not a number"))?,
        };
        ensure!(number.is_finite(), "its score {number} is not finite");
        Ok(number)
    }
}

/// The parser sees one line and calls it line 1, which would contradict the file's line number before it.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(content: &[u8]) -> Result<Vec<Given>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        read_given(file.path())
    }

    const FID: &str = r#"{"id": 7, "question": "who?", "target": "x", "answers": ["x"], "ctxs": [{"id": 12, "title": "T", "text": "one", "score": "81.5"}, {"title": "", "text": "two"}]}"#;
    const ATLAS: &str = r#"{"id": "q8", "input": "a [SEP] b", "passages": [{"title": "T", "section": "S", "text": "one", "score": -1}], "output": []}"#;

    #[test]
    fn both_dialects_are_read() {
        let records = read(format!("{FID}\n{ATLAS}\r\n\n").as_bytes()).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].id.as_str(), records[0].question.as_str()), ("7", "who?"));
        let [first, second] = &records[0].passages[..] else { panic!() };
        assert_eq!((first.id.as_deref(), first.score), (Some("12"), Some(81.5)));
        assert_eq!((second.id.as_deref(), second.title.as_str(), second.score), (None, "", None));
        assert_eq!((records[1].id.as_str(), records[1].question.as_str()), ("q8", "a [SEP] b"));
        assert_eq!(records[1].passages[0].score, Some(-1.0));
    }

    #[test]
    fn gzip_is_recognised_and_its_end_checked() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(FID.as_bytes()).unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(read(&packed).unwrap(), read(FID.as_bytes()).unwrap());
        let error = read(&packed[..packed.len() - 9]).unwrap_err();
        assert!(format!("{error:#}").contains(":1"), "{error:#}");
    }

    #[test]
    fn lists_may_be_empty_and_files_too() {
        let none = read(br#"{"id": "a", "input": "q", "ctxs": []}"#).unwrap();
        assert!(none[0].passages.is_empty());
        assert_eq!(read(b"").unwrap(), []);
    }

    #[test]
    fn every_complaint_names_its_place() {
        let cases = [
            (r#"{"id": "a", "input": "q""#, "column"),
            (r#"{"input": "q", "ctxs": []}"#, "`id`"),
            (r#"{"id": 1.5, "input": "q", "ctxs": []}"#, "string or an integer"),
            (r#"{"id": null, "input": "q", "ctxs": []}"#, "string or an integer"),
            (r#"{"id": "a", "ctxs": []}"#, "neither `input` nor `question`"),
            (r#"{"id": "a", "input": "q", "question": "q", "ctxs": []}"#, "both `input`"),
            (r#"{"id": "a", "input": " ", "ctxs": []}"#, "blank"),
            (r#"{"id": "a", "input": "q"}"#, "neither `ctxs` nor `passages`"),
            (r#"{"id": "a", "input": "q", "ctxs": null}"#, "neither `ctxs`"),
            (r#"{"id": "a", "input": "q", "ctxs": [], "passages": []}"#, "both `ctxs`"),
            (r#"{"id": "a", "input": "q", "ctxs": {}}"#, "sequence"),
            (r#"{"id": "a", "input": "q", "ctxs": ["text"]}"#, "passage 0"),
            (r#"{"id": "a", "input": "q", "ctxs": [{"text": "x"}]}"#, "`title`"),
            (r#"{"id": "a", "input": "q", "ctxs": [{"title": "x"}]}"#, "`text`"),
            (r#"{"id": "a", "input": "q", "ctxs": [{"title": "x", "text": "\n"}]}"#, "blank"),
            (r#"{"id": "a", "input": "q", "ctxs": [{"title": "x", "text": "y", "score": "high"}]}"#, "\"high\""),
            (r#"{"id": "a", "input": "q", "ctxs": [{"title": "x", "text": "y", "score": "NaN"}]}"#, "not finite"),
            (r#"{"id": "a", "input": "q", "ctxs": [{"title": "x", "text": "y", "score": [1]}]}"#, "must be a number"),
            (r#"{"id": "7", "input": "again", "ctxs": []}"#, "already on line 1"),
            ("[]", ""),
        ];
        for (line, complaint) in cases {
            let error = read(format!("{FID}\n{line}\n").as_bytes()).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(":2") && error.contains(complaint), "{line}: {error}");
        }
    }

    #[test]
    fn other_bytes_and_missing_files_are_errors() {
        let mut content = format!("{ATLAS}\n").into_bytes();
        content.extend_from_slice(b"{\"id\": \"\xff\"}");
        assert!(format!("{:#}", read(&content).unwrap_err()).contains(":2"));
        let error = read_given(Path::new("/nowhere/task.jsonl")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/task.jsonl"), "{error}");
    }
}
