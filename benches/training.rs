//! One training step, forward and backward without the optimiser, of a FiD whose questions have 8 passages each: of
//! T5.1.1-small on the CPU, one question at a time; of base and large in bf16 on a CUDA device, where there is one, of
//! one question and of eight, and the optimiser beside. `cargo bench --bench training`; a part of a benchmark's name
//! (`cuda`, `cpu`, `base`) behind `--` leaves out the others.

#[path = "common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use glimmer::backend::Backward;
use glimmer::cost::{CostMode, Lengths, Workload, memory_multiply_adds, multiply_adds};
use glimmer::cpu::Cpu;
use glimmer::cuda::{Cuda, probe};
use glimmer::eval::table;
use glimmer::model::{Config, Cut, Glimmer, Passages, Question, Reader, Weights};
use glimmer::nn::Recompute;
use glimmer::train::{Example, MemoryEncoder, Optimiser, Pass, Rule, Teacher, Trained, gradients, zero_gradients};
use half::bf16;

const PASSAGES: usize = 8;
/// Tokens of question and passage together: 352, as the paper's 48 + 304.
const QUESTION: usize = 48;
const PASSAGE: usize = 304;
const ANSWER: usize = 16;

fn text(config: &Config, stream: usize, length: usize) -> Vec<u32> {
    (0..length).map(|i| (2 + (stream * 1009 + i) * 7919 % (config.vocab_size - 2)) as u32).collect()
}

/// What a question has of each.
struct Texts {
    question: Vec<u32>,
    passages: Vec<Vec<u32>>,
    target: Vec<u32>,
}

impl Texts {
    fn new(config: &Config, number: usize) -> Self {
        let stream = 100 * number;
        Self {
            question: text(config, stream, QUESTION),
            passages: (1..=PASSAGES).map(|i| text(config, stream + i, PASSAGE)).collect(),
            target: text(config, stream + 99, ANSWER),
        }
    }
}

/// What is measured of one size on one machine.
struct Job<'a> {
    machine: &'a str,
    size: &'a str,
    questions: usize,
    seconds: f64,
    /// Name, dropout, what is computed again.
    passes: &'a [(&'a str, f64, Recompute)],
}

impl Job<'_> {
    fn name(&self) -> String {
        let Self { machine, size, questions, .. } = self;
        format!("training, {machine}, {size}, {questions} x {PASSAGES} passages")
    }

    /// Of its benchmarks.
    fn names(&self) -> impl Iterator<Item = String> {
        let passes = self.passes.iter().map(|&(what, ..)| what).chain(["optimiser"]);
        passes.map(|what| format!("{}/{what}", self.name()))
    }

    /// Multiply-adds of a step: a pass, and twice as many for the gradients of what it multiplied.
    fn multiply_adds(&self, reader: &Reader<impl Backward>) -> f64 {
        let lengths = Lengths { question: QUESTION, passage: PASSAGE, answer: ANSWER };
        let workload = Workload::uniform(&reader.glimmer, PASSAGES, lengths);
        let encoded = PASSAGES as f64 * memory_multiply_adds(&reader.config, &reader.glimmer, PASSAGE);
        let read = multiply_adds(CostMode::Exact, &reader.config, &reader.glimmer, &workload);
        3.0 * self.questions as f64 * (encoded + read)
    }

    fn measure<B: Backward>(&self, c: &mut Criterion, reader: &mut Reader<B>) -> Vec<Vec<String>> {
        let Self { machine, size, questions, .. } = *self;
        let mut group = c.benchmark_group(self.name());
        let [warm_up, measured] = [self.seconds / 8.0, self.seconds].map(Duration::from_secs_f64);
        group.sample_size(10).warm_up_time(warm_up).measurement_time(measured);
        let texts: Vec<Texts> = (0..questions).map(|i| Texts::new(&reader.config, i)).collect();
        let told: Vec<Vec<&[u32]>> =
            texts.iter().map(|text| text.passages.iter().map(Vec::as_slice).collect()).collect();
        let examples = texts.iter().zip(&told).map(|(text, told)| {
            let question = Question { ids: &text.question, passages: Passages::Tokens(told) };
            Example { question, target: &text.target, evidence: &[] }
        });
        let batch: Vec<_> = examples.collect();
        let mut grads = zero_gradients(reader).unwrap();
        let idle = reader.be.upload(vec![0u32]);
        let mut rows = Vec::new();
        let lm_scale = 1.0 / (questions * ANSWER) as f64;
        for &(what, dropout, recompute) in self.passes {
            let memory = MemoryEncoder::Trained;
            let pass = Pass {
                memory,
                recompute,
                dropout,
                seed: 1,
                lm_scale,
                distill_scale: 0.0,
                teacher: Teacher::Perplexity,
            };
            let seconds = common::median_seconds(&mut group, BenchmarkId::from_parameter(what), || {
                black_box(gradients(reader, &batch, &pass, &mut grads).unwrap());
                reader.be.download(&idle).unwrap();
            });
            let Some(seconds) = seconds else { continue };
            let rate = 2e-12 * self.multiply_adds(reader) / seconds;
            rows.push([what.into(), common::in_words(seconds), format!("{rate:.2}")].into());
        }
        let specs = Weights::spec(&reader.config, &reader.glimmer);
        let trained = Trained::of(&reader.config, &reader.glimmer, MemoryEncoder::Trained);
        let mut optimiser = Optimiser::new(&reader.be, &specs, &trained, Rule::default());
        let mut step = 0;
        let seconds = common::median_seconds(&mut group, BenchmarkId::from_parameter("optimiser"), || {
            optimiser.step(reader, &grads, step, 1e-9).unwrap();
            step += 1;
            reader.be.download(&idle).unwrap();
        });
        rows.extend(seconds.map(|seconds| vec!["optimiser".into(), common::in_words(seconds), String::new()]));
        group.finish();
        rows.iter_mut().for_each(|row| {
            row.splice(0..0, [format!("{machine}, {size}"), questions.to_string()]);
        });
        rows
    }
}

