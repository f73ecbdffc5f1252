//! How much memory a training step takes, by the allocator's high-water mark.

use glimmer::cuda::Cuda;
use glimmer::model::{Config, Cut, Glimmer, Passages, Question, Reader, Weights};
use glimmer::nn::{Recompute, Tree};
use glimmer::random;
use glimmer::train::{
    Example, MemoryEncoder, Optimiser, Pass, Rule, Teacher, Trained, TrainingBytes, gradients, zero_gradients,
};
use half::bf16;

use crate::machine;

const QUESTION: usize = 12;
const PASSAGES: [usize; 8] = [60; 8];

fn config() -> Config {
    Config {
        vocab_size: 200,
        d_model: 64,
        d_kv: 16,
        num_heads: 4,
        d_ff: 176,
        num_layers: 6,
        num_decoder_layers: Some(2),
        ..Config::mini()
    }
}

fn text(stream: u64, length: usize) -> Vec<u32> {
    (0..length as u64).map(|i| 2 + random::below(3, stream, i, 198) as u32).collect()
}

/// The gradient of one question, and the step that follows from it: the bits of the gradient.
fn step(reader: &mut Reader<Cuda<bf16>>, recompute: Recompute) -> Vec<Vec<u32>> {
    let specs = Weights::spec(&reader.config, &reader.glimmer);
    let trained = Trained::of(&reader.config, &reader.glimmer, MemoryEncoder::Trained);
    let mut optimiser = Optimiser::new(&reader.be, &specs, &trained, Rule::default());
    let mut grads = zero_gradients(reader).unwrap();
    let (question, answer) = (text(0, QUESTION), text(1, 3));
    let told: Vec<Vec<u32>> = (2..).zip(PASSAGES).map(|(stream, length)| text(stream, length)).collect();
    let told: Vec<&[u32]> = told.iter().map(Vec::as_slice).collect();
    let question = Question { ids: &question, passages: Passages::Tokens(&told) };
    let pass = Pass {
        memory: MemoryEncoder::Trained,
        recompute,
        dropout: 0.1,
        seed: 1,
        lm_scale: 1.0,
        distill_scale: 1.0,
        teacher: Teacher::Perplexity,
    };
    gradients(reader, &[Example { question, target: &answer, evidence: &[] }], &pass, &mut grads).unwrap();
    optimiser.step(reader, &grads, 0, 0.01).unwrap();
    let bits = |grad: &glimmer::backend::Grad<Cuda<bf16>>| {
        let values = glimmer::backend::Backend::download(&reader.be, &grad.buf).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    grads.leaves().into_iter().map(bits).collect()
}

#[test]
fn a_training_step_takes_the_memory_that_is_worked_out_for_it() {
    let glimmer = || Glimmer::new(Cut { live_layers: 3, rerank_layers: 2 }, 2);
    let worked_out = TrainingBytes::of(&config(), &glimmer(), QUESTION, &PASSAGES).sum() as f64;
    let [again, kept] = [Recompute::Layers, Recompute::Nothing].map(|recompute| {
        let mut reader = Reader::random(machine::<bf16>(), config(), glimmer(), 1).unwrap();
        let gradients = step(&mut reader, recompute);
        (gradients, reader.be.peak_bytes().unwrap() as f64)
    });
    assert!((again.1 / worked_out - 1.0).abs() <= 0.05, "{} bytes, and {worked_out} were worked out", again.1);
    assert!(kept.1 >= 1.4 * again.1, "{} bytes where everything is kept, and {} else", kept.1, again.1);
    assert!(again.0 == kept.0, "layers that run again have other gradients");
}
