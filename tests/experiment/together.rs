//! Several processes that train one reader, as threads and as processes.

use std::net::TcpListener;
use std::process::{Child, Command};

use glimmer::backend::{Backward, Element};
use glimmer::cpu::{Cpu, Real};
use glimmer::cuda::{Cuda, devices};
use glimmer::experiment::{Ended, Line, Settings, Trainer};
use glimmer::io::Processes;
use glimmer::nn::Tree;
use glimmer::train::Together;
use half::bf16;

use crate::emulated;
use crate::interruption::{train, wait_for_step};
use crate::machines::without_dev;
use crate::process::{Ran, run};
use crate::world::{World, count, every};

/// Lets each of so many processes train to the end, and returns the weights of each.
fn train_together<B: Backward>(
    begin: impl Fn(Processes) -> (B, Together<B>) + Sync,
    world: &World,
    (settings, output): (&Settings, &str),
    size: usize,
) -> Vec<Vec<f64>> {
    let of_one = |processes| {
        let (machine, together) = begin(processes);
        let mut trainer = Trainer::open_together(machine, world.plan(settings.clone(), output), together).unwrap();
        assert_eq!(trainer.run().unwrap(), Ended::Finished);
        weights(&trainer)
    };
    let all = Processes::threads(size).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|processes| scope.spawn(|| of_one(processes))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// CPUs whose hosts add up gradients.
fn cpus<T: Real>(processes: Processes) -> (Cpu<T>, Together<Cpu<T>>) {
    (Cpu::default(), Together::by_hosts(processes))
}

fn weights<B: Backward>(trainer: &Trainer<B>) -> Vec<f64> {
    let reader = trainer.reader();
    let leaves = reader.weights.leaves().into_iter();
    leaves.flat_map(|w| w.download(&reader.be).unwrap()).map(Element::to_f64).collect()
}

/// Loss, divergence and gradient norm of each step, and the score of each evaluation.
fn numbers(world: &World, output: &str) -> Vec<f64> {
    let of_line = |line: &Line| match line {
        Line::Trained { lm_loss, distill_loss, gradient_norm, .. } => {
            vec![*lm_loss, distill_loss.unwrap_or(0.0), gradient_norm.unwrap_or(0.0)]
        }
        Line::Evaluated { evaluation, .. } => vec![evaluation.score],
    };
    world.log(output).iter().flat_map(of_line).collect()
}

#[track_caller]
fn assert_close(found: &[f64], wanted: &[f64], bound: f64) {
    assert_eq!(found.len(), wanted.len());
    let off = found.iter().zip(wanted).map(|(a, b)| (a - b).abs() / b.abs().max(1e-3)).fold(0.0, f64::max);
    println!("{off:.1e} off at most");
    assert!(off <= bound, "{off:e} off\n{found:?}\n{wanted:?}");
}

/// Each option that a backward pass has layers of its own for, with dropout: every example is a part by itself, so that the
/// masks are those of one process.
#[test]
fn they_make_the_steps_that_one_makes() {
    let world = World::new();
    let settings = Settings {
        batch: count(7),
        steps: 5,
        micro_batch_tokens: count(1),
        clip_norm: Some(0.5),
        evaluate_every: every(5),
        ..world.settings()
    };
    let with = |name: &str, change: &dyn Fn(&mut Settings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        let alone = format!("{name}-alone");
        let mut trainer = world.open::<f64>(&settings, &alone);
        trainer.run().unwrap();
        for size in [2, 3] {
            let output = format!("{name}-{size}");
            let each = train_together(cpus::<f64>, &world, (&settings, &output), size);
            assert!(each.iter().all(|own| *own == each[0]), "{name}: {size} processes have other weights");
            assert_close(&numbers(&world, &output), &numbers(&world, &alone), 1e-12);
            assert_close(&each[0], &weights(&trainer), 1e-9);
        }
    };
    with("glimmer", &|settings| assert!(settings.reader.as_ref().unwrap().distill_weight > 0.0));
    with("apart", &|settings| {
        let reader = settings.reader.as_mut().unwrap();
        (reader.reranker, reader.question_encoder, reader.score_norm) = (true, true, true);
    });
    with("frozen", &|settings| settings.memory = glimmer::train::MemoryEncoder::Frozen);
}

/// Whatever parts a share is divided into.
#[test]
fn parts_of_many_examples_add_up_too() {
    let world = World::new();
    let settings = Settings { batch: count(9), steps: 4, dropout: Some(0.0), ..world.settings() };
    world.open::<f64>(&settings, "alone").run().unwrap();
    train_together(cpus::<f64>, &world, (&settings, "together"), 4);
    assert_close(&numbers(&world, "together"), &numbers(&world, "alone"), 1e-12);
}

#[test]
fn a_run_of_several_goes_on_bit_for_bit() {
    let world = World::new();
    let whole = Settings { steps: 6, save_every: every(2), ..world.settings() };
    train_together(cpus::<f32>, &world, (&whole, "whole"), 3);
    for steps in [2, 6] {
        train_together(cpus::<f32>, &world, (&Settings { steps, ..whole.clone() }, "parts"), 3);
    }
    let bytes = |name: &str| std::fs::read(world.path(name)).unwrap();
    for file in ["model.safetensors", "optimiser.safetensors"] {
        assert!(bytes(&format!("whole/last/{file}")) == bytes(&format!("parts/last/{file}")), "{file}");
    }
}

/// Devices, too, get their gradients back from the hosts.
#[test]
fn emulated_devices_have_the_same_weights() {
    let world = World::new();
    let settings = Settings { steps: 2, evaluate_every: every(1000), tasks: without_dev(&world), ..world.settings() };
    let devices = |processes| (emulated::machine::<bf16>(), Together::by_hosts(processes));
    let each = train_together(devices, &world, (&settings, "devices"), 2);
    assert!(each[0] == each[1], "they have other weights");
    world.open::<f64>(&settings, "exact").run().unwrap();
    let losses = |output: &str| numbers(&world, output)[..2].to_vec();
    assert_close(&losses("devices"), &losses("exact"), 2e-2);
}

#[test]
fn those_that_do_not_begin_alike_are_refused() {
    let world = World::new();
    let open = |seeds: [u64; 2], batch: usize| {
        let of_one = |processes: Processes| {
            let seed = seeds[processes.rank()];
            let plan = world.plan(Settings { seed, batch: count(batch), ..world.settings() }, "run");
            let opened = Trainer::open_together(Cpu::<f32>::default(), plan, Together::by_hosts(processes));
            opened.err().map(|error| format!("{error:#}"))
        };
        let [first, second] = Processes::threads(2).unwrap().try_into().ok().unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| of_one(second));
            [of_one(first), other.join().unwrap()].map(|error| error.expect("they are refused"))
        })
    };
    let [first, second] = open([1, 2], 3);
    assert!(first.contains("a process has another experiment"), "{first}");
    assert!(second.contains("process 1 has another experiment than process 0"), "{second}");
    let [first, _] = open([1, 1], 1);
    assert!(first.contains("a batch of 1 is too small for 2 processes"), "{first}");
}

