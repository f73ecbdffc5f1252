//! A store is read where it lies: the process holds the passages that it reads, not the store.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use glimmer::model::Config;
use serde_json::json;

use crate::process::Ran;
use crate::world::{World, lines, question, word};

const PASSAGES: usize = 900;
/// Tokens of every passage, so that a store's size is known.
const TOKENS: usize = 304;
const WIDTH: usize = 320;

/// Most bytes that a run held at a time.
fn peak_bytes(command: &mut std::process::Command) -> u64 {
    use std::process::Stdio;
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let waiting = std::thread::spawn(move || Ran::of(child.wait_with_output().unwrap()));
    let mut peak = 0;
    // The mark never falls, and so the last look is the one that counts.
    while !waiting.is_finished() {
        peak = peak.max(high_water_mark(&status).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    let ran = waiting.join().unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    peak
}

fn high_water_mark(status: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn bytes_of(folder: &Path) -> u64 {
    folder.read_dir().unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// A model of hardly any arithmetic whose memories are wide.
fn wide(world: &World) {
    let sizes = Config { d_model: WIDTH, d_kv: 4, d_ff: 4, num_heads: 1, num_layers: 2, ..Config::mini() };
    world.checkpoint_of("wide", Config { num_decoder_layers: Some(1), ..sizes });
}

#[test]
fn a_large_store_is_not_held_in_memory() {
    let world = World::without_checkpoint();
    wide(&world);
    let page = |i: usize| {
        let words: Vec<String> = (0..140).map(|j| word(i * 17 + j * 3)).collect();
        json!({"wikipedia_id": i, "wikipedia_title": word(i), "text": [word(i), words.join(" ")]})
    };
    world.write("large.jsonl", lines((0..PASSAGES).map(page)));
    world.write("small.jsonl", lines((0..10).map(page)));
    world.write("nq-dev.jsonl", lines((0..10).map(|i| question(i, &word(i)))));
    let ask =
        world.ask().file("--checkpoint", "wide").tasks(&["nq-dev.jsonl"]).set("--readers", "lumen").set("--k", "5");
    let ask = ask.set("--threads", "2").set("--passage-tokens", &TOKENS.to_string());
    let peak = |size: &str| {
        let ask = ask.clone().file("--knowledge", &format!("{size}.jsonl")).file("--work", size);
        ask.succeed();
        peak_bytes(&mut ask.command())
    };
    let (small, large) = (peak("small"), peak("large"));
    let work = world.path("large").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let store = work.into_iter().find(|path| path.display().to_string().contains("memory-")).unwrap();
    let store = bytes_of(&store);
    assert!(store > 150_000_000, "{store}");
    assert!(large < small + store / 4, "{large} bytes over a store of {store}, {small} over a small one");
}
