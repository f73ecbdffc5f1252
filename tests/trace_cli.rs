//! The example `trace` as a process.

mod common;
#[path = "common/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::assert_close;
use glimmer::io::{Checkpoint, Stored, write_tensors};
use process::{Ran, example, run};
use tempfile::TempDir;

/// Relative error of f32 against the reference's f64, as in `tests/trace`.
const BOUND: f64 = 2e-5;

fn reference(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny").join(file)
}

fn trace(checkpoint: &Path, input: &Path, output: &Path, more: &[&str]) -> Ran {
    let mut command = Command::new(example("trace"));
    command.arg("--checkpoint").arg(checkpoint).arg("--input").arg(input).arg("--output").arg(output);
    run(command.args(more))
}

#[test]
fn a_trace_has_the_names_shapes_and_values_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let expected = Checkpoint::open_file(&reference("expected.safetensors")).unwrap();
    let wanted: Vec<&str> = expected.names().filter(|name| !name.starts_with("grad.")).collect();
    assert!(wanted.len() > 8, "{wanted:?}");
    for more in [&[][..], &["--precision", "f64"], &["--backend", "cpu", "--precision", "f32", "--max-tokens", "8"]] {
        let output = folder.path().join("trace.safetensors");
        let ran = trace(&reference(""), &reference("inputs.safetensors"), &output, more);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        // Nothing is said where there is nothing to choose.
        let chosen = ran.err.starts_with("machine: ") && ran.err.contains("(auto: ") && ran.err.lines().count() == 1;
        assert!(if more.contains(&"--backend") { ran.err.is_empty() } else { chosen }, "{}", ran.err);
        assert!(ran.out.contains(&format!("{} tensors in {}", wanted.len(), output.display())), "{}", ran.out);
        let found = Checkpoint::open_file(&output).unwrap();
        assert_eq!(found.names().collect::<Vec<_>>(), wanted);
        for name in &wanted {
            let (shape, values) = found.read_any(name).unwrap();
            let (wanted_shape, wanted) = expected.read_any(name).unwrap();
            assert_eq!(shape, wanted_shape, "{name}");
            match *name {
                "selected" | "generated" => assert_eq!(values, wanted, "{name}"),
                _ => assert_close(name, &values, &wanted, BOUND),
            }
        }
    }
}

#[test]
fn gradients_are_of_the_machine_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let expected = Checkpoint::open_file(&reference("expected.safetensors")).unwrap();
    let output = folder.path().join("trace.safetensors");
    let more = ["--backward", "--backend", "emulated", "--max-tokens", "1"];
    let ran = trace(&reference(""), &reference("inputs.safetensors"), &output, &more);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let found = Checkpoint::open_file(&output).unwrap();
    assert_eq!(found.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>());
    let name = "grad.lm_head.weight";
    assert_close(name, &found.read_any(name).unwrap().1, &expected.read_any(name).unwrap().1, 1e-4);
}

#[test]
fn machines_that_cannot_be_had_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("trace.safetensors");
    let refused = |more: &[&str], parts: &[&str]| {
        let ran = trace(&reference(""), &reference("inputs.safetensors"), &output, more);
        assert_eq!(ran.code, Some(1), "{more:?}: {}", ran.err);
        assert!(parts.iter().all(|part| ran.err.contains(part)), "{more:?}: no {parts:?} in {}", ran.err);
    };
    for packed in ["bf16", "int8"] {
        let named = format!("--precision {packed}");
        refused(&["--backend", "cpu", "--precision", packed, "--backward"], &[&named, "reading", "f32 or f64"]);
    }
    refused(&["--backend", "emulated", "--precision", "int8"], &["--precision int8", "f32 and bf16"]);
    refused(&["--backend", "emulated", "--precision", "f64"], &["--precision f64", "f32 and bf16"]);
    if let Err(why) = glimmer::cuda::probe() {
        let why = why.to_string();
        refused(&["--backend", "cuda"], &["--backend cuda", &why]);
        refused(&["--precision", "bf16", "--backward"], &["--precision bf16", &why, "--backend emulated"]);
    }
    assert!(!output.exists());
}

