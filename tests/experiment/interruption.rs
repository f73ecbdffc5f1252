//! Runs that are stopped or killed, and go on.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use glimmer::experiment::Settings;

use crate::process::{Ran, example, run};
use crate::world::{World, every};

/// The example, on the world's experiment.
pub fn train(world: &World, output: &str) -> Command {
    let mut command = Command::new(example("train"));
    command.arg("--config").arg(world.path("experiment.json")).arg("--output").arg(world.path(output));
    command.arg("--work").arg(world.path("work"));
    // The reader is so small that threads would do little but wait for each other.
    command.env("RAYON_NUM_THREADS", "1");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An experiment of some seconds, and how long it takes undisturbed.
fn undisturbed(world: &World) -> Duration {
    let settings = Settings { steps: 150, save_every: every(7), evaluate_every: every(40), ..world.settings() };
    Settings { log_every: every(4), ..settings }.write(&world.path("experiment.json")).unwrap();
    let started = Instant::now();
    let ran = run(&mut train(world, "whole"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("step 80: dev score"), "{}", ran.err);
    started.elapsed()
}

pub fn wait_for_step(world: &World, child: &mut Child, output: &str) {
    let log = world.path(output).join("log.jsonl");
    while std::fs::read(&log).map_or(0, |text| text.len()) < 500 {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_run_killed_at_any_moment_ends_as_if_it_had_not_been() {
    let world = World::new();
    let whole = undisturbed(&world);
    let mut killed = 0;
    for (number, part) in [0.3, 0.07, 0.41, 0.13, 0.22, 0.5, 0.31].into_iter().enumerate() {
        // The number of threads makes no difference either.
        let threads = (1 + number % 3).to_string();
        let mut child = train(&world, "killed").args(["--threads", &threads]).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(part));
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(killed >= 2, "only {killed} runs lasted long enough to be killed");
    let ran = run(&mut train(&world, "killed"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    world.assert_same("whole", "killed");
}

#[test]
fn a_run_that_ctrl_c_stops_goes_on_from_that_step() {
    let world = World::new();
    undisturbed(&world);
    for name in ["-INT", "-TERM"] {
        let mut child = train(&world, "stopped").spawn().unwrap();
        wait_for_step(&world, &mut child, "stopped");
        std::thread::sleep(Duration::from_millis(60));
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{}", ran.err);
        assert!(ran.err.contains("stopped after step ") && ran.err.contains("goes on from there"), "{}", ran.err);
    }
    let ran = run(&mut train(&world, "stopped"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("going on at step "), "{}", ran.err);
    world.assert_same("whole", "stopped");
}
