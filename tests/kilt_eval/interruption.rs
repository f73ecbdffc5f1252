//! Runs that are stopped or killed, and those that come after them.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::Ran;
use crate::results::prediction_files;
use crate::world::{Ask, World, asked, lines, page, question, word};

const PASSAGES: usize = 700;

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits for something that a child does on its way.
#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Pages long enough that encoding them takes a while.
fn large(world: &World) {
    let long = |i: usize| {
        let mut page = page(i);
        let words: Vec<String> = (0..90).map(|j| word(i * 13 + j * 7)).collect();
        page["text"].as_array_mut().unwrap().push(Value::from(words.join(" ")));
        page
    };
    world.write("knowledge.jsonl", lines((0..PASSAGES).map(long)));
}

/// One reader with a memory, on one task.
fn lumen(world: &World) -> Ask<'_> {
    world.ask().set("--readers", "lumen").tasks(&["nq-dev.jsonl"]).set("--threads", "1")
}

/// The predictions of a run that nothing disturbs, and how long it takes.
fn undisturbed(world: &World) -> (String, Duration) {
    let started = Instant::now();
    lumen(world).file("--predictions", "expected").file("--work", "other").succeed();
    (world.read("expected/lumen/nq.jsonl"), started.elapsed())
}

#[test]
fn a_memory_build_that_ctrl_c_stops_goes_on_from_there() {
    let world = World::new();
    large(&world);
    let (expected, _) = undisturbed(&world);
    for name in ["-INT", "-TERM"] {
        let work = format!("work{name}");
        let ask = lumen(&world).file("--predictions", "out").file("--work", &work);
        let mut child = ask.spawn();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("memory: ") {
            assert!(err.read_line(&mut said).unwrap() > 0, "it ended early: {said}");
        }
        std::thread::sleep(Duration::from_millis(50));
        signal(&child, name);
        err.read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(130), "{said}");
        let (_, rest) = said.split_once("stopped with ").unwrap_or_else(|| panic!("{said}"));
        let encoded: usize = rest.split(' ').next().unwrap().parse().unwrap();
        assert!(encoded < PASSAGES && rest.contains("run again to go on"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(!world.path("out/lumen/nq.jsonl").exists());
        ask.succeed();
        assert_eq!(world.read("out/lumen/nq.jsonl"), expected, "after {name}");
        std::fs::remove_dir_all(world.path("out")).unwrap();
    }
}

#[test]
fn what_was_read_before_ctrl_c_is_reported() {
    let world = World::new();
    world.write("zsre-dev.jsonl", lines((0..200).map(|i| question(i, &asked(i)))));
    let ask =
        world.ask().set("--questions", "all").set("--batch", "1").set("--threads", "1").set("--readers", "fid,lumen");
    let child = ask.clone().file("--json", "part.json").file("--predictions", "part").spawn();
    wait_until("the first task", || world.path("part/fid/nq.jsonl").exists());
    signal(&child, "-INT");
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert!(ran.out.contains("THE RUN WAS CUT SHORT"), "{}", ran.out);
    assert!(ran.out.contains("fid, zsre: questions left unread by the interruption: "), "{}", ran.out);
    let report = world.json("part.json");
    assert_eq!(report["settings"]["interrupted"], true);
    let readers = report["readers"].as_array().unwrap();
    assert_eq!((readers.len(), &readers[0]["reader"]), (1, &Value::from("fid")));
    let read = readers[0]["tasks"][1]["questions"].as_u64().unwrap() as usize;
    assert!((1..200).contains(&read) && readers[0]["tasks"][1]["questions_asked"] == 200);
    ask.set("--readers", "fid").file("--predictions", "whole").succeed();
    let (part, whole) = (prediction_files(&world, "part"), prediction_files(&world, "whole"));
    assert_eq!(part["fid/nq.jsonl"], whole["fid/nq.jsonl"]);
    let begin: String = whole["fid/zsre.jsonl"].lines().take(read).map(|line| format!("{line}\n")).collect();
    assert_eq!(part["fid/zsre.jsonl"], begin);
}

#[test]
fn readers_that_had_read_survive_a_ctrl_c_in_the_next_memory_build() {
    let world = World::new();
    large(&world);
    let ask = world.ask().set("--readers", "fid,lumen").tasks(&["nq-dev.jsonl"]).set("--threads", "1");
    let child = ask.file("--json", "part.json").file("--predictions", "part").spawn();
    wait_until("the memory", || {
        let mut entries = world.path("work").read_dir().into_iter().flatten();
        entries.any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("memory"))
    });
    signal(&child, "-INT");
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert!(ran.err.contains("lumen") && ran.err.contains("passages encoded"), "{}", ran.err);
    let report = world.json("part.json");
    assert_eq!(report["readers"].as_array().unwrap().len(), 1);
    assert_eq!(report["readers"][0]["tasks"][0]["questions"], 10);
    assert!(ran.out.contains("THE RUN WAS CUT SHORT"), "{}", ran.out);
}

#[test]
fn a_run_that_is_killed_at_any_moment_can_be_run_again() {
    let world = World::new();
    large(&world);
    let (expected, whole) = undisturbed(&world);
    let ask = lumen(&world).file("--predictions", "out").file("--work", "killed");
    let mut killed = 0;
    for part in [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5] {
        let mut child = ask.spawn();
        std::thread::sleep(whole.mul_f64(part));
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(killed >= 4, "only {killed} runs lasted long enough to be killed");
    ask.succeed();
    assert_eq!(world.read("out/lumen/nq.jsonl"), expected);
}
