//! Questions through FiD, LUMEN and GLIMMER at T5.1.1's shapes with random weights: samples a second, where the time
//! goes, and what the cost model makes of it; and how the speed goes with the passages retrieved, the passages read
//! and the share of rerank layers, as in the paper's figures 3 and 4, with the length of passages and with threads.
//!
//!     cargo bench --bench end_to_end -- small
//!
//! The name of a size, of a machine (`cuda`), or of anything else that is part of a benchmark's name, leaves out the
//! others: without one, the large readers are measured too, which takes the CPU long. Table, `end_to_end.json` and
//! `end_to_end.svg` lie in `target/bench`.

#[path = "../common/mod.rs"]
mod common;
mod report;
mod workload;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use glimmer::backend::Backend;
use glimmer::cpu::{Cpu, Packing};
use glimmer::cuda::{Cuda, probe};
use glimmer::model::{Config, Cut, Glimmer, Reader, Stage};
use half::bf16;
use report::{Measured, Report};
use workload::{ANSWER, LONGEST, PASSAGE, QUESTION, Texts};

/// A reader: its name, its cut, passages retrieved and read.
#[derive(Clone)]
struct Setting {
    group: &'static str,
    name: String,
    cut: Cut,
    retrieved: usize,
    read: usize,
    /// Of a passage.
    tokens: usize,
    /// Of the CPU; 0 for as many as there are.
    threads: usize,
    /// What a sweep varies.
    varied: f64,
}

impl Setting {
    fn new(group: &'static str, name: String, cut: Cut, retrieved: usize, read: usize, varied: f64) -> Self {
        Self { group, name, cut, retrieved, read, tokens: PASSAGE, threads: 0, varied }
    }
}

/// The readers that are compared, and the sweeps around GLIMMER's 25 → 5 with a quarter of a third reranking; with numbers
/// of threads, if any.
fn settings(layers: usize, threads: &[usize]) -> Vec<Setting> {
    let cut = |alpha, beta| Cut::nearest(layers, alpha, beta).expect("fractions");
    let (fid, lumen, glimmer) = (Cut::fid(layers), cut(1.0 / 3.0, 0.0), cut(1.0 / 3.0, 0.25));
    let reader = |name: &str, cut, retrieved, read| {
        Setting::new("readers", format!("{name} {retrieved} to {read}"), cut, retrieved, read, 0.0)
    };
    let mut all = vec![
        reader("fid", fid, 5, 5),
        reader("fid", fid, 25, 25),
        reader("lumen", lumen, 10, 10),
        reader("lumen", lumen, 25, 25),
        reader("glimmer", glimmer, 25, 5),
    ];
    for k in [5, 10, 15, 20, 25, 30, 40] {
        all.push(Setting::new("retrieved", format!("{k} passages"), glimmer, k, 5, k as f64));
    }
    for m in [1, 2, 5, 10, 15, 20, 25] {
        all.push(Setting::new("read", format!("{m} passages"), glimmer, 25, m, m as f64));
    }
    let mut shares: Vec<Cut> = [0.0, 0.25, 0.5, 0.75, 1.0].map(|beta| cut(1.0 / 3.0, beta)).into();
    shares.dedup();
    for cut in shares {
        let share = cut.rerank_layers as f64 / cut.live_layers as f64;
        all.push(Setting::new("rerank share", format!("{share:.2}"), cut, 25, 5, share));
    }
    for tokens in [32, 64, 128, 208, PASSAGE, LONGEST] {
        let setting = Setting::new("length", format!("{tokens} tokens"), glimmer, 25, 5, tokens as f64);
        all.push(Setting { tokens, ..setting });
    }
    for &threads in threads {
        let setting = Setting::new("threads", format!("{threads} threads"), glimmer, 25, 5, threads as f64);
        all.push(Setting { threads, ..setting });
    }
    all
}

/// Reads one question as `setting` has it, again and again.
fn measure<B: Backend>(
    c: &mut Criterion,
    reader: &mut Reader<B>,
    (machine, size, longest): (&str, &str, Duration),
    setting: &Setting,
    texts: &Texts,
) -> Option<Measured> {
    reader.glimmer = Glimmer::new(setting.cut, setting.read);
    let reader = &*reader;
    let in_full = setting.cut.live_layers == reader.config.num_layers;
    let passages = texts.passages(in_full, (setting.retrieved, setting.tokens));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(setting.threads).build().expect("threads");
    let questions = [texts.question(&passages)];
    let stages: Mutex<BTreeMap<Stage, Vec<f64>>> = Mutex::default();
    let idle = reader.be.upload(vec![0u32]);
    let mut group = c.benchmark_group(format!("{machine}, {size}, {}", setting.group));
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(longest);
    group.throughput(Throughput::Elements(1));
    let seconds = common::median_seconds(&mut group, BenchmarkId::from_parameter(&setting.name), || {
        let mut before = Instant::now();
        let mut passed = |stage| {
            // Until the machine is done with it.
            reader.be.download(&idle).expect("the machine works");
            let now = Instant::now();
            stages.lock().expect("nobody panics").entry(stage).or_default().push((now - before).as_secs_f64());
            before = now;
        };
        let readings =
            pool.install(|| reader.read_in_stages(&questions, ANSWER, &mut passed)).expect("the reader reads");
        assert_eq!(readings[0].answer.len(), ANSWER, "the answer ended early");
    })?;
    group.finish();
    let stages = stages
        .into_inner()
        .expect("nobody panics")
        .into_iter()
        .filter_map(|(stage, times)| Some((stage, common::median(times)?)));
    let rows = setting.read * (QUESTION + setting.tokens);
    let prefill = pool.install(|| workload::prefill_seconds(reader, rows));
    Some(Measured::new(&reader.config, &reader.glimmer, setting, (seconds, stages.collect(), prefill)))
}

/// All settings of all sizes on one machine, as far as the command line wants them.
fn machine<B: Backend>(
    c: &mut Criterion,
    be: impl Fn() -> B,
    (name, longest, threads): (&str, Duration, &[usize]),
    report: &mut Report,
) {
    for size in ["small", "base", "large"] {
        let config = Config::t5_v1_1(size).expect("a size of T5.1.1");
        let texts = Texts::new(&config);
        let mut reader: Option<Reader<B>> = None;
        for setting in settings(config.num_layers, threads) {
            if !report.wants(&format!("{name}, {size}, {}/{}", setting.group, setting.name)) {
                continue;
            }
            let reader = reader.get_or_insert_with(|| {
                let glimmer = Glimmer::new(setting.cut, setting.read);
                Reader::random(be(), config.clone(), glimmer, 1).expect("a model of these sizes")
            });
            report.extend(name, size, measure(c, reader, (name, size, longest), &setting, &texts));
        }
    }
}

fn main() -> anyhow::Result<()> {
    let mut c = Criterion::default().configure_from_args();
    let mut report = Report::new(std::env::args().skip(1));
    let most = rayon::current_num_threads();
    let threads: Vec<usize> = (0..).map(|i| 1 << i).take_while(|&threads| threads < most).chain([most]).collect();
    let name = format!("cpu, f32, {most} threads");
    machine(&mut c, || Cpu::packing(Packing::F32), (&name, Duration::from_secs(2), &threads), &mut report);
    if let Ok(device) = probe() {
        let open = || Cuda::<bf16>::new(&device).expect("the device takes the kernels");
        let name = format!("cuda, bf16, {}", device.name);
        machine(&mut c, open, (&name, Duration::from_millis(200), &[]), &mut report);
    }
    c.final_summary();
    report.write(&std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench"))
}
