//! What each of the textbook programs counts, worked out by hand.
//!
//! Requests are instructions of warps; transactions are sectors of 32 bytes in global memory, and in shared memory
//! the turns in which the banks serve an instruction; `least` is what the same bytes could have been had with.

mod common;

use common::{context, kernel, line, module, numbers};
use cudarc::driver::sys::CUgraphInstantiate_flags;
use cudarc::driver::sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
use cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg};
use glimmer_emulator::DeviceSpec;
use glimmer_emulator::count::{Class, Counters, Executed, Traffic};
use half::bf16;

/// Traffic that takes no more transactions than it must.
fn perfect(requests: u64, transactions: u64, bytes: u64) -> Traffic {
    Traffic { requests, transactions, least: transactions, bytes }
}

fn sum(all: &[Counters], pick: impl Fn(&Counters) -> Traffic) -> Traffic {
    all.iter().map(pick).fold(Traffic::default(), |a, b| Traffic {
        requests: a.requests + b.requests,
        transactions: a.transactions + b.transactions,
        least: a.least + b.least,
        bytes: a.bytes + b.bytes,
    })
}

#[test]
fn saxpy() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let saxpy = kernel(&context, "saxpy", "saxpy");
    let x = stream.clone_htod(&numbers(1000, 1)).unwrap();
    let mut y = stream.clone_htod(&numbers(1000, 2)).unwrap();
    let mut builder = stream.launch_builder(&saxpy);
    builder.arg(&2.0f32).arg(&x).arg(&mut y).arg(&1000i32);
    unsafe { builder.launch(line(8, 128)) }.unwrap();
    let counters = emulator.launches().unwrap().remove(0).counters;

    // 8 blocks of 4 warps. Every warp has an element to do, the last one only 8 (992 to 999).
    let warps = 32;
    // The PTX: 4 parameters, 3 special registers, index, comparison, branch; 2 address conversions, 3 address sums, 2
    // loads, fma, store; return.
    let class = |class: Class| counters.by_class.get(&class).copied().unwrap_or_default();
    let executed = |warps, lanes| Executed { warps, lanes };
    assert_eq!(class(Class::Constant), executed(4 * warps, 4 * 1024));
    assert_eq!(class(Class::Move), executed(5 * warps, 3 * 1024 + 2 * 1000));
    assert_eq!(class(Class::Integer), executed(4 * warps, 1024 + 3 * 1000));
    assert_eq!(class(Class::Compare), executed(warps, 1024));
    // The branch is taken by the last warp's 24 idle lanes; all lanes return together.
    assert_eq!(class(Class::Control), executed(2 * warps, 24 + 1024));
    assert_eq!(class(Class::GlobalLoad), executed(2 * warps, 2 * 1000));
    assert_eq!(class(Class::Single), executed(warps, 1000));
    assert_eq!(class(Class::GlobalStore), executed(warps, 1000));
    assert_eq!(counters.instructions, executed(20 * warps, 19_264));
    assert_eq!(counters.flops_f32, 2000);

    // 4000 bytes are 125 sectors, each touched once by x, once by y and once by the result.
    assert_eq!(counters.global_loads, perfect(64, 250, 8000));
    assert_eq!(counters.global_stores, perfect(32, 125, 4000));
    assert_eq!(counters.shared_loads, Traffic::default());
    assert_eq!((counters.barriers, counters.shared_bytes), (0, 0));

    // A roofline: 12 000 bytes at the A100's 2039 GB/s, which is more than the arithmetic takes.
    assert_eq!(counters.estimate.memory_seconds, 12_000.0 / 2.039e12);
    assert_eq!(counters.estimate.device, "NVIDIA A100-SXM4-80GB");
    let elsewhere = counters.on(&DeviceSpec::rtx_4090());
    assert_eq!(elsewhere.estimate.memory_seconds, 12_000.0 / 1.008e12);
    // Blocks of 4 warps: 16 fill an A100's multiprocessor, 12 an Ada's.
    assert_eq!((counters.occupancy.blocks, elsewhere.occupancy.blocks), (16, 12));
}

