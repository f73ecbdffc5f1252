//! What cannot be trained, and what is said about it.

use std::process::Command;

use glimmer::cpu::Cpu;
use glimmer::experiment::{Init, Retriever, Settings, Trainer};

use crate::process::{example, run};
use crate::world::{World, count};

#[track_caller]
fn refused(world: &World, settings: Settings, parts: &[&str]) {
    let folder = tempfile::tempdir_in(world.path("")).unwrap();
    let output = folder.path().file_name().unwrap().to_str().unwrap().to_string();
    let error = Trainer::open(Cpu::<f32>::default(), world.plan(settings, &output)).err().expect("an error");
    for part in parts {
        assert!(format!("{error:#}").contains(part), "no {part:?} in {error:#}");
    }
}

#[test]
fn every_complaint_names_the_place() {
    let world = World::new();
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = world.settings();
        change(&mut settings);
        settings
    };
    refused(&world, with(&|s| s.init = Init::Checkpoint("nowhere".into())), &["nowhere", "config.json"]);
    refused(&world, with(&|s| s.knowledge = Some("none.jsonl".into())), &["none.jsonl"]);
    refused(&world, with(&|s| s.tasks[0].train = "nq-none.jsonl".into()), &["nq-none.jsonl"]);
    refused(&world, with(&|s| s.tasks[1].dev = Some("nq-dev.jsonl".into())), &["nq-dev.jsonl", "already"]);
    world.write("mine-dev.jsonl", std::fs::read(world.path("nq-dev.jsonl")).unwrap());
    refused(&world, with(&|s| s.tasks[0].dev = Some("mine-dev.jsonl".into())), &["\"mine\"", "metric"]);
    refused(&world, with(&|s| s.retriever = Retriever::Given), &["nq-train.jsonl:1", "ctxs"]);
    world.write("empty-train.jsonl", "{\"id\": 1, \"input\": \"what?\", \"output\": []}\n");
    refused(&world, with(&|s| s.tasks[0].train = "empty-train.jsonl".into()), &["\"empty\"", "no record"]);
    let reader = world.settings().reader.unwrap();
    refused(&world, with(&|s| s.reader.as_mut().unwrap().live_layers = 9), &["live_layers", "3 layers"]);
    refused(&world, with(&|s| s.reader.as_mut().unwrap().rerank_layers = reader.live_layers + 1), &["rerank_layers"]);
    let small = |s: &mut Settings| {
        if let Init::Random(sizes) = &mut s.init {
            sizes.vocab_size = Some(20);
        }
    };
    refused(&world, with(&small), &["tokenizer", "20"]);
    world.write("noise-train.jsonl", "no JSON\n");
    refused(&world, with(&|s| s.tasks[0].train = "noise-train.jsonl".into()), &["noise-train.jsonl:1"]);
}

#[test]
fn a_folder_belongs_to_one_run() {
    let world = World::new();
    let settings = world.settings();
    let open = |settings: Settings, output: &str| Trainer::open(Cpu::<f32>::default(), world.plan(settings, output));
    let held = open(settings.clone(), "run").unwrap();
    let error = format!("{:#}", open(settings.clone(), "run").err().unwrap());
    assert!(error.contains("another run works in"), "{error}");
    drop(held);
    let error = format!("{:#}", open(Settings { batch: count(7), ..settings.clone() }, "run").err().unwrap());
    assert!(error.contains("batch (was 3, is 7)"), "{error}");
    let error = format!("{:#}", open(settings.clone(), "tokenizer").err().unwrap());
    assert!(error.contains("tokenizer.json") && error.contains("something else"), "{error}");
    open(settings, "run").unwrap();
}

#[test]
fn what_a_kill_left_in_a_new_folder_is_no_hindrance() {
    let world = World::new();
    std::fs::create_dir(world.path("run")).unwrap();
    world.write("run/.partial-x1", "half a file");
    world.train(&Settings { steps: 1, ..world.settings() }, "run");
    assert!(!world.path("run/.partial-x1").exists());
}

#[test]
fn runs_that_begin_together_share_what_is_made_ready() {
    let world = World::new();
    let open = |name: &str| drop(world.open::<f32>(&world.settings(), name));
    std::thread::scope(|scope| {
        let runs: Vec<_> = ["a", "b", "c"].map(|name| scope.spawn(move || open(name))).into();
        runs.into_iter().for_each(|run| run.join().unwrap());
    });
}

#[test]
fn a_damaged_state_is_told() {
    let world = World::new();
    let settings = Settings { steps: 1, ..world.settings() };
    world.train(&settings, "run");
    let open = || Trainer::open(Cpu::<f32>::default(), world.plan(settings.clone(), "run"));
    let path = world.path("run/last/state.json");
    let state = std::fs::read(&path).unwrap();
    std::fs::write(&path, &state[..state.len() / 2]).unwrap();
    let error = format!("{:#}", open().err().unwrap());
    assert!(error.contains("state.json is damaged") && error.contains("delete"), "{error}");
    std::fs::write(&path, state).unwrap();
    let path = world.path("run/last/optimiser.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let error = format!("{:#}", open().err().unwrap());
    assert!(error.contains("optimiser.safetensors"), "{error}");
}

#[test]
fn the_command_line_explains_itself() {
    let train = |args: &[&str]| run(Command::new(example("train")).args(args));
    let help = train(&["--help"]);
    assert_eq!(help.code, Some(0));
    for word in ["--config", "--init", "--learning-rate", "goes on when the same command", "Exit status"] {
        assert!(help.out.contains(word), "no {word:?} in\n{}", help.out);
    }
    let shown = train(&["--show", "--reader", "fid", "--k", "5", "--steps", "7"]);
    let settings: Settings = serde_json::from_str(&shown.out).unwrap();
    assert_eq!((settings.steps, settings.passages.get()), (7, 5));
    let reader = settings.reader.unwrap();
    assert_eq!((reader.rerank_layers, reader.selected), (0, 5));
    for (args, part) in [
        (vec!["--m", "30", "--k", "5"], "--m 30"),
        (vec!["--config", "nowhere.json"], "nowhere.json"),
        (vec!["--init", "nowhere"], "knowledge is missing"),
        (vec!["--train", "nq-train.jsonl", "--dev", "fever-dev.jsonl"], "fever"),
        (vec!["--train", "nq-train.jsonl", "--metric", "a=em"], "--metric a"),
    ] {
        let ran = train(&args);
        assert_eq!(ran.code, Some(1), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(part), "{args:?}: {}", ran.err);
    }
}
