//! Training on the emulated device beside training on the CPU.

use glimmer::backend::Backward;
use glimmer::cpu::Cpu;
use glimmer::cuda::Float;
use glimmer::experiment::{Ended, Line, Settings, Trainer};
use half::bf16;

use crate::emulated;
use crate::interruption::train;
use crate::world::{World, every};

/// A run of so many steps without a single evaluation, which takes the emulator long.
fn settings(world: &World, steps: u64) -> Settings {
    Settings {
        steps,
        evaluate_every: every(1000),
        save_every: every(1000),
        tasks: without_dev(world),
        ..world.settings()
    }
}

pub fn without_dev(world: &World) -> Vec<glimmer::experiment::TaskFiles> {
    let mut tasks = world.settings().tasks;
    tasks.iter_mut().for_each(|task| task.dev = None);
    tasks
}

fn run<B: Backward>(be: B, world: &World, settings: &Settings, output: &str) {
    let mut trainer = Trainer::open(be, world.plan(settings.clone(), output)).unwrap();
    assert_eq!(trainer.run().unwrap(), Ended::Finished);
}

/// The loss of each step, distillation included.
fn losses(world: &World, output: &str) -> Vec<f64> {
    let loss = |line: &Line| match line {
        Line::Trained { lm_loss, distill_loss, .. } => Some(lm_loss + distill_loss.unwrap_or(0.0)),
        Line::Evaluated { .. } => None,
    };
    world.log(output).iter().filter_map(loss).collect()
}

/// Runs on the device, which stays in `device`, and holds the losses of so many steps `together` against the CPU's in f32.
fn follows_the_cpu<E: Float>(world: &World, settings: &Settings, together: usize, bound: f64) {
    run(emulated::machine::<E>(), world, settings, "device");
    follows::<E>(world, settings, together, bound);
}

/// The same of what has run on the device.
fn follows<E: Float>(world: &World, settings: &Settings, together: usize, bound: f64) {
    run(Cpu::<f32>::default(), world, settings, "cpu");
    let (wanted, found) = (losses(world, "cpu"), losses(world, "device"));
    let steps = settings.steps;
    assert_eq!((wanted.len() as u64, found.len() as u64), (steps, steps));
    let off = |(found, wanted): (&[f64], &[f64])| found.iter().sum::<f64>() / wanted.iter().sum::<f64>() - 1.0;
    let worst = found.chunks(together).zip(wanted.chunks(together)).map(|pair| off(pair).abs()).fold(0.0, f64::max);
    println!("{}: {steps} steps, {} to {}, {worst:.1e} off at most", E::SUFFIX, wanted[0], wanted[wanted.len() - 1]);
    assert!(worst <= bound, "{worst:e} off\n{found:?}\n{wanted:?}");
}

#[test]
fn in_f32_the_device_follows_the_cpu() {
    let world = World::new();
    follows_the_cpu::<f32>(&world, &settings(&world, 4), 1, 1e-4);
}

/// What weights in bf16 lack, for which the steps would be too small, is saved too.
#[test]
fn a_run_in_bf16_goes_on_bit_for_bit_and_follows_the_cpu() {
    let world = World::new();
    let whole = settings(&world, 4);
    run(emulated::machine::<bf16>(), &world, &whole, "device");
    for steps in [2, 4] {
        run(emulated::machine::<bf16>(), &world, &Settings { steps, ..whole.clone() }, "parts");
    }
    let bytes = |name: &str| std::fs::read(world.path(name)).unwrap();
    for file in ["model.safetensors", "optimiser.safetensors"] {
        assert!(bytes(&format!("device/last/{file}")) == bytes(&format!("parts/last/{file}")), "{file}");
    }
    let plan = world.plan(Settings { steps: 5, ..whole.clone() }, "parts");
    let error = format!("{:#}", Trainer::open(Cpu::<f32>::default(), plan).err().unwrap());
    assert!(error.contains("precision"), "{error}");
    follows::<bf16>(&world, &whole, 1, 1e-2);
}

#[test]
#[ignore = "takes minutes: cargo test --test experiment -- --ignored --nocapture hundred"]
fn in_f32_the_device_follows_the_cpu_for_a_hundred_steps() {
    let world = World::new();
    follows_the_cpu::<f32>(&world, &settings(&world, 100), 1, 1e-4);
}

#[test]
#[ignore = "takes minutes: cargo test --test experiment -- --ignored --nocapture hundred"]
fn in_bf16_the_device_follows_the_cpu_for_a_hundred_steps() {
    let world = World::new();
    // A step has three questions, too few for each step's loss to be within a hundredth.
    follows_the_cpu::<bf16>(&world, &settings(&world, 100), 10, 1e-2);
}

#[test]
fn the_program_trains_on_the_machine_that_was_asked_for() {
    let world = World::new();
    settings(&world, 1).write(&world.path("experiment.json")).unwrap();
    let ran = crate::process::run(train(&world, "run").args(["--backend", "emulated", "--precision", "bf16"]));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("machine: emulated cuda, bf16"), "{}", ran.err);
    assert_eq!(losses(&world, "run").len(), 1);
}
