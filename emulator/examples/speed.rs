//! How fast the emulator is, by this machine's CPU time: lane-instructions of plain arithmetic, and floating-point
//! operations of a matmul that is bound by mma.
//!
//!     cargo run --release -p glimmer-emulator --example speed [THREADS]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cudarc::driver::{CudaContext, CudaFunction, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use glimmer_emulator::Emulator;
use half::bf16;

/// CPU time of all threads of this process so far.
fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("CPU time is read from /proc")?;
    // After the name in parentheses: user time is the 12th field, system time the 13th, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 =
        fields.get(11..13).context("fields of /proc/self/stat")?.iter().map(|n| n.parse().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn kernel(context: &Arc<CudaContext>, ptx: &str, name: &str) -> Result<CudaFunction> {
    Ok(context.load_module(Ptx::from_src(ptx))?.load_function(name)?)
}

fn report(emulator: &Emulator, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    emulator.forget()?;
    let (start, wall) = (cpu_time()?, std::time::Instant::now());
    work()?;
    let (seconds, wall) = ((cpu_time()? - start).as_secs_f64(), wall.elapsed().as_secs_f64());
    let launches = emulator.launches()?;
    let lanes: u64 = launches.iter().map(|launch| launch.counters.instructions.lanes).sum();
    let products: u64 = launches.iter().flat_map(|l| l.counters.matrix.values()).map(|work| work.multiply_adds).sum();
    println!("{name}: {seconds:.2} s of CPU, {wall:.2} s of the clock");
    println!("  {:.0} million lane-instructions a second of CPU", lanes as f64 / seconds / 1e6);
    if products > 0 {
        println!("  {:.2} GFLOP a second of CPU in mma", 2.0 * products as f64 / seconds / 1e9);
    }
    Ok(())
}

fn main() -> Result<()> {
    let threads: usize = std::env::args().nth(1).map_or(Ok(1), |text| text.parse())?;
    let emulator = glimmer_emulator::open()?;
    emulator.configure(&format!(r#"{{"threads": {threads}}}"#))?;
    let context = CudaContext::new(0)?;
    let stream = context.default_stream();

    let arithmetic = kernel(&context, include_str!("../tests/ptx/speed.ptx"), "arithmetic")?;
    let mut y = stream.alloc_zeros::<f32>(64 * 256)?;
    report(emulator, "arithmetic", || {
        let config = LaunchConfig { grid_dim: (64, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        let mut launch = stream.launch_builder(&arithmetic);
        launch.arg(&mut y).arg(&400i32);
        // SAFETY: the kernel's parameters, and an element for every thread.
        unsafe { launch.launch(config) }?;
        Ok(())
    })?;

    let (m, n, k) = (512usize, 512usize, 1024usize);
    let matmul = kernel(&context, include_str!("../tests/ptx/matmul.ptx"), "matmul")?;
    let x = stream.clone_htod(&vec![bf16::from_f32(0.5); m * k])?;
    let w = stream.clone_htod(&vec![bf16::from_f32(0.25); n * k])?;
    let mut y = stream.alloc_zeros::<f32>(m * n)?;
    report(emulator, "matmul", || {
        let grid_dim = ((n / 64) as u32, (m / 64) as u32, 1);
        let (columns, inner) = (n as i32, k as i32);
        let mut launch = stream.launch_builder(&matmul);
        launch.arg(&x).arg(&w).arg(&mut y).arg(&columns).arg(&inner);
        // SAFETY: the kernel's parameters, in its order, and buffers of the sizes that it goes by.
        unsafe { launch.launch(LaunchConfig { grid_dim, block_dim: (128, 1, 1), shared_mem_bytes: 0 }) }?;
        Ok(())
    })
}