#[test]
fn tiled_matmul() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let (m, n, k) = (128usize, 64usize, 96usize);
    let half = |count, seed| numbers(count, seed).into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (x, w) = (stream.clone_htod(&half(m * k, 1)).unwrap(), stream.clone_htod(&half(n * k, 2)).unwrap());
    let mut y = unsafe { stream.alloc::<f32>(m * n) }.unwrap();
    let matmul = kernel(&context, "matmul", "matmul");
    let (columns, inner) = (n as i32, k as i32);
    let mut builder = stream.launch_builder(&matmul);
    builder.arg(&x).arg(&w).arg(&mut y).arg(&columns).arg(&inner);
    unsafe { builder.launch(LaunchConfig { grid_dim: (1, 2, 1), block_dim: (128, 1, 1), shared_mem_bytes: 0 }) }
        .unwrap();
    let counters = emulator.launches().unwrap().remove(0).counters;

    // Two blocks (64 rows of y each) of 4 warps; 3 slices of the inner dimension.
    let (warps, slices) = (2 * 4, 3);

    // A warp of a slice: two cp.async for each of the two tiles, 16 bytes a lane. Of global memory each takes 8 rows
    // of 64 bytes, which are 16 sectors; in shared memory the permuted chunks meet no bank twice: 512 bytes in 4
    // turns.
    let copies = warps * slices * 4;
    assert_eq!(counters.global_loads, perfect(copies, copies * 16, copies * 512));
    assert_eq!(counters.shared_stores.requests, copies);
    assert_eq!((counters.shared_stores.transactions, counters.shared_stores.least), (copies * 4, copies * 4));
    // Both blocks read their 64 rows of x and all 64 rows of w.
    assert_eq!(counters.global_loads.bytes, 2 * (64 + 64) * 96 * 2);

    // A slice is two steps of 16: one ldmatrix of a and four of b each, four 8 × 8 matrices a turn.
    let matrices = warps * slices * 2 * 5;
    assert_eq!(counters.shared_loads.requests, matrices);
    assert_eq!((counters.shared_loads.transactions, counters.shared_loads.least), (matrices * 4, matrices * 4));

    // Eight mma a step: 16 rows by 64 columns of y. None is wasted: the multiply-adds are m · n · k.
    let work = counters.matrix["m16n8k16.f32.bf16.bf16"];
    assert_eq!(work.instructions, warps * slices * 2 * 8);
    assert_eq!(work.multiply_adds, (m * n * k) as u64);

    // 16 stores of two f32 a lane: 8 rows of 32 bytes, a sector each.
    assert_eq!(counters.global_stores, perfect(warps * 16, warps * 16 * 8, (m * n * 4) as u64));
    // Two barriers a slice.
    assert_eq!(counters.barriers, warps * slices * 2);
    // Two buffers for each of two tiles of 64 × 32 bf16.
    assert_eq!(counters.shared_bytes, 2 * 2 * 64 * 32 * 2);
    assert_eq!(counters.flops_f32, 0);
}

#[test]
fn shuffle_reduction() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let sums = kernel(&context, "reduction", "block_sums");
    let x = stream.clone_htod(&numbers(1000, 3)).unwrap();
    let mut partial = unsafe { stream.alloc::<f32>(4) }.unwrap();
    let mut builder = stream.launch_builder(&sums);
    builder.arg(&x).arg(&mut partial).arg(&1000i32);
    unsafe { builder.launch(line(4, 256)) }.unwrap();
    let counters = emulator.launches().unwrap().remove(0).counters;

    // Five steps halve a warp's 32 values: in all 32 warps, and once more in the first warp of each of the 4 blocks.
    let steps = 5 * (32 + 4);
    assert_eq!(counters.by_class[&Class::Exchange], Executed { warps: steps, lanes: steps * 32 });
    assert_eq!(counters.by_class[&Class::Single], Executed { warps: steps, lanes: steps * 32 });
    assert_eq!(counters.flops_f32, steps * 32);
    assert_eq!(counters.global_loads, perfect(32, 125, 4000));
    assert_eq!(counters.global_stores, perfect(4, 4, 16));
    // One lane of each warp stores the warp's sum, eight lanes of each first warp load them.
    assert_eq!((counters.shared_stores.requests, counters.shared_stores.transactions), (32, 32));
    assert_eq!((counters.shared_loads.requests, counters.shared_loads.transactions), (4, 4));
    assert_eq!(counters.barriers, 32);
    assert_eq!(counters.shared_bytes, 128);
}

