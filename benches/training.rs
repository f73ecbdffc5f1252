//! One training step of T5.1.1-small's shape, forward and backward without the optimiser, of a FiD over one question
//! with 8 passages: `cargo bench --bench training`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use glimmer::cpu::Cpu;
use glimmer::model::{Config, Cut, Glimmer, Passages, Question, Reader};
use glimmer::nn::Recompute;
use glimmer::train::{Example, MemoryEncoder, Pass, gradients, zero_gradients};

const PASSAGES: usize = 8;
/// Tokens of question and passage together: 352, as the paper's 48 + 304.
const QUESTION: usize = 48;
const PASSAGE: usize = 304;
const ANSWER: usize = 16;

fn text(config: &Config, stream: usize, length: usize) -> Vec<u32> {
    (0..length).map(|i| (2 + (stream * 1009 + i) * 7919 % (config.vocab_size - 2)) as u32).collect()
}

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("training, {PASSAGES} x {} tokens", QUESTION + PASSAGE));
    group.sample_size(10).warm_up_time(Duration::from_secs(3)).measurement_time(Duration::from_secs(25));
    let config = Config::t5_v1_1("small").unwrap();
    let fid = Glimmer::new(Cut::fid(config.num_layers), PASSAGES);
    let reader = Reader::random(Cpu::<f32>::default(), config.clone(), fid, 1).unwrap();
    let (ids, target) = (text(&config, 0, QUESTION), text(&config, 99, ANSWER));
    let passages: Vec<Vec<u32>> = (1..=PASSAGES).map(|i| text(&config, i, PASSAGE)).collect();
    let passages: Vec<&[u32]> = passages.iter().map(Vec::as_slice).collect();
    let batch = [Example { question: Question { ids: &ids, passages: Passages::Tokens(&passages) }, target: &target }];
    let mut grads = zero_gradients(&reader).unwrap();
    for (what, dropout, recompute) in [
        ("no dropout", 0.0, Recompute::Nothing),
        ("dropout", 0.1, Recompute::Nothing),
        ("no dropout, layers recomputed", 0.0, Recompute::Layers),
    ] {
        let (memory, lm_scale) = (MemoryEncoder::Trained, 1.0 / ANSWER as f64);
        let pass = Pass { memory, recompute, dropout, seed: 1, lm_scale, distill_scale: 0.0 };
        group.bench_function(BenchmarkId::new("small", what), |b| {
            b.iter(|| black_box(gradients(&reader, &batch, &pass, &mut grads).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
