//! Adafactor over a reader's parameters, against its formulas written out.

use glimmer::backend::{Element, Grad};
use glimmer::cpu::{Cpu, Real};
use glimmer::model::{Config, Cut, Glimmer, Reader, Spec, Weights};
use glimmer::nn::Tree;
use glimmer::random;
use glimmer::train::{MemoryEncoder, Optimiser, Rule, Trained};

const OFFSET: u64 = 3;

/// A reader with parameters on both sides of the 128 rule.
fn reader<T: Real>() -> Reader<Cpu<T>> {
    let sizes = Config { vocab_size: 131, d_model: 128, d_kv: 16, d_ff: 129, num_heads: 5, ..Config::mini() };
    let config = Config { num_layers: 2, num_decoder_layers: Some(1), ..sizes };
    Reader::random(Cpu::default(), config, Glimmer::new(Cut { live_layers: 1, rerank_layers: 1 }, 2), 7).unwrap()
}

fn gradient(step: u64, leaf: usize, len: usize) -> Vec<f64> {
    (0..len as u64).map(|i| 0.3 * random::normal(step, leaf as u64, i)).collect()
}

/// A parameter and its second moments, whole or as means of rows and columns.
struct Reference {
    rows: usize,
    cols: usize,
    w: Vec<f64>,
    row: Vec<f64>,
    col: Vec<f64>,
    whole: Vec<f64>,
}

impl Reference {
    fn new(spec: &Spec, w: Vec<f64>) -> Self {
        let (rows, cols) = (spec.rows, spec.cols);
        Self { rows, cols, w, row: vec![0.0; rows], col: vec![0.0; cols], whole: vec![0.0; rows * cols] }
    }

    /// T5X's step number `t` from 0, formula by formula.
    fn step(&mut self, g: &[f64], t: u64, rate: f64) {
        let beta = 1.0 - ((t + 1 + OFFSET) as f64).powf(-0.8);
        let (rows, cols) = (self.rows, self.cols);
        let square = |i: usize| g[i] * g[i] + 1e-30;
        let mut u = vec![0.0; rows * cols];
        if rows >= 128 && cols >= 128 {
            for r in 0..rows {
                let mean = (0..cols).map(|c| square(r * cols + c)).sum::<f64>() / cols as f64;
                self.row[r] = beta * self.row[r] + (1.0 - beta) * mean;
            }
            for c in 0..cols {
                let mean = (0..rows).map(|r| square(r * cols + c)).sum::<f64>() / rows as f64;
                self.col[c] = beta * self.col[c] + (1.0 - beta) * mean;
            }
            let mean = self.row.iter().sum::<f64>() / rows as f64;
            for i in 0..rows * cols {
                u[i] = g[i] * (self.row[i / cols] / mean).powf(-0.5) * self.col[i % cols].powf(-0.5);
            }
        } else {
            for i in 0..rows * cols {
                self.whole[i] = beta * self.whole[i] + (1.0 - beta) * square(i);
                u[i] = g[i] * self.whole[i].powf(-0.5);
            }
        }
        let rms = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
        let (clip, scale) = (rms(&u).max(1.0), rms(&self.w).max(1e-3));
        self.w.iter_mut().zip(&u).for_each(|(w, u)| *w -= rate * scale * u / clip);
    }
}

