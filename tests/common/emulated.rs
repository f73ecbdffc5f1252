//! CUDA machines on the emulator, whose checker fails every launch that it finds fault with. With `GLIMMER_TEST_ON=gpu` in
//! the environment they are on the first real device instead.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use glimmer::cuda::{Cuda, Float, probe};

thread_local! {
    /// Whether this thread's test is of a machine whose schedule can be chosen.
    static EMULATED: Cell<bool> = const { Cell::new(false) };
}

/// A machine for the calling test alone: what one test breaks, no other notices.
pub fn machine<E: Float>() -> Cuda<E> {
    machine_on(r#""a100""#)
}

/// As [`machine`], on a device of one multiprocessor, which fewer and larger blocks fill.
pub fn small_machine<E: Float>() -> Cuda<E> {
    machine_on(r#"{"multiprocessors": 1}"#)
}

/// As [`machine`], on a device whose blocks have no more shared memory than every device's.
pub fn narrow_machine<E: Float>() -> Cuda<E> {
    machine_on(r#""rtx4090""#)
}

/// As [`machine`], on a device with the multiprocessors of an H100.
pub fn hopper_machine<E: Float>() -> Cuda<E> {
    machine_on(r#""h100""#)
}

fn machine_on<E: Float>(device: &str) -> Cuda<E> {
    /// Held by who has chosen the device, until the machine is on it.
    static CHOICE: Mutex<()> = Mutex::new(());
    let on_gpu = std::env::var_os("GLIMMER_TEST_ON").is_some_and(|place| place == "gpu");
    EMULATED.set(!on_gpu);
    let _chosen = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
    if !on_gpu {
        let emulator = glimmer_emulator::open().unwrap();
        emulator.configure(&format!(r#"{{"device": {device}}}"#)).unwrap();
    }
    Cuda::isolated(&probe().unwrap()).unwrap()
}

/// Whether the calling test's machine is emulated.
pub fn is_emulated() -> bool {
    EMULATED.get()
}

/// From here on, blocks and warps of the calling test's machine run in another order.
pub fn reschedule(seed: u64) {
    let emulator = glimmer_emulator::open().unwrap();
    emulator.configure_context(&format!(r#"{{"seed": {seed}}}"#)).unwrap();
}