/// Counts 4096 values in 4 blocks of 128 threads: 16 warps, 8 rounds each.
fn histogram_of(value: impl Fn(usize) -> u8) -> Counters {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let histogram = kernel(&context, "histogram", "histogram");
    let data = stream.clone_htod(&(0..4096).map(value).collect::<Vec<_>>()).unwrap();
    let mut bins = stream.alloc_zeros::<u32>(256).unwrap();
    let mut builder = stream.launch_builder(&histogram);
    builder.arg(&data).arg(&mut bins).arg(&4096i32);
    unsafe { builder.launch(line(4, 128)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&bins).unwrap().iter().sum::<u32>(), 4096);
    emulator.launches().unwrap().remove(0).counters
}

#[test]
fn histogram_with_atomics() {
    // Neighbours fall into neighbouring bins, and so into different banks.
    let spread = histogram_of(|i| i as u8);
    // 32 bytes a warp: one sector.
    assert_eq!(spread.global_loads, perfect(128, 128, 4096));
    assert_eq!((spread.shared_atomics.requests, spread.shared_atomics.transactions), (128, 128));
    // 256 bins cleared and read by 128 threads: two rounds of 16 warps.
    assert_eq!((spread.shared_stores.requests, spread.shared_stores.transactions), (32, 32));
    assert_eq!((spread.shared_loads.requests, spread.shared_loads.transactions), (32, 32));
    // The stride of 512 keeps a block to 128 of the values: half of the 32 warps' turns find something, in all of
    // their bins.
    assert_eq!(spread.global_atomics, perfect(16, 16 * 4, 16 * 128));
    assert_eq!(spread.barriers, 2 * 16);

    // Every 32nd bin: eight words of one bank, where one turn could have served 32 lanes.
    let clustered = histogram_of(|i| (i * 32) as u8);
    let atomics = clustered.shared_atomics;
    assert_eq!((atomics.requests, atomics.transactions, atomics.least), (128, 128 * 8, 128));
    // Each of the eight bins is its warp's first: one lane adds four bytes to global memory, in each of the blocks.
    assert_eq!(clustered.global_atomics, perfect(32, 32, 32 * 4));

    // One bin for all.
    let single = histogram_of(|_| 7);
    assert_eq!(single.global_atomics, perfect(4, 4, 16));
}

/// The three steps of the pipeline, each of which touches 300 elements in 3 blocks of 128 threads: 9 warps in full
/// and 12 lanes of a tenth, which take 9 · 4 + 2 sectors.
fn check_steps(all: &[Counters], times: u64) {
    let named = |name: &str| all.iter().filter(|one| one.kernel == name).cloned().collect::<Vec<_>>();
    let once = perfect(10 * times, 38 * times, 1200 * times);
    for name in ["ramp", "square", "accumulate"] {
        let own = named(name);
        assert_eq!(own.len() as u64, times);
        assert_eq!(sum(&own, |one| one.global_stores), once, "{name}");
        assert_eq!(own.iter().map(|one| one.flops_f32).sum::<u64>(), 300 * times, "{name}");
    }
    assert_eq!(sum(&named("ramp"), |one| one.global_loads), Traffic::default());
    assert_eq!(sum(&named("square"), |one| one.global_loads), once);
    // It reads what it adds, and what it adds to.
    assert_eq!(sum(&named("accumulate"), |one| one.global_loads), perfect(20 * times, 76 * times, 2400 * times));
}