#[test]
fn an_answer_is_as_long_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("trace.safetensors");
    let ran = trace(&reference(""), &reference("inputs.safetensors"), &output, &["--max-tokens", "3"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let found = Checkpoint::open_file(&output).unwrap().read_i32("generated").unwrap();
    let wanted = Checkpoint::open_file(&reference("expected.safetensors")).unwrap().read_i32("generated").unwrap();
    assert_eq!(found.0, [wanted.0[0], 3]);
    let begin = wanted.1.chunks(wanted.0[1]).flat_map(|row| &row[..3]).copied().collect::<Vec<_>>();
    assert_eq!(found.1, begin);
}

/// The reference's inputs, of which one can be changed.
struct Inputs {
    folder: TempDir,
    tensors: BTreeMap<String, (Vec<usize>, Vec<i32>)>,
}

impl Inputs {
    fn new() -> Self {
        let file = Checkpoint::open_file(&reference("inputs.safetensors")).unwrap();
        let tensors = file.names().map(|name| (name.to_string(), file.read_i32(name).unwrap())).collect();
        Self { folder: tempfile::tempdir().unwrap(), tensors }
    }

    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        let [input, output] = ["inputs.safetensors", "trace.safetensors"].map(|name| self.folder.path().join(name));
        let stored: Vec<_> =
            self.tensors.iter().map(|(n, (shape, v))| (n.clone(), shape.clone(), Stored::I32(v))).collect();
        write_tensors(&input, &BTreeMap::new(), &stored).unwrap();
        let ran = trace(&reference(""), &input, &output, &[]);
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        for part in parts {
            assert!(ran.err.contains(part), "no {part:?} in {}", ran.err);
        }
        assert!(!output.exists());
    }
}

#[test]
fn inputs_that_fit_no_model_are_named() {
    for name in ["question_ids", "question_len", "passage_ids", "passage_len", "target_ids", "target_len"] {
        let mut inputs = Inputs::new();
        inputs.tensors.remove(name);
        inputs.refused(&["inputs.safetensors is no input of a trace", name]);
    }
    for name in ["question", "passage", "target"] {
        let (ids, len) = (format!("{name}_ids"), format!("{name}_len"));
        for length in [0, -1, 1000] {
            let mut inputs = Inputs::new();
            inputs.tensors.get_mut(&len).unwrap().1[1] = length;
            inputs.refused(&[&format!("{name}_len[1] is not within 1 to")]);
        }
        let mut inputs = Inputs::new();
        inputs.tensors.get_mut(&ids).unwrap().1[0] = 1_000_000;
        inputs.refused(&["1000000", "vocabulary"]);
        let mut inputs = Inputs::new();
        inputs.tensors.get_mut(&ids).unwrap().1[0] = -5;
        inputs.refused(&[&ids, "-5"]);
        let mut inputs = Inputs::new();
        let lengths = inputs.tensors.get_mut(&len).unwrap();
        *lengths = (vec![lengths.1.len(), 1], lengths.1.clone());
        inputs.refused(&[&ids, &len]);
    }
}

#[test]
fn files_that_are_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("trace.safetensors");
    let inputs = reference("inputs.safetensors");
    let refused = |checkpoint: &Path, input: &Path, output: &Path, parts: &[&str]| {
        let ran = trace(checkpoint, input, output, &[]);
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        assert!(parts.iter().all(|part| ran.err.contains(part)), "{parts:?} in {}", ran.err);
    };
    refused(&reference(""), &reference("config.json"), &output, &["config.json", "safetensors"]);
    refused(&reference(""), &reference("absent.safetensors"), &output, &["absent.safetensors"]);
    refused(&reference(""), &reference("model.safetensors"), &output, &["model.safetensors", "question_ids"]);
    refused(folder.path(), &inputs, &output, &["config.json"]);
    refused(&reference(""), &inputs, Path::new("/nowhere/at/all"), &["/nowhere/at"]);
    let usage = trace(&reference(""), &inputs, &output, &["--max-tokens", "0"]);
    assert!(usage.code == Some(2) && usage.err.contains("--max-tokens"), "{}", usage.err);
    assert!(!output.exists());
}