/// An address of this host that nobody uses.
fn address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Two processes on one experiment, the first and the second.
fn two(world: &World, output: &str) -> [Child; 2] {
    let address = address();
    ["0", "1"].map(|rank| {
        let mut command = train(world, output);
        command.args(["--backend", "cpu", "--threads", "1", "--ranks", "2", "--rank", rank, "--rendezvous", &address]);
        command.spawn().unwrap()
    })
}

fn ended(children: [Child; 2]) -> [Ran; 2] {
    children.map(|child| Ran::of(child.wait_with_output().unwrap()))
}

/// Whichever is told to stop, all do, behind the same step.
#[test]
fn a_ctrl_c_to_one_stops_all_and_they_go_on() {
    let world = World::new();
    let settings = Settings { steps: 120, save_every: every(50), evaluate_every: every(50), ..world.settings() };
    Settings { log_every: every(2), ..settings }.write(&world.path("experiment.json")).unwrap();
    for ran in ended(two(&world, "whole")) {
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let mut children = two(&world, "stopped");
    wait_for_step(&world, &mut children[0], "stopped");
    let told = Command::new("kill").args(["-INT", &children[1].id().to_string()]).status().unwrap();
    assert!(told.success());
    let [first, second] = ended(children);
    assert_eq!((first.code, second.code), (Some(0), Some(130)), "{}\n{}", first.err, second.err);
    assert!(first.err.contains("stopped after step "), "{}", first.err);
    for ran in ended(two(&world, "stopped")) {
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    world.assert_same("whole", "stopped");
}

#[test]
fn the_program_trains_as_several_processes() {
    let world = World::new();
    let settings = Settings { steps: 3, evaluate_every: every(3), ..world.settings() };
    Settings { dropout: Some(0.0), ..settings }.write(&world.path("experiment.json")).unwrap();
    let alone = run(train(&world, "alone").args(["--backend", "cpu"]));
    assert_eq!(alone.code, Some(0), "{}", alone.err);
    let [first, second] = ended(two(&world, "together"));
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{}\n{}", first.err, second.err);
    assert!(first.err.contains("best at step 3") && second.err.contains("machine of process 1"), "{}", second.err);
    assert!(!second.err.contains("dev score"), "{}", second.err);
    assert_close(&numbers(&world, "together"), &numbers(&world, "alone"), 1e-4);
}

#[test]
fn the_program_refuses_what_cannot_be_several_processes() {
    let world = World::new();
    world.settings().write(&world.path("experiment.json")).unwrap();
    let refused = |args: &[&str], part: &str| {
        let ran = run(train(&world, "run").args(args));
        assert!(ran.code.is_some_and(|code| code > 0) && ran.err.contains(part), "{args:?}: {}", ran.err);
    };
    refused(&["--ranks", "2"], "--rank <I>");
    refused(&["--rank", "0"], "--rendezvous <HOST:PORT>");
    let meet = ["--backend", "cpu", "--ranks", "2", "--rendezvous"];
    refused(&[&meet[..], &["localhost:0", "--rank", "2"]].concat(), "--rank 2 of --ranks 2: they are numbered from 0");
    refused(&[&meet[..], &["nowhere", "--rank", "0"]].concat(), "cannot wait for the other processes at nowhere");
    refused(&[&meet[..], &["nowhere", "--rank", "1"]].concat(), "nowhere is no address: give a host and a port");
}

#[test]
#[ignore = "needs NCCL and, of NVIDIA's, two devices: GLIMMER_TEST_ON=gpu cargo test --test experiment -- --ignored nccl"]
fn devices_add_up_by_nccl() {
    let world = World::new();
    let settings = Settings { steps: 3, evaluate_every: every(1000), tasks: without_dev(&world), ..world.settings() };
    let own = |processes: &Processes| {
        // The first call makes the emulator the driver.
        let first = emulated::machine::<f32>();
        let mut all = devices().unwrap();
        if all.len() < 2 { first } else { Cuda::new(&all.swap_remove(processes.rank())).unwrap() }
    };
    let by_nccl = |processes| {
        let machine = own(&processes);
        let together = Together::by_devices(&machine, processes).unwrap();
        assert!(together.adds_up_on_devices());
        (machine, together)
    };
    let each = train_together(by_nccl, &world, (&settings, "nccl"), 2);
    assert!(each[0] == each[1], "they have other weights");
    let by_hosts = |processes| (own(&processes), Together::by_hosts(processes));
    let hosts = train_together(by_hosts, &world, (&settings, "hosts"), 2);
    assert_close(&each[0], &hosts[0], 1e-4);
    assert_close(&numbers(&world, "nccl"), &numbers(&world, "hosts"), 1e-5);
}

/// NCCL is looked for where it is asked for, and is not on a machine without a device.
#[test]
fn devices_without_nccl_are_told_what_to_do() {
    let world = World::new();
    let [first, second] = Processes::threads(2).unwrap().try_into().ok().unwrap();
    let plan = world.plan(world.settings(), "run");
    std::thread::scope(|scope| {
        scope.spawn(|| Together::<Cpu<f32>>::by_hosts(second).any(false).map(drop));
        let together = Together::by_devices(&Cpu::<f32>::default(), first).unwrap();
        assert!(Trainer::open_together(Cpu::<f32>::default(), plan, together).is_err(), "the other one has gone");
    });
    let [first, _second] = Processes::threads(2).unwrap().try_into().ok().unwrap();
    let error = Together::by_devices(&emulated::machine::<f32>(), first).err().expect("no device is there");
    assert!(format!("{error:#}").contains("NCCL"), "{error:#}");
}