fn ten_steps_agree<T: Real + Element>(bound: f64) {
    let mut reader = reader::<T>();
    let specs = Weights::spec(&reader.config, &reader.glimmer);
    let trained = Trained::of(&reader.config, &reader.glimmer, MemoryEncoder::Trained);
    let mut optimiser = Optimiser::new(&reader.be, &specs, &trained, Rule::Adafactor { step_offset: OFFSET });
    let wide = |reader: &Reader<Cpu<T>>| -> Vec<Vec<f64>> {
        let leaves = reader.weights.leaves().into_iter();
        leaves.map(|w| w.download(&reader.be).unwrap().into_iter().map(Element::to_f64).collect()).collect()
    };
    let start = wide(&reader).into_iter();
    let mut references: Vec<Reference> =
        specs.leaves().into_iter().zip(start).map(|(spec, w)| Reference::new(spec, w)).collect();
    for step in 0..10 {
        let mut leaf = 0;
        let grads = specs.try_map(&mut |spec| {
            let mut grad = Grad::zeros(&reader.be, spec.rows, spec.cols);
            let values = gradient(step, leaf, spec.len());
            references[leaf].step(&values, step, 0.01);
            grad.buf =
                glimmer::backend::Backend::upload(&reader.be, values.into_iter().map(T::from_f64).collect::<Vec<T>>());
            leaf += 1;
            Ok(grad)
        });
        optimiser.step(&mut reader, &grads.unwrap(), step, 0.01).unwrap();
    }
    for ((spec, found), reference) in specs.leaves().into_iter().zip(wide(&reader)).zip(&references) {
        let norm = reference.w.iter().map(|x| x * x).sum::<f64>().sqrt();
        let off = found.iter().zip(&reference.w).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        assert!(off <= bound * norm.max(1e-3), "{}: {off:e} of {norm:e}", spec.name);
    }
}

#[test]
fn ten_steps_agree_with_the_formulas() {
    ten_steps_agree::<f64>(1e-12);
    ten_steps_agree::<f32>(1e-5);
}

#[test]
fn the_state_comes_back_to_the_last_bit_and_only_to_its_own() {
    let world = crate::world::World::new();
    world.train(&world.settings(), "run");
    let reader = Reader::load(Cpu::<f32>::default(), &world.path("run/last"), |c| Ok(c.glimmer.clone().unwrap()));
    let reader = reader.unwrap();
    let specs = Weights::spec(&reader.config, &reader.glimmer);
    let optimiser =
        |memory, rule| Optimiser::new(&reader.be, &specs, &Trained::of(&reader.config, &reader.glimmer, memory), rule);
    let path = world.path("run/last/optimiser.safetensors");
    let mut same = optimiser(MemoryEncoder::Trained, Rule::default());
    same.restore(&reader.be, &specs, &path).unwrap();
    let again = world.path("again.safetensors");
    same.save(&reader.be, &specs, &again).unwrap();
    assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap());
    let mut other = optimiser(MemoryEncoder::Trained, Rule::Adafactor { step_offset: 1 });
    let error = format!("{:#}", other.restore(&reader.be, &specs, &path).unwrap_err());
    assert!(error.contains("another optimiser"), "{error}");
}

#[test]
fn the_scorer_may_learn_faster_than_the_rest() {
    let stepped = |rate: f64| {
        let mut reader = reader::<f64>();
        let specs = Weights::spec(&reader.config, &reader.glimmer);
        let trained = Trained::of(&reader.config, &reader.glimmer, MemoryEncoder::Trained);
        let mut optimiser = Optimiser::new(&reader.be, &specs, &trained, Rule::default()).scoring_at(rate);
        let grads = specs.try_map(&mut |spec| {
            let mut grad = Grad::zeros(&reader.be, spec.rows, spec.cols);
            grad.buf = gradient(0, 0, spec.len()).into();
            Ok(grad)
        });
        let before: Vec<Vec<f64>> = reader.weights.leaves().into_iter().map(|w| w.buf.to_vec()).collect();
        optimiser.step(&mut reader, &grads.unwrap(), 0, 0.01).unwrap();
        let moved = before.iter().zip(reader.weights.leaves()).map(|(before, after)| after.buf[0] - before[0]);
        specs.leaves().into_iter().map(|spec| spec.name.clone()).zip(moved).collect::<Vec<_>>()
    };
    for ((name, plain), (_, faster)) in stepped(1.0).into_iter().zip(stepped(50.0)) {
        let times = if name == "scorer.weight" { 50.0 } else { 1.0 };
        assert!(plain != 0.0 && (faster / plain - times).abs() <= 1e-9, "{name}: {plain:e} and {faster:e}");
    }
}
