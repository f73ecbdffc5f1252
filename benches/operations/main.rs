//! Every operation of every machine that is there, at T5.1.1's shapes (on the CPU base with 8 passages, on a device base
//! and large with 25): its time, its rate, and its share of what the machine can do, which is measured first: a large
//! matrix product, and a copy of what no cache holds. Operands that a cache does hold come faster than that. `cargo bench
//! --bench operations`; with the name of an operation or of a machine (`cuda`) behind `--`, that one alone.

mod backward;
#[path = "../common/mod.rs"]
mod common;
mod forward;
mod peak;

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use glimmer::backend::{Backend, Element, Mat, Segments};
use glimmer::cpu::{Cpu, Packing};
use glimmer::cuda::{Cuda, probe};
use glimmer::eval::table;
use glimmer::model::Config;
use half::bf16;
use peak::Peak;
use rayon::prelude::*;

/// The paper's 48 + 304 tokens of question and passage.
const TOKENS: usize = 352;
const VOCABULARY: usize = 32_128;
const RETRIEVED: usize = 25;
const READ: usize = 5;
const BUCKETS: usize = 32;
const MAX_DISTANCE: usize = 128;

/// Questions with passages, and a T5.1.1.
#[derive(Clone, Copy)]
struct Shape {
    passages: usize,
    rows: usize,
    width: usize,
    heads: usize,
    hidden: usize,
}

impl Shape {
    fn new(passages: usize, size: &str) -> Self {
        let Config { d_model: width, num_heads: heads, d_ff: hidden, .. } =
            Config::t5_v1_1(size).expect("a size of T5.1.1");
        Self { passages, rows: passages * TOKENS, width, heads, hidden }
    }
}

/// What an operation has to do: FLOP of matrix products, two a multiply-add, and bytes that it cannot but move.
#[derive(Clone, Copy, Default)]
struct Work {
    flop: f64,
    bytes: f64,
}

/// The operations of one machine, timed one after the other.
struct Bench<'a, B: Backend> {
    be: &'a B,
    shape: Shape,
    group: BenchmarkGroup<'a, WallTime>,
    peak: Peak,
    table: Vec<Vec<String>>,
}

impl<'a, B: Backend> Bench<'a, B> {
    fn new(be: &'a B, (shape, peak): (Shape, Peak), c: &'a mut Criterion, machine: &str, seconds: f64) -> Self {
        let mut group = c.benchmark_group(machine);
        let [warm_up, measured] = [seconds / 6.0, seconds].map(Duration::from_secs_f64);
        group.sample_size(10).warm_up_time(warm_up).measurement_time(measured);
        Self { be, shape, group, peak, table: Vec::new() }
    }

    /// Times `run`, to its end on the machine.
    fn time<R>(&mut self, name: &str, work: Work, mut run: impl FnMut() -> R) {
        let one = self.be.upload(vec![0u32]);
        self.group.throughput(match work.flop > 0.0 {
            true => Throughput::Elements(work.flop as u64),
            false => Throughput::Bytes(work.bytes as u64),
        });
        let run = || drop(std::hint::black_box(run()));
        let wait = || drop(self.be.download(&one).expect("the machine works"));
        let id = BenchmarkId::from_parameter(name);
        let seconds = common::median_seconds_together(&mut self.group, id, run, wait);
        let Some(seconds) = seconds else { return };
        // What it cannot be faster than, by the one limit and by the other.
        let least = (work.flop / self.peak.flops).max(work.bytes / self.peak.bytes);
        let rate = |amount: f64| match amount > 0.0 {
            true => format!("{:.1}", amount / seconds / 1e9),
            false => String::new(),
        };
        let share = format!("{:.0} %", 100.0 * least / seconds);
        self.table.push(vec![name.into(), common::in_words(seconds), rate(work.flop), rate(work.bytes), share]);
    }

    fn in_words(self, machine: &str) -> String {
        if self.table.is_empty() {
            return String::new();
        }
        let head = ["operation", "time", "GFLOP/s", "GB/s", "of the peak"];
        format!("\n{machine}\n{}", table(&head, &self.table))
    }

    /// Bytes of so many of the machine's numbers.
    fn bytes(&self, numbers: usize) -> f64 {
        (numbers * size_of::<B::Elem>()) as f64
    }
}

/// Numbers of about a tenth.
fn matrix<B: Backend>(be: &B, rows: usize, cols: usize) -> Mat<B> {
    let draw = |i| B::Elem::from_f64(0.1 * glimmer::random::normal(1, cols as u64, i));
    Mat::upload(be, rows, cols, (0..(rows * cols) as u64).into_par_iter().map(draw).collect())
}

fn segments<B: Backend>(be: &B, count: usize) -> Segments<B> {
    Segments::equal(be, count, TOKENS)
}

/// What a machine can do, said as soon as it is known.
fn peak<B: Backend>(be: &B, side: usize, copied: usize) -> Peak {
    let peak = Peak::of(be, side, copied);
    println!("{}: {:.0} GFLOP/s, {:.1} GB/s", be.describe(), peak.flops / 1e9, peak.bytes / 1e9);
    peak
}

/// How long an operation is measured, in seconds: a device does thousands of most in less.
const ON_CPU: f64 = 3.0;
const ON_DEVICE: f64 = 0.2;

fn on_cpu(c: &mut Criterion) -> String {
    let shape = Shape::new(8, "base");
    let cpu = Cpu::<f32>::default();
    let peak = peak(&cpu, 2048, 32 << 20);
    let name = format!("cpu, f32, {} threads", rayon::current_num_threads());
    let mut bench = Bench::new(&cpu, (shape, peak), c, &name, ON_CPU);
    forward::operations(&mut bench);
    backward::operations(&mut bench);
    let mut tables = bench.in_words(&name);
    for packing in [Packing::F32, Packing::Bf16, Packing::Int8] {
        // The peak stays that of products in f32.
        let cpu = Cpu::packing(packing);
        let name = cpu.describe();
        let mut bench = Bench::new(&cpu, (shape, peak), c, &name, ON_CPU);
        forward::products(&mut bench);
        tables += &bench.in_words(&name);
    }
    tables
}

fn on_device(c: &mut Criterion) -> String {
    let device = match probe() {
        Ok(device) => device,
        Err(absent) => return format!("\nno CUDA: {absent}\n"),
    };
    let be = Cuda::<bf16>::new(&device).expect("the device takes the kernels");
    let peak = peak(&be, 8192, 256 << 20);
    let mut tables = String::new();
    for size in ["base", "large"] {
        let name = format!("{}, {size}", be.describe());
        let mut bench = Bench::new(&be, (Shape::new(RETRIEVED, size), peak), c, &name, ON_DEVICE);
        forward::operations(&mut bench);
        backward::operations(&mut bench);
        tables += &bench.in_words(&name);
    }
    tables
}

/// Runs the benchmarks of the CPU, and of a CUDA device where there is one.
fn main() {
    let mut c = Criterion::default().configure_from_args();
    // What is named `cuda` is not the CPU's: nothing is made ready for it.
    let mut tables = match std::env::args().any(|argument| argument == "cuda") {
        true => String::new(),
        false => on_cpu(&mut c),
    };
    tables += &on_device(&mut c);
    c.final_summary();
    println!("{tables}");
}
