//! What is particular to the CUDA machine, on the emulator: rows that the device alone counts, failures that wait for a
//! download, decoding as a graph, and a trained reader's answer.

mod decoding;
mod failures;
mod launches;
mod live;
mod memory;
mod question;

use glimmer::cuda::{Cuda, Float, probe};
use glimmer_emulator::Emulator;

/// A machine for the calling test alone, and what emulates it.
fn machine<E: Float>() -> (&'static Emulator, Cuda<E>) {
    let emulator = glimmer_emulator::open().unwrap();
    (emulator, Cuda::isolated(&probe().unwrap()).unwrap())
}
