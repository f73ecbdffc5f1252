//! A small world to train in: pages, questions, a tokenizer of a few syllables, and sizes of a model to match.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use glimmer::cpu::{Cpu, Real};
use glimmer::experiment::{Ended, Init, Line, Plan, Settings, Sizes, TaskFiles, Trainer, read_log};
use glimmer::model::{Cut, Glimmer};
use serde_json::{Value, json};
use tempfile::TempDir;

const SYLLABLES: [&str; 16] =
    ["ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "wi", "zo", "ka", "le"];
const PAGES: usize = 80;

pub struct World {
    folder: TempDir,
}

/// Made-up words, all different.
fn word(number: usize) -> String {
    let syllable = |place: u32| SYLLABLES[number / 16usize.pow(place) % 16];
    [2, 1, 0].map(syllable).concat() + "n"
}

fn page(page: usize) -> Value {
    let more: Vec<String> = (0..6 + page % 9).map(|i| word(1000 + (page * 31 + i * 7) % 500)).collect();
    let text = format!("{} is a {} near {}. {}.", word(page), kind(page), word(page + 1), more.join(" and "));
    json!({"wikipedia_id": format!("{}", 100 + page), "wikipedia_title": word(page), "text": [word(page), text]})
}

fn kind(page: usize) -> String {
    word(4095 - page % 7)
}

fn question(page: usize) -> Value {
    let provenance = json!([{"wikipedia_id": format!("{}", 100 + page), "start_paragraph_id": 1}]);
    let output = json!([{"answer": kind(page), "provenance": provenance}, {"answer": word(page)}]);
    json!({"id": format!("q{page}"), "input": format!("what is {} near?", word(page)), "output": output})
}

fn slot(page: usize) -> Value {
    let mut question = question(page);
    question["input"] = format!("{} [SEP] kind of thing", word(page)).into();
    question
}

fn lines(rows: impl Iterator<Item = Value>) -> String {
    rows.map(|row| row.to_string() + "\n").collect()
}

/// A `tokenizer.json` with letters, syllables and ten sentinels.
fn tokenizer() -> Value {
    let spaces = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let mut vocab: Vec<(String, f64)> = ["<pad>", "</s>", "<unk>"].map(|token| (token.to_string(), 0.0)).into();
    vocab.push(("▁".into(), -2.0));
    vocab.extend(SYLLABLES.map(|syllable| (syllable.to_string(), -3.0)));
    vocab.extend(('a'..='z').chain([':', '.', '?', '[', ']']).map(|letter| (letter.to_string(), -5.0)));
    vocab.extend((0..10).rev().map(|i| (format!("<extra_id_{i}>"), 0.0)));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": spaces, "post_processor": null, "decoder": spaces,
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": vocab},
    })
}

pub fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

pub fn every(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).unwrap()
}

impl World {
    pub fn new() -> Self {
        let world = Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        world.write("knowledge.jsonl", lines((0..PAGES).map(page)));
        world.write("nq-train.jsonl", lines((0..60).map(question)));
        world.write("nq-dev.jsonl", lines((60..PAGES).map(question)));
        world.write("zsre-train.jsonl", lines((0..20).map(slot)));
        std::fs::create_dir(world.path("tokenizer")).unwrap();
        world.write("tokenizer/tokenizer.json", tokenizer().to_string());
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// GLIMMER 4 → 2 on both tasks, twelve steps of three questions.
    pub fn settings(&self) -> Settings {
        let sizes = Sizes { d_model: 16, d_kv: 8, d_ff: 24, num_layers: 3, num_decoder_layers: 1, ..Sizes::default() };
        let task = |name: &str| TaskFiles {
            train: format!("{name}-train.jsonl").into(),
            dev: (name == "nq").then(|| "nq-dev.jsonl".into()),
            metric: None,
            train_inputs: None,
            dev_inputs: None,
            thin: 0.0,
            gold: None,
        };
        Settings {
            init: Init::Random(sizes),
            reader: Some(Glimmer::new(Cut { live_layers: 2, rerank_layers: 1 }, 2)),
            knowledge: Some("knowledge.jsonl".into()),
            tasks: vec![task("nq"), task("zsre")],
            passages: count(4),
            steps: 12,
            batch: count(3),
            micro_batch_tokens: count(600),
            answer_tokens: count(4),
            learning_rate: 0.02,
            log_every: every(1),
            evaluate_every: every(4),
            save_every: every(5),
            dev_questions: count(5),
            ..Settings::default()
        }
    }

    pub fn plan(&self, settings: Settings, output: &str) -> Plan {
        Plan { settings, base: self.path(""), work: self.path("work"), output: self.path(output) }
    }

    pub fn open<T: Real>(&self, settings: &Settings, output: &str) -> Trainer<Cpu<T>> {
        Trainer::open(Cpu::default(), self.plan(settings.clone(), output)).unwrap()
    }

    /// Trains to the last step.
    #[track_caller]
    pub fn train(&self, settings: &Settings, output: &str) -> Trainer<Cpu<f32>> {
        let mut trainer = self.open(settings, output);
        assert_eq!(trainer.run().unwrap(), Ended::Finished);
        trainer
    }

    pub fn log(&self, output: &str) -> Vec<Line> {
        read_log(&self.path(output).join("log.jsonl")).unwrap()
    }

    /// What two runs that are one must have alike: the log without the clock, and the bytes of what is saved.
    #[track_caller]
    pub fn assert_same(&self, a: &str, b: &str) {
        assert_eq!(timeless(self.log(a)), timeless(self.log(b)));
        for file in ["last/model.safetensors", "last/optimiser.safetensors", "best/model.safetensors"] {
            let bytes = |output: &str| std::fs::read(self.path(output).join(file)).unwrap();
            assert!(bytes(a) == bytes(b), "{file} differs");
        }
        let best = |output: &str| -> Value { json_of(&self.path(output).join("last/state.json"))["best"].clone() };
        assert_eq!(best(a), best(b));
    }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn timeless(mut lines: Vec<Line>) -> Vec<Line> {
    for line in &mut lines {
        match line {
            Line::Evaluated { seconds, .. } => *seconds = 0.0,
            Line::Trained { examples_per_second, tokens_per_second, seconds, .. } => {
                (*examples_per_second, *tokens_per_second, *seconds) = (0.0, 0.0, 0.0);
            }
        }
    }
    lines
}
