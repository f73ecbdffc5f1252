//! A small world to evaluate in: pages, questions, a tiny checkpoint with random weights, and the example to run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use glimmer::backend::Mat;
use glimmer::cpu::Cpu;
use glimmer::model::{Config, Cut, Glimmer, Reader};
use glimmer::nn::Leaf;
use glimmer::random;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Ran, example, run};

/// Pages of a world unless told.
pub const PAGES: usize = 40;
/// Questions of each task.
pub const QUESTIONS: usize = 10;

pub struct World {
    folder: TempDir,
}

/// Made-up words, all different.
pub fn word(number: usize) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "wi", "zo", "ka", "le"];
    let syllable = |place: u32| SYLLABLES[number / 16usize.pow(place) % 16];
    [2, 1, 0].map(syllable).concat() + "n"
}

/// What a page is about, and the kind of thing that it is.
fn subject(page: usize) -> (String, String) {
    (word(page), word(4095 - page % 7))
}

pub fn page(page: usize) -> Value {
    let (name, kind) = subject(page);
    let more: Vec<String> = (0..6 + page % 5).map(|i| word(1000 + (page * 31 + i * 7) % 500)).collect();
    let text = format!("{name} is a {kind} near {}. People there speak of {}.", word(page + 1), more.join(" and "));
    json!({"wikipedia_id": format!("{}", 100 + page), "wikipedia_title": name, "text": [format!("{name}\n"), text]})
}

/// A question about a page, as KILT has it.
pub fn question(page: usize, input: &str) -> Value {
    let provenance = json!([{"wikipedia_id": format!("{}", 100 + page), "title": subject(page).0}]);
    json!({"id": format!("q{page}"), "input": input, "output": [{"answer": subject(page).1, "provenance": provenance}]})
}

pub fn asked(number: usize) -> String {
    format!("what kind of thing is {} near {}?", word(number), word(number + 1))
}

pub fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| row.to_string() + "\n").collect()
}

impl World {
    pub fn new() -> Self {
        let world = Self::without_checkpoint();
        world.checkpoint("model");
        world
    }

    /// For what goes wrong before a model is needed.
    pub fn without_checkpoint() -> Self {
        let world = Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        world.write("knowledge.jsonl", lines((0..PAGES).map(page)));
        world.write("nq-dev.jsonl", lines((0..QUESTIONS).map(|i| question(i, &asked(i)))));
        world.write(
            "zsre-dev.jsonl",
            lines((5..5 + QUESTIONS).map(|i| question(i, &format!("{} [SEP] kind of thing", word(i))))),
        );
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// A folder with a reader of four thin layers.
    pub fn checkpoint(&self, name: &str) {
        let sizes = Config { d_model: 16, d_kv: 8, d_ff: 32, num_layers: 4, ..Config::mini() };
        self.checkpoint_of(name, Config { num_decoder_layers: Some(2), ..sizes });
    }

    pub fn checkpoint_of(&self, name: &str, config: Config) {
        let width = config.d_model;
        let glimmer = Glimmer::new(Cut { live_layers: config.num_layers / 2, rerank_layers: 1 }, 3);
        let mut reader = Reader::random(Cpu::<f32>::default(), config, glimmer, 3).unwrap();
        // A new scorer is zero and keeps the retriever's order; one that was trained does not.
        let scorer = (0..width as u64).map(|i| random::normal(4, 0, i) as f32).collect();
        reader.weights.scorer = Leaf(Mat::upload(&reader.be, 1, width, scorer));
        reader.save(&self.path(name)).unwrap();
        self.tokenizer(name);
    }

    pub fn tokenizer(&self, checkpoint: &str) {
        let spiece = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tokenizer/spiece.model");
        std::fs::copy(spiece, self.path(checkpoint).join("spiece.model")).unwrap();
    }

    /// The command line that evaluates all readers on both tasks.
    pub fn ask(&self) -> Ask<'_> {
        let ask = Ask { world: self, options: BTreeMap::new() };
        ask.file("--checkpoint", "model")
            .file("--knowledge", "knowledge.jsonl")
            .tasks(&["nq-dev.jsonl", "zsre-dev.jsonl"])
            .file("--work", "work")
            .set("--answer-tokens", "4")
    }
}

/// A command line in the making; what is set twice has the later value.
#[derive(Clone)]
pub struct Ask<'a> {
    world: &'a World,
    options: BTreeMap<&'static str, Vec<String>>,
}

impl Ask<'_> {
    pub fn set(mut self, option: &'static str, value: &str) -> Self {
        self.options.insert(option, vec![value.into()]);
        self
    }

    pub fn file(self, option: &'static str, name: &str) -> Self {
        let path = self.world.path(name);
        self.set(option, path.to_str().unwrap())
    }

    pub fn tasks(mut self, names: &[&str]) -> Self {
        let paths = names.iter().map(|name| self.world.path(name).to_str().unwrap().to_string());
        self.options.insert("--tasks", paths.collect());
        self
    }

    pub fn without(mut self, option: &str) -> Self {
        self.options.remove(option);
        self
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(example("kilt_eval"));
        // Nearly all readers are so small that threads would do little but wait for each other.
        command.env("RAYON_NUM_THREADS", "1");
        for (option, values) in &self.options {
            command.arg(option).args(values);
        }
        command
    }

    /// Runs to the end.
    pub fn run(&self) -> Ran {
        run(&mut self.command())
    }

    /// Runs to an end that is a success.
    #[track_caller]
    pub fn succeed(&self) -> Ran {
        let ran = self.run();
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran
    }

    /// Runs to an error whose message has all of `parts`.
    #[track_caller]
    pub fn refuse(&self, parts: &[&str]) {
        let ran = self.run();
        assert!(ran.code.is_some_and(|code| code != 0), "was done all the same:\n{}", ran.err);
        for part in parts {
            assert!(ran.err.contains(part), "no {part:?} in\n{}", ran.err);
        }
    }

    pub fn spawn(&self) -> Child {
        self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}
