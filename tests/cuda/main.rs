//! What is particular to the CUDA machine, on the emulator: rows that the device alone counts, failures that wait for a
//! download, decoding as a graph, how much memory training takes, and a trained reader's answer. With `GLIMMER_TEST_ON=gpu`
//! in the environment it is on a real device, but for what the emulator alone can tell (`--skip emulated`).

mod decoding;
#[path = "../common/emulated.rs"]
#[allow(dead_code, reason = "every suite compiles all of this and uses its part")]
mod emulated;
mod failures;
mod launches;
mod live;
mod memory;
mod question;

use emulated::machine;
use glimmer::cuda::{Cuda, Float};
use glimmer_emulator::Emulator;

/// A machine for the calling test alone, and what emulates it.
fn emulated_machine<E: Float>() -> (&'static Emulator, Cuda<E>) {
    let be = machine();
    assert!(emulated::is_emulated(), "this is told by the emulator alone");
    (glimmer_emulator::open().unwrap(), be)
}

/// Asserts that the checker found no fault, where there is one.
fn assert_silent() {
    if emulated::is_emulated() {
        assert_eq!(glimmer_emulator::open().unwrap().report().unwrap(), None);
    }
}
