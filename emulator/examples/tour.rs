//! A tour: two kernels in plain cudarc, what they counted, and the report of a third that is wrong.
//!
//!     cargo run -p glimmer-emulator --example tour

use std::sync::Arc;

use anyhow::Result;
use cudarc::driver::{CudaContext, CudaFunction, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use half::bf16;

fn kernel(context: &Arc<CudaContext>, ptx: &str, name: &str) -> Result<CudaFunction> {
    Ok(context.load_module(Ptx::from_src(ptx))?.load_function(name)?)
}

/// y = x · wᵀ by tiles of 64 × 64.
fn matmul(context: &Arc<CudaContext>, [m, n, k]: [usize; 3]) -> Result<Vec<f32>> {
    let stream = context.default_stream();
    let function = kernel(context, include_str!("../tests/ptx/matmul.ptx"), "matmul")?;
    let x = stream.clone_htod(&vec![bf16::from_f32(0.5); m * k])?;
    let w = stream.clone_htod(&vec![bf16::from_f32(0.25); n * k])?;
    let mut y = unsafe { stream.alloc::<f32>(m * n) }?;
    let grid_dim = ((n / 64) as u32, (m / 64) as u32, 1);
    let mut launch = stream.launch_builder(&function);
    let (columns, inner) = (n as i32, k as i32);
    launch.arg(&x).arg(&w).arg(&mut y).arg(&columns).arg(&inner);
    // SAFETY: the kernel's parameters, in its order, and buffers of the sizes that it goes by.
    unsafe { launch.launch(LaunchConfig { grid_dim, block_dim: (128, 1, 1), shared_mem_bytes: 0 }) }?;
    Ok(stream.clone_dtoh(&y)?)
}

/// Writes one element more than there are.
fn off_by_one(context: &Arc<CudaContext>) -> Result<()> {
    let stream = context.default_stream();
    let function = kernel(context, include_str!("../tests/ptx/bugs.ptx"), "off_by_one")?;
    let (x, mut y) = (stream.alloc_zeros::<f32>(256)?, stream.alloc_zeros::<f32>(256)?);
    let mut launch = stream.launch_builder(&function);
    launch.arg(&x).arg(&mut y).arg(&256i32);
    // SAFETY: not at all; that is the point.
    unsafe { launch.launch(LaunchConfig { grid_dim: (5, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 0 }) }?;
    Ok(())
}

fn main() -> Result<()> {
    let emulator = glimmer_emulator::open()?;
    println!("the driver is {}", emulator.path().display());
    let context = CudaContext::new(0)?;
    println!("the device is {}, compute capability {:?}\n", context.name()?, context.compute_capability()?);

    let y = matmul(&context, [256, 128, 512])?;
    println!("matmul: every element is {}\n", y[0]);
    for launch in emulator.launches()? {
        println!("{} #{}\n{}\n", launch.kernel, launch.ordinal, launch.counters);
    }

    println!("and a kernel that is wrong:");
    let error = off_by_one(&context).expect_err("the kernel is wrong");
    println!("cudarc says: {error}");
    Ok(())
}