fn steps(context: &std::sync::Arc<cudarc::driver::CudaContext>) -> [CudaFunction; 3] {
    let module = module(context, "pipeline");
    ["ramp", "square", "accumulate"].map(|name| module.load_function(name).unwrap())
}

#[test]
fn stream_ordered_pipeline() {
    let (emulator, context) = context();
    let [ramp, square, accumulate] = steps(&context);
    let (produce, consume) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let mut sum = consume.alloc_zeros::<f32>(300).unwrap();
    for step in 0..4 {
        let mut x = unsafe { produce.alloc::<f32>(300) }.unwrap();
        let mut squares = unsafe { produce.alloc::<f32>(300) }.unwrap();
        let start = step as f32;
        unsafe {
            produce.launch_builder(&ramp).arg(&mut x).arg(&start).arg(&300i32).launch(line(3, 128)).unwrap();
            produce.launch_builder(&square).arg(&x).arg(&mut squares).arg(&300i32).launch(line(3, 128)).unwrap();
            consume.launch_builder(&accumulate).arg(&squares).arg(&mut sum).arg(&300i32).launch(line(3, 128)).unwrap();
        }
    }
    let all: Vec<Counters> = emulator.launches().unwrap().into_iter().map(|launch| launch.counters).collect();
    check_steps(&all, 4);
}

#[test]
fn captured_graph() {
    let (emulator, context) = context();
    unsafe { context.disable_event_tracking() };
    let [ramp, square, accumulate] = steps(&context);
    let stream = context.new_stream().unwrap();
    let mut x = unsafe { stream.alloc::<f32>(300) }.unwrap();
    let mut squares = unsafe { stream.alloc::<f32>(300) }.unwrap();
    let mut sum = stream.alloc_zeros::<f32>(300).unwrap();
    stream.begin_capture(CU_STREAM_CAPTURE_MODE_GLOBAL).unwrap();
    unsafe {
        stream.launch_builder(&ramp).arg(&mut x).arg(&1.0f32).arg(&300i32).launch(line(3, 128)).unwrap();
        stream.launch_builder(&square).arg(&x).arg(&mut squares).arg(&300i32).launch(line(3, 128)).unwrap();
        stream.launch_builder(&accumulate).arg(&squares).arg(&mut sum).arg(&300i32).launch(line(3, 128)).unwrap();
    }
    let graph = stream.end_capture(CUgraphInstantiate_flags(0)).unwrap().unwrap();
    for _ in 0..3 {
        graph.launch().unwrap();
    }
    let launches = emulator.launches().unwrap();
    let of_graph: Vec<u64> = launches.iter().map(|launch| launch.graph.expect("the graph launches")).collect();
    let first = of_graph[0];
    assert_eq!(of_graph, [0, 0, 0, 1, 1, 1, 2, 2, 2].map(|launch| first + launch));
    let all: Vec<Counters> = emulator.launches().unwrap().into_iter().map(|launch| launch.counters).collect();
    check_steps(&all, 3);
}

#[test]
fn counters_depend_on_neither_seed_nor_threads() {
    let run = |options: &str| {
        let (emulator, context) = context();
        emulator.configure_context(options).unwrap();
        let stream = context.default_stream();
        let histogram = kernel(&context, "histogram", "histogram");
        let data = stream.clone_htod(&(0..5000u32).map(|i| (i * i / 7) as u8).collect::<Vec<_>>()).unwrap();
        let mut bins = stream.alloc_zeros::<u32>(256).unwrap();
        let mut builder = stream.launch_builder(&histogram);
        builder.arg(&data).arg(&mut bins).arg(&5000i32);
        unsafe { builder.launch(line(6, 128)) }.unwrap();
        emulator.launches_json().unwrap()
    };
    let first = run(r#"{"threads": 1}"#);
    assert_eq!(first, run(r#"{"threads": 4}"#));
    assert_eq!(first, run(r#"{"threads": 3, "seed": 11}"#));
}
