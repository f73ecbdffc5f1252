//! CUDA machines on the emulator, whose checker fails every launch that it finds fault with. With `GLIMMER_TEST_ON=gpu` in
//! the environment they are on the first real device instead.

use std::cell::Cell;

use glimmer::cuda::{Cuda, Float, probe};

thread_local! {
    /// Whether this thread's test is of a machine whose schedule can be chosen.
    static EMULATED: Cell<bool> = const { Cell::new(false) };
}

/// A machine for the calling test alone: what one test breaks, no other notices.
pub fn machine<E: Float>() -> Cuda<E> {
    let on_gpu = std::env::var_os("GLIMMER_TEST_ON").is_some_and(|place| place == "gpu");
    if !on_gpu {
        glimmer_emulator::open().unwrap();
    }
    EMULATED.set(!on_gpu);
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
