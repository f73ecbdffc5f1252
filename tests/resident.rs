//! Weights are in memory once: loading holds no second copy of a checkpoint, nor its file's pages, and packs weights one
//! by one. Decoding takes all memory it needs with its first step.
#![cfg(target_os = "linux")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use glimmer::cpu::{Cpu, Packing};
use glimmer::io::{Stored, write_tensors};
use glimmer::model::{Config, Cut, Glimmer, Passages, Question, Reader, Weights};
use glimmer::nn::Tree;

/// Says to a process that it is there for one test alone, and with which checkpoint.
const FOLDER: &str = "GLIMMER_RESIDENT_TEST_FOLDER";
const MB: f64 = 1e6;
/// What a process needs beside the weights: code, threads, a chunk of the file.
const BESIDE_MB: f64 = 60.0;

/// T5's vocabulary at 512 columns, twice, and a few thin layers: 148 MB.
fn config() -> (Config, Glimmer) {
    let config =
        Config { d_model: 512, d_kv: 64, d_ff: 512, num_layers: 2, num_decoder_layers: Some(1), ..Config::mini() };
    (config, Glimmer::new(Cut { live_layers: 1, rerank_layers: 0 }, 1))
}

/// Writes the checkpoint in single precision; its bytes.
fn write(folder: &Path) -> usize {
    let (config, glimmer) = config();
    config.write(folder).unwrap();
    let specs = Weights::spec(&config, &glimmer);
    let specs = specs.leaves();
    let longest = specs.iter().map(|spec| spec.len()).max().unwrap();
    let numbers: Vec<f32> = (0..longest).map(|i| (i % 1000) as f32).collect();
    let tensors: Vec<_> = specs
        .iter()
        .map(|spec| (spec.name.clone(), spec.stored_shape(), Stored::F32(&numbers[..spec.len()])))
        .collect();
    write_tensors(&folder.join("model.safetensors"), &Default::default(), &tensors).unwrap();
    specs.iter().map(|spec| 4 * spec.len()).sum()
}

/// Loads the checkpoint and prints this process's resident bytes, now and at most.
fn load(folder: &Path, machine: Cpu<f32>) {
    let reader = Reader::load(machine, folder, |_| Ok(config().1)).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for (name, field) in [("peak", "VmHWM:"), ("now", "VmRSS:")] {
        let kib = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux says it");
        let kib: usize = kib.trim().trim_end_matches(" kB").trim().parse().unwrap();
        println!("\n{name} {}", kib * 1024);
    }
    drop(reader);
}

/// The test once more, in a process of its own.
fn alone(test: &str, folder: &Path) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).output().unwrap();
    let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{said}\n{errors}");
    output
}

/// Megabytes of the checkpoint, and resident now and at most in a process that loads it, which is the test once more.
/// None in that process.
fn resident(test: &str, machine: Cpu<f32>) -> Option<[f64; 3]> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        load(Path::new(&folder), machine);
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let weights = write(folder.path()) as f64 / MB;
    let output = alone(test, folder.path());
    let said = String::from_utf8_lossy(&output.stdout);
    let [now, peak] = ["now ", "peak "].map(|name| {
        let bytes = said.lines().find_map(|line| line.strip_prefix(name)).expect("the child says it");
        bytes.parse::<f64>().unwrap() / MB
    });
    println!("weights {weights:.0} MB, resident {now:.0} MB, at most {peak:.0} MB");
    assert!(weights > 140.0, "{weights} MB would not show a second copy");
    Some([weights, now, peak])
}

#[test]
fn a_loaded_checkpoint_is_resident_once() {
    let found = resident("a_loaded_checkpoint_is_resident_once", Cpu::default());
    let Some([weights, now, peak]) = found else { return };
    assert!(now >= weights, "{now} MB cannot hold {weights} MB: it was not all loaded");
    assert!(peak <= 1.25 * weights + BESIDE_MB, "weights of {weights:.0} MB take {peak:.0} MB");
}

#[test]
fn weights_packed_in_f32_are_resident_once() {
    let found = resident("weights_packed_in_f32_are_resident_once", Cpu::packing(Packing::F32));
    let Some([weights, now, peak]) = found else { return };
    // The longest weight, half of all, is there twice while it is packed.
    assert!(peak <= 1.6 * weights + BESIDE_MB, "weights of {weights:.0} MB take {peak:.0} MB");
    assert!(now <= 1.05 * weights + BESIDE_MB, "packed, weights of {weights:.0} MB take {now:.0} MB");
}

/// Of this checkpoint the embedding and the output layer are nearly all, and one of them multiplies.
#[test]
fn packed_weights_are_resident_packed() {
    let found = resident("packed_weights_are_resident_packed", Cpu::packing(Packing::Int8));
    let Some([weights, now, peak]) = found else { return };
    assert!(peak <= 1.25 * weights + BESIDE_MB, "weights of {weights:.0} MB take {peak:.0} MB");
    assert!(now <= 0.65 * weights + BESIDE_MB / 2.0, "packed, weights of {weights:.0} MB take {now:.0} MB");
}

/// The system's allocator, and how often it was asked for memory.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Answers of many tokens ask for as much memory as answers of few, but for chance.
#[test]
fn a_step_of_decoding_asks_for_no_memory() {
    if std::env::var_os(FOLDER).is_none() {
        alone("a_step_of_decoding_asks_for_no_memory", Path::new("."));
        return;
    }
    const TOKENS: [usize; 2] = [8, 72];
    let config = Config {
        vocab_size: 3000,
        d_model: 192,
        d_ff: 448,
        num_layers: 1,
        num_decoder_layers: Some(2),
        ..Config::mini()
    };
    let texts: Vec<Vec<u32>> = (0..3).map(|i| (2..300 + i).collect()).collect();
    let passages: Vec<&[u32]> = texts.iter().map(|text| &text[..]).collect();
    let question = Question { ids: &texts[0][..20], passages: Passages::Tokens(&passages) };
    let machines = [None, Some(Packing::F32), Some(Packing::Bf16), Some(Packing::Int8)];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for packing in machines {
        let machine = packing.map_or_else(Cpu::default, Cpu::packing);
        let glimmer = Glimmer::new(Cut { live_layers: 1, rerank_layers: 0 }, 3);
        let reader = Reader::random(machine, config.clone(), glimmer, 1).unwrap();
        let asked = |tokens: usize| {
            let before = ASKED.load(Ordering::Relaxed);
            let readings = reader.read(&[question, question], tokens).unwrap();
            let asked = ASKED.load(Ordering::Relaxed) - before;
            assert!(readings.iter().all(|reading| reading.answer.len() == tokens), "none may end early");
            asked
        };
        // The least of some. What is left of chance is how often the encoder's attention is shared out, each time with 9 or
        // 14 requests; a request in each of the 64 steps between would be more than what that makes up for.
        let found = pool.install(|| TOKENS.map(|tokens| (0..10).map(|_| asked(tokens)).min().expect("some")));
        println!("{packing:?}: {found:?} allocations for {TOKENS:?} tokens");
        assert!(found[0].abs_diff(found[1]) < 32, "{packing:?}: {found:?}");
    }
}
