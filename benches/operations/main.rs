//! Every operation of every machine that is there, at T5.1.1-base's shapes: its time, its rate, and its share of what
//! the machine can do, which is measured first: a large matrix product, and a copy of what no cache holds. Operands that a
//! cache does hold come faster than that. `cargo bench --bench operations`; with the name of an operation behind `--`, that
//! one alone.

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
use half::bf16;
use peak::Peak;

/// Questions with passages, the paper's 48 + 304 tokens of each, at T5.1.1-base's widths.
const SEGMENTS: usize = 8;
const TOKENS: usize = 352;
const ROWS: usize = SEGMENTS * TOKENS;
const WIDTH: usize = 768;
const HEADS: usize = 12;
const HIDDEN: usize = 2048;
const VOCABULARY: usize = 32_128;
const RETRIEVED: usize = 25;
const READ: usize = 5;
const BUCKETS: usize = 32;
const MAX_DISTANCE: usize = 128;

/// What an operation has to do: FLOP of matrix products, two a multiply-add, and bytes that it cannot but move.
#[derive(Clone, Copy, Default)]
struct Work {
    flop: f64,
    bytes: f64,
}

/// The operations of one machine, timed one after the other.
struct Bench<'a, B: Backend> {
    be: &'a B,
    group: BenchmarkGroup<'a, WallTime>,
    peak: Peak,
    rows: Vec<Vec<String>>,
}

impl<'a, B: Backend> Bench<'a, B> {
    fn new(be: &'a B, c: &'a mut Criterion, machine: &str) -> Self {
        let peak = Peak::of(be);
        println!("{machine}: {:.0} GFLOP/s, {:.1} GB/s", peak.flops / 1e9, peak.bytes / 1e9);
        let mut group = c.benchmark_group(machine);
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
        Self { be, group, peak, rows: Vec::new() }
    }

    /// Times `run`, to its end on the machine.
    fn time<R>(&mut self, name: &str, work: Work, mut run: impl FnMut() -> R) {
        let one = self.be.upload(vec![0u32]);
        self.group.throughput(match work.flop > 0.0 {
            true => Throughput::Elements(work.flop as u64),
            false => Throughput::Bytes(work.bytes as u64),
        });
        let seconds = common::median_seconds(&mut self.group, BenchmarkId::from_parameter(name), || {
            std::hint::black_box(run());
            self.be.download(&one).expect("the machine works");
        });
        let Some(seconds) = seconds else { return };
        // What it cannot be faster than, by the one limit and by the other.
        let least = (work.flop / self.peak.flops).max(work.bytes / self.peak.bytes);
        let rate = |amount: f64| match amount > 0.0 {
            true => format!("{:.1}", amount / seconds / 1e9),
            false => String::new(),
        };
        let share = format!("{:.0} %", 100.0 * least / seconds);
        self.rows.push(vec![name.into(), common::in_words(seconds), rate(work.flop), rate(work.bytes), share]);
    }

    fn table(self, machine: &str) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let head = ["operation", "time", "GFLOP/s", "GB/s", "of the peak"];
        format!("\n{machine}\n{}", table(&head, &self.rows))
    }

    /// Bytes of so many of the machine's numbers.
    fn bytes(&self, numbers: usize) -> f64 {
        (numbers * size_of::<B::Elem>()) as f64
    }
}

/// Numbers of about a tenth.
fn matrix<B: Backend>(be: &B, rows: usize, cols: usize) -> Mat<B> {
    let draw = |i| B::Elem::from_f64(0.1 * glimmer::random::normal(1, cols as u64, i));
    Mat::upload(be, rows, cols, (0..(rows * cols) as u64).map(draw).collect())
}

fn segments<B: Backend>(be: &B, count: usize) -> Segments<B> {
    Segments::equal(be, count, TOKENS)
}

/// Runs the benchmarks of the CPU, and of a CUDA device where there is one.
fn main() {
    let mut c = Criterion::default().configure_from_args();
    let cpu = Cpu::<f32>::default();
    let name = format!("cpu, f32, {} threads", rayon::current_num_threads());
    let mut bench = Bench::new(&cpu, &mut c, &name);
    forward::operations(&mut bench);
    backward::operations(&mut bench);
    let mut tables = bench.table(&name);
    for packing in [Packing::Bf16, Packing::Int8] {
        // Its peak is that of products in f32.
        let cpu = Cpu::packing(packing);
        let name = cpu.describe();
        let mut bench = Bench::new(&cpu, &mut c, &name);
        forward::products(&mut bench);
        tables += &bench.table(&name);
    }
    match probe() {
        Ok(device) => {
            let be = Cuda::<bf16>::new(&device).expect("the device takes the kernels");
            let name = be.describe();
            let mut bench = Bench::new(&be, &mut c, &name);
            forward::operations(&mut bench);
            backward::operations(&mut bench);
            tables += &bench.table(&name);
        }
        Err(absent) => tables += &format!("\nno CUDA: {absent}\n"),
    }
    c.final_summary();
    println!("{tables}");
}
