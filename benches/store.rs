//! How fast memories come from the store: 25 passages of 304 tokens, chosen anew each time, at T5.1.1-base's width; from the
//! page cache, and from the disk where this program may empty the cache (Linux, as root): `cargo bench --bench store`.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use glimmer::backend::Backend;
use glimmer::cpu::Cpu;
use glimmer::memory::{Builder, Format, Spec, Store};
use glimmer::random;

const PASSAGES: u64 = 2000;
const TOKENS: usize = 304;
const WIDTH: usize = 768;
const RETRIEVED: u64 = 25;
const ENCODER: &str = "no encoder: numbers without meaning";

/// Builds the store, of 0.9 GB in bf16.
fn build(folder: &Path, format: Format) -> Result<()> {
    let mut builder = Builder::create(folder, Spec::new(WIDTH, format, ENCODER))?;
    let mut rows: Vec<f32> = (0..TOKENS * WIDTH).map(|i| random::normal(1, 0, i as u64) as f32).collect();
    for passage in 0..PASSAGES {
        rows[0] = passage as f32;
        builder.add(&passage.to_string(), &rows)?;
    }
    builder.finish()
}

/// Takes every file that nobody has mapped out of the page cache.
fn empty_the_cache() -> std::io::Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "1")
}

/// The rows of `RETRIEVED` passages, checked and widened: what a question waits for.
fn read(store: &Store, be: &Cpu<f32>, question: u64) {
    let id = |i| (random::normal(2, question, i).abs() * 1e6) as u64 % PASSAGES;
    let ids: Vec<String> = (0..RETRIEVED).map(|i| id(i).to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let rows: Vec<_> = store.read_all(&ids).unwrap().into_iter().map(|rows| rows.data).collect();
    black_box(be.dequantise(WIDTH, &rows));
}

fn store(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("memory of {RETRIEVED} passages"));
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    let be = Cpu::<f32>::default();
    for (name, format) in [("bf16", Format::Bf16), ("int8", Format::Int8)] {
        // Beside what cargo builds: a temporary folder may lie in memory.
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let folder: PathBuf = place.path().join(name);
        build(&folder, format).unwrap();
        group.throughput(Throughput::Bytes(RETRIEVED * format.passage_bytes(TOKENS as u64, WIDTH)));
        let (open, mut question) = (|| Store::open(&folder, ENCODER).unwrap(), 0);
        if let Err(error) = empty_the_cache() {
            eprintln!("{name}, from the disk: not measured, the page cache cannot be emptied ({error})");
        } else {
            group.bench_function(BenchmarkId::new("from the disk", name), |b| {
                b.iter_custom(|times| {
                    let once = |_| {
                        question += 1;
                        empty_the_cache().unwrap();
                        let store = open();
                        let start = Instant::now();
                        read(&store, &be, question);
                        start.elapsed()
                    };
                    (0..times).map(once).sum()
                });
            });
        }
        let store = open();
        for passage in 0..PASSAGES {
            store.read(&passage.to_string()).unwrap();
        }
        group.bench_function(BenchmarkId::new("from the cache", name), |b| {
            b.iter(|| {
                question += 1;
                read(&store, &be, question);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
