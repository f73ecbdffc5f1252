//! Weights are in memory once: loading holds no second copy of a checkpoint, nor its file's pages.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use glimmer::cpu::Cpu;
use glimmer::io::{Stored, write_tensors};
use glimmer::model::{Config, Cut, Glimmer, Reader, Weights};
use glimmer::nn::Tree;

/// Names the checkpoint to the process that loads it, which is this test once more.
const FOLDER: &str = "GLIMMER_RESIDENT_TEST_FOLDER";
const TEST: &str = "a_loaded_checkpoint_is_resident_once";
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

/// Loads the checkpoint and prints this process's peak of resident bytes.
fn load(folder: &Path) {
    let reader = Reader::load(Cpu::<f32>::default(), folder, |_| Ok(config().1)).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says the peak");
    let kib: usize = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    println!("\npeak {}", kib * 1024);
    drop(reader);
}

#[test]
fn a_loaded_checkpoint_is_resident_once() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return load(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let weights_mb = write(folder.path()) as f64 / MB;
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", TEST, "--nocapture"]).env(FOLDER, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let peak = said.lines().find_map(|line| line.strip_prefix("peak ")).expect("the child says its peak");
    let peak_mb = peak.parse::<f64>().unwrap() / MB;
    println!("weights {weights_mb:.0} MB, peak {peak_mb:.0} MB");
    assert!(weights_mb > 140.0, "{weights_mb} MB would not show a second copy");
    assert!(peak_mb >= weights_mb, "{peak_mb} MB cannot hold {weights_mb} MB: it was not all loaded");
    assert!(peak_mb <= 1.25 * weights_mb + BESIDE_MB, "weights of {weights_mb:.0} MB take {peak_mb:.0} MB");
}
