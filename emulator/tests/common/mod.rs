//! What the tests share: a context of their own on the emulated device, and comparisons.
#![allow(dead_code)] // Every test file uses a part of it.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, DeviceRepr, DriverError, LaunchConfig, PushKernelArg, ValidAsZeroBits, sys,
};
use cudarc::nvrtc::Ptx;
use glimmer_emulator::Emulator;

/// The emulator, and a context that no other test shares: a fault corrupts its context alone.
pub fn context() -> (&'static Emulator, Arc<CudaContext>) {
    let emulator = glimmer_emulator::open().unwrap();
    let context = CudaContext::new_non_primary(0, 0).unwrap();
    (emulator, context)
}

/// A module of `tests/ptx`.
pub fn module(context: &Arc<CudaContext>, name: &str) -> Arc<CudaModule> {
    let path = format!("{}/tests/ptx/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    context.load_module(Ptx::from_file(path)).unwrap()
}

/// A kernel of `tests/ptx`.
pub fn kernel(context: &Arc<CudaContext>, file: &str, name: &str) -> CudaFunction {
    module(context, file).load_function(name).unwrap()
}

/// A launch along one axis.
pub fn line(blocks: u32, threads: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 }
}

/// The code of a call that should have failed.
pub fn code<T>(result: Result<T, DriverError>) -> sys::CUresult {
    match result {
        Ok(_) => panic!("the call should have failed"),
        Err(error) => error.0,
    }
}

/// Numbers that look random and are the same everywhere: f32 between -1 and 1, exact in bf16.
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 25) as f32 / 64.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The only comparison of floats; NaN fails it.
pub fn assert_close(got: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(got.len(), wanted.len());
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!((got - wanted).abs() <= tolerance * wanted.abs().max(1.0), "[{index}] {got}, wanted {wanted}");
    }
}

/// Runs a kernel that makes a row of results for each pair.
pub fn rows<T, R>(kernel: (&str, &str), a: &[T], b: Option<&[T]>, width: usize) -> Vec<R>
where
    T: DeviceRepr + Clone,
    R: DeviceRepr + ValidAsZeroBits + Default + Clone,
{
    let (_, context) = context();
    let stream = context.default_stream();
    let function = module(&context, kernel.0).load_function(kernel.1).unwrap();
    let there_a = stream.clone_htod(a).unwrap();
    let there_b = b.map(|b| stream.clone_htod(b).unwrap());
    let mut out = stream.alloc_zeros::<R>(a.len() * width).unwrap();
    let count = a.len() as i32;
    let mut builder = stream.launch_builder(&function);
    builder.arg(&there_a);
    if let Some(b) = &there_b {
        builder.arg(b);
    }
    builder.arg(&mut out).arg(&count);
    unsafe { builder.launch(line(a.len().div_ceil(64) as u32, 64)) }.unwrap();
    stream.clone_dtoh(&out).unwrap()
}

/// Runs a kernel in one warp, on inputs and a place for its results.
pub fn launch_one<T: DeviceRepr, R: DeviceRepr + ValidAsZeroBits + Default + Clone>(
    kernel: (&str, &str),
    inputs: &[&[T]],
    results: usize,
) -> Vec<R> {
    let (_, context) = context();
    let stream = context.default_stream();
    let function = module(&context, kernel.0).load_function(kernel.1).unwrap();
    let inputs: Vec<_> = inputs.iter().map(|input| stream.clone_htod(*input).unwrap()).collect();
    let mut out = stream.alloc_zeros::<R>(results).unwrap();
    let mut builder = stream.launch_builder(&function);
    for input in &inputs {
        builder.arg(input);
    }
    builder.arg(&mut out);
    unsafe { builder.launch(line(1, 32)) }.unwrap();
    stream.clone_dtoh(&out).unwrap()
}