fn fid<B: Backward>(be: B, size: &str) -> Reader<B> {
    let config = Config::t5_v1_1(size).expect("a size of T5.1.1");
    let fid = Glimmer::new(Cut::fid(config.num_layers), PASSAGES);
    Reader::random(be, config, fid, 1).expect("a model of these sizes")
}

const NO_DROPOUT: (&str, f64, Recompute) = ("no dropout", 0.0, Recompute::Nothing);
const DROPOUT: (&str, f64, Recompute) = ("dropout", 0.1, Recompute::Nothing);
const RECOMPUTED: (&str, f64, Recompute) = ("no dropout, layers recomputed", 0.0, Recompute::Layers);

fn main() {
    let mut c = Criterion::default().configure_from_args();
    // Models are not made for benchmarks that the command line leaves out.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wants = |job: &Job<'_>| filter.as_ref().is_none_or(|part| job.names().any(|name| name.contains(part)));
    let mut rows = Vec::new();
    let passes = &[NO_DROPOUT, DROPOUT, RECOMPUTED];
    let job = Job { machine: "cpu, f32", size: "small", questions: 1, seconds: 25.0, passes };
    if wants(&job) {
        rows.extend(job.measure(&mut c, &mut fid(Cpu::<f32>::default(), "small")));
    }
    if let Ok(device) = probe() {
        for size in ["base", "large"] {
            let passes = &[RECOMPUTED, NO_DROPOUT, DROPOUT];
            let jobs = [1, 8].map(|questions| Job { machine: "cuda, bf16", size, questions, seconds: 1.0, passes });
            if !jobs.iter().any(wants) {
                continue;
            }
            let mut reader = fid(Cuda::<bf16>::new(&device).expect("the device takes the kernels"), size);
            for job in jobs.iter().filter(|job| wants(job)) {
                rows.extend(job.measure(&mut c, &mut reader));
                let peak = reader.be.peak_bytes().expect("the device works") as f64 / 1e9;
                println!("{size}, {} questions: {peak:.2} GB of the device were in use at the most", job.questions);
            }
        }
    }
    c.final_summary();
    println!("\n{}", table(&["machine", "questions", "step", "time", "TFLOP/s"], &rows));
}
