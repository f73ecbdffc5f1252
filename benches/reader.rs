//! Encoder and decoder at T5.1.1's shapes with random weights, in f32, with weights in bf16 and with products in int8,
//! the encoder beside the matrix products that it cannot do without, run by themselves: `cargo bench --bench reader`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gemm::Parallelism;
use glimmer::backend::Segments;
use glimmer::cpu::{Cpu, Packing};
use glimmer::model::{Config, Cut, Evidence, Glimmer, Reader};
use rayon::prelude::*;

/// Passages and tokens of each: the paper's 48 + 304.
const SEGMENTS: usize = 8;
const TOKENS: usize = 352;
const ANSWER: usize = 16;

/// A reader for each way to keep weights. Its memory encoder is the whole encoder.
fn readers(config: &Config) -> [(&'static str, Reader<Cpu<f32>>); 3] {
    let uncut = Glimmer::new(Cut { live_layers: 0, rerank_layers: 0 }, SEGMENTS);
    let machines = [("f32", Packing::F32), ("bf16", Packing::Bf16), ("int8", Packing::Int8)];
    machines
        .map(|(name, packing)| (name, Reader::random(Cpu::packing(packing), config.clone(), uncut.clone(), 1).unwrap()))
}

fn texts(config: &Config) -> Vec<Vec<u32>> {
    let id = |i: usize| (2 + i * 7919 % (config.vocab_size - 2)) as u32;
    (0..SEGMENTS).map(|s| (0..TOKENS).map(|t| id(s * TOKENS + t)).collect()).collect()
}

/// `y = x·Wᵀ` with the gemm crate alone.
struct Product {
    rows: usize,
    cols: usize,
    inner: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    y: Vec<f32>,
}

impl Product {
    fn new(rows: usize, cols: usize, inner: usize) -> Self {
        let fill = |len: usize| (0..len).map(|i| (i % 13) as f32 - 6.0).collect();
        Self { rows, cols, inner, x: fill(rows * inner), w: fill(cols * inner), y: vec![0.0; rows * cols] }
    }

    fn run(&mut self, threads: Parallelism) {
        let (m, n, k) = (self.rows, self.cols, self.inner);
        // SAFETY: x is [m, k], w [n, k] and y [m, n], all row-major.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                self.y.as_mut_ptr(),
                1,
                n as isize,
                false,
                self.x.as_ptr(),
                1,
                k as isize,
                self.w.as_ptr(),
                k as isize,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                threads,
            );
        }
        black_box(&self.y);
    }
}

/// The matrix products of one encoder layer: those over all rows, and those of each segment and head.
struct LayerProducts {
    dense: Vec<Product>,
    attention: Vec<[Product; 2]>,
}

impl LayerProducts {
    fn new(config: &Config) -> Self {
        let rows = SEGMENTS * TOKENS;
        let (d, inner, f) = (config.d_model, config.inner(), config.d_ff);
        let shapes = [(inner, d), (inner, d), (inner, d), (d, inner), (f, d), (f, d), (d, f)];
        let pair = |_| [Product::new(TOKENS, TOKENS, config.d_kv), Product::new(TOKENS, config.d_kv, TOKENS)];
        Self {
            dense: shapes.map(|(cols, inner)| Product::new(rows, cols, inner)).into(),
            attention: (0..SEGMENTS * config.num_heads).map(pair).collect(),
        }
    }

    fn run(&mut self) {
        self.dense.iter_mut().for_each(|product| product.run(Parallelism::Rayon(0)));
        self.attention.par_iter_mut().for_each(|pair| pair.iter_mut().for_each(|p| p.run(Parallelism::None)));
    }

    fn multiply_adds(&self) -> u64 {
        let products = self.dense.iter().chain(self.attention.iter().flatten());
        products.map(|p| (p.rows * p.cols * p.inner) as u64).sum()
    }
}

fn encoder(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("encoder, {SEGMENTS} x {TOKENS} tokens"));
    group.sample_size(10).warm_up_time(Duration::from_secs(3)).measurement_time(Duration::from_secs(12));
    for size in ["small", "base"] {
        let config = Config::t5_v1_1(size).unwrap();
        let mut products = LayerProducts::new(&config);
        group.throughput(Throughput::Elements(2 * products.multiply_adds() * config.num_layers as u64));
        group.bench_function(BenchmarkId::new("products alone", size), |b| {
            b.iter(|| (0..config.num_layers).for_each(|_| products.run()));
        });
        let texts = texts(&config);
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        for (numbers, reader) in readers(&config) {
            group.bench_function(BenchmarkId::new(format!("encoder, {numbers}"), size), |b| {
                b.iter(|| black_box(reader.encode_memory(&texts).unwrap()));
            });
        }
    }
    group.finish();
}

fn decoder(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("decoder, {ANSWER} tokens over {SEGMENTS} x {TOKENS}"));
    group.sample_size(10).warm_up_time(Duration::from_secs(3)).measurement_time(Duration::from_secs(12));
    for size in ["small", "base"] {
        let config = Config::t5_v1_1(size).unwrap();
        let texts = texts(&config);
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        for (numbers, reader) in readers(&config) {
            let encoded = reader.encode_memory(&texts).unwrap();
            let one = Segments::packed(&reader.be, [SEGMENTS * TOKENS]);
            let evidence = Evidence { rows: &encoded.rows, segments: &one };
            let (decoder, embedding) = (&reader.weights.decoder, &reader.weights.encoder.embedding);
            for tokens in [1, ANSWER] {
                group.bench_function(BenchmarkId::new(format!("{tokens} tokens, {numbers}"), size), |b| {
                    b.iter(|| {
                        let answers = decoder.greedy(&reader.be, &config, embedding, &evidence, tokens).unwrap();
                        assert_eq!(answers[0].tokens.len(), tokens, "the answer ended early");
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, encoder, decoder);
criterion_main!(benches);
