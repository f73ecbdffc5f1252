//! Textbook programs in plain cudarc: right results, and no report, under twenty schedules. `counters.rs` holds what
//! they count.

mod common;

use std::sync::Arc;

use common::{assert_close, context, kernel, line, module, numbers};
use cudarc::driver::sys::CUgraphInstantiate_flags;
use cudarc::driver::sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use half::bf16;

fn under_twenty_schedules(program: impl Fn(&Arc<CudaContext>)) {
    let (emulator, context) = context();
    for seed in 0..20 {
        emulator.configure_context(&format!(r#"{{"seed": {seed}}}"#)).unwrap();
        program(&context);
    }
}

#[test]
fn tiled_matmul() {
    under_twenty_schedules(tiled_matmul_in);
}

fn tiled_matmul_in(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    for (m, n, k) in [(64, 64, 32), (128, 64, 96), (64, 128, 160)] {
        let (x, w) = (numbers(m * k, 1), numbers(n * k, 2));
        let half = |values: &[f32]| values.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>();
        let (there_x, there_w) = (stream.clone_htod(&half(&x)).unwrap(), stream.clone_htod(&half(&w)).unwrap());
        let mut y = unsafe { stream.alloc::<f32>(m * n) }.unwrap();
        let matmul = kernel(context, "matmul", "matmul");
        let grid_dim = ((n / 64) as u32, (m / 64) as u32, 1);
        let config = LaunchConfig { grid_dim, block_dim: (128, 1, 1), shared_mem_bytes: 0 };
        let (columns, inner) = (n as i32, k as i32);
        let mut builder = stream.launch_builder(&matmul);
        builder.arg(&there_x).arg(&there_w).arg(&mut y).arg(&columns).arg(&inner);
        unsafe { builder.launch(config) }.unwrap();

        // The numbers are multiples of 1/64 below 1: every product and sum of fewer than 4096 of them is exact in f32.
        let dot = |row: usize, column: usize| (0..k).map(|i| x[row * k + i] * w[column * k + i]).sum::<f32>();
        let wanted: Vec<f32> = (0..m * n).map(|i| dot(i / n, i % n)).collect();
        assert_eq!(stream.clone_dtoh(&y).unwrap(), wanted, "{m} × {n} × {k}");
    }
}

#[test]
fn shuffle_reduction() {
    under_twenty_schedules(shuffle_reduction_in);
}

fn shuffle_reduction_in(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let sums = kernel(context, "reduction", "block_sums");
    for count in [1, 31, 256, 1000, 4096] {
        let x = numbers(count, 3);
        let there = stream.clone_htod(&x).unwrap();
        let blocks = count.div_ceil(256);
        let mut partial = unsafe { stream.alloc::<f32>(blocks) }.unwrap();
        let length = count as i32;
        let mut builder = stream.launch_builder(&sums);
        builder.arg(&there).arg(&mut partial).arg(&length);
        unsafe { builder.launch(line(blocks as u32, 256)) }.unwrap();
        let wanted: Vec<f32> = x.chunks(256).map(|part| part.iter().sum()).collect();
        assert_eq!(stream.clone_dtoh(&partial).unwrap(), wanted, "{count}");
    }
}

#[test]
fn softmax_by_warps() {
    under_twenty_schedules(softmax_by_warps_in);
}

fn softmax_by_warps_in(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let softmax = kernel(context, "reduction", "softmax_rows");
    let (rows, columns) = (7usize, 75usize);
    let x: Vec<f32> = numbers(rows * columns, 4).iter().map(|v| v * 20.0).collect();
    let mut there = stream.clone_htod(&x).unwrap();
    let (height, width) = (rows as i32, columns as i32);
    let mut builder = stream.launch_builder(&softmax);
    builder.arg(&mut there).arg(&height).arg(&width);
    unsafe { builder.launch(line(2, 128)) }.unwrap();
    let row = |row: &[f32]| {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = row.iter().map(|&v| f64::from(v - top).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| (power / sum) as f32).collect::<Vec<_>>()
    };
    let wanted: Vec<f32> = x.chunks(columns).flat_map(row).collect();
    // __expf is ex2.approx of a rounded product: its error grows with the argument, here to 40 · 2⁻²⁴ · log₂e.
    assert_close(&stream.clone_dtoh(&there).unwrap(), &wanted, 1e-5);
}

#[test]
fn histogram_with_atomics() {
    under_twenty_schedules(histogram_with_atomics_in);
}

fn histogram_with_atomics_in(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let histogram = kernel(context, "histogram", "histogram");
    let data: Vec<u8> = (0..5000u32).map(|i| (i * i / 7) as u8).collect();
    let there = stream.clone_htod(&data).unwrap();
    let mut bins = stream.alloc_zeros::<u32>(256).unwrap();
    let count = data.len() as i32;
    let mut builder = stream.launch_builder(&histogram);
    builder.arg(&there).arg(&mut bins).arg(&count);
    unsafe { builder.launch(line(6, 128)) }.unwrap();
    let mut wanted = vec![0u32; 256];
    data.iter().for_each(|&value| wanted[usize::from(value)] += 1);
    assert_eq!(stream.clone_dtoh(&bins).unwrap(), wanted);
}

#[test]
fn saxpy_plain_and_by_fours() {
    under_twenty_schedules(saxpy_plain_and_by_fours_in);
}

fn saxpy_plain_and_by_fours_in(context: &Arc<CudaContext>) {
    let stream = context.default_stream();
    let module = module(context, "saxpy");
    let (x, y) = (numbers(1000, 5), numbers(1000, 6));
    let wanted: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 3.0f32.mul_add(*x, *y)).collect();
    for (name, count, blocks) in [("saxpy", 1000i32, 8), ("saxpy_vector", 250, 2)] {
        let function = module.load_function(name).unwrap();
        let (there_x, mut there_y) = (stream.clone_htod(&x).unwrap(), stream.clone_htod(&y).unwrap());
        let mut builder = stream.launch_builder(&function);
        builder.arg(&3.0f32).arg(&there_x).arg(&mut there_y).arg(&count);
        unsafe { builder.launch(line(blocks, 128)) }.unwrap();
        assert_eq!(stream.clone_dtoh(&there_y).unwrap(), wanted, "{name}");
    }
}

#[test]
fn stream_ordered_pipeline() {
    under_twenty_schedules(stream_ordered_pipeline_in);
}

fn stream_ordered_pipeline_in(context: &Arc<CudaContext>) {
    let module = module(context, "pipeline");
    let [ramp, square, accumulate] = ["ramp", "square", "accumulate"].map(|name| module.load_function(name).unwrap());
    // Two streams; cudarc orders them by events where they touch the same slice.
    let (produce, consume) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let count = 300i32;
    let mut sum = consume.alloc_zeros::<f32>(count as usize).unwrap();
    for step in 0..4 {
        // Memory for one step alone: allocated, used and freed in the streams' order.
        let mut x = unsafe { produce.alloc::<f32>(count as usize) }.unwrap();
        let mut squares = unsafe { produce.alloc::<f32>(count as usize) }.unwrap();
        let start = step as f32;
        unsafe {
            produce.launch_builder(&ramp).arg(&mut x).arg(&start).arg(&count).launch(line(3, 128)).unwrap();
            produce.launch_builder(&square).arg(&x).arg(&mut squares).arg(&count).launch(line(3, 128)).unwrap();
            consume.launch_builder(&accumulate).arg(&squares).arg(&mut sum).arg(&count).launch(line(3, 128)).unwrap();
        }
    }
    let wanted: Vec<f32> = (0..count).map(|i| (0..4).map(|step| ((i + step) as f32).powi(2)).sum()).collect();
    assert_eq!(consume.clone_dtoh(&sum).unwrap(), wanted);
}

#[test]
fn captured_graph() {
    let (emulator, context) = context();
    unsafe { context.disable_event_tracking() };
    let module = module(&context, "pipeline");
    let [ramp, square, accumulate] = ["ramp", "square", "accumulate"].map(|name| module.load_function(name).unwrap());
    let stream = context.new_stream().unwrap();
    let count = 300i32;
    let mut x = unsafe { stream.alloc::<f32>(count as usize) }.unwrap();
    let mut squares = unsafe { stream.alloc::<f32>(count as usize) }.unwrap();
    let mut sum = stream.alloc_zeros::<f32>(count as usize).unwrap();
    stream.begin_capture(CU_STREAM_CAPTURE_MODE_GLOBAL).unwrap();
    unsafe {
        stream.launch_builder(&ramp).arg(&mut x).arg(&1.0f32).arg(&count).launch(line(3, 128)).unwrap();
        stream.launch_builder(&square).arg(&x).arg(&mut squares).arg(&count).launch(line(3, 128)).unwrap();
        stream.launch_builder(&accumulate).arg(&squares).arg(&mut sum).arg(&count).launch(line(3, 128)).unwrap();
    }
    let graph = stream.end_capture(CUgraphInstantiate_flags(0)).unwrap().unwrap();
    assert!(emulator.launches().unwrap().is_empty(), "nothing runs while it is captured");
    for _ in 0..3 {
        graph.launch().unwrap();
    }
    let wanted: Vec<f32> = (0..count).map(|i| 3.0 * ((i + 1) as f32).powi(2)).collect();
    assert_eq!(stream.clone_dtoh(&sum).unwrap(), wanted);
    let launches = emulator.launches().unwrap();
    let names: Vec<_> = launches.iter().map(|launch| (launch.kernel.as_str(), launch.ordinal)).collect();
    assert_eq!(names[..4], [("ramp", 0), ("square", 0), ("accumulate", 0), ("ramp", 1)]);
    assert_eq!(names.len(), 9);
}
