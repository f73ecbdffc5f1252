//! The forward pass in bf16 on the emulated device, and on the CPU with weights in bf16 and with products in int8: numbers
//! within the roundings' error of the reference, and choices that are the reference's wherever that error leaves no doubt.

use std::ops::Range;

use glimmer::backend::{Backend, Element, Pool, Segments, Selection};
use glimmer::cpu::{Cpu, Packing};
use glimmer::io::Checkpoint;
use glimmer::model::{Encoded, Glimmer};
use glimmer::trace::{Inputs, Values};
use half::bf16;

use super::{
    Beside, FOLDERS, MAX_TOKENS, ROUNDINGS, Traced, distance, load, load_rounded, norm, read_inputs, reals, reference,
};
use crate::common::{assert_close, emulated};

/// Relative error of a forward pass in bf16 throughout, whose numbers are a 256th apart.
const BOUND: f64 = 2e-2;

/// Relative error of a forward pass with weights in bf16. Each is off by at most a 512th, and so by some 1.6e-3 as products
/// have it; a dozen or two of them, one behind the other, add up to 8e-3, and to 1.0e-2 in the worst of the references.
const BF16_WEIGHTS: f64 = 1.5e-2;

/// Relative error of a forward pass with products of 8-bit integers. Numbers are off by at most a 254th of their row's
/// largest, which is about three times what they are on average: 7e-3 for weights and rows each, and so 1e-2 a
/// product. A dozen or two of these are 4e-2, and 4.3e-2 in the worst of the references.
const INT8: f64 = 6e-2;

#[test]
fn emulated_bf16_matches_the_reference() {
    matches_reference(emulated::machine::<bf16>, BOUND);
}

#[test]
fn weights_in_bf16_match_the_reference() {
    matches_reference(|| Cpu::packing(Packing::Bf16), BF16_WEIGHTS);
}

#[test]
fn products_in_int8_match_the_reference() {
    matches_reference(|| Cpu::packing(Packing::Int8), INT8);
}

fn matches_reference<B: Backend>(be: impl Fn() -> B, bound: f64) {
    for folder in FOLDERS {
        let rounded = Rounded::new(&be, folder, bound);
        for name in ["memory.question", "memory.passage", "live_a", "lm_logprob"] {
            rounded.assert_close(name, 0..rounded.batch);
        }
        rounded.assert_scores_close();
        let alike: Vec<usize> = (0..rounded.batch).filter(|&question| rounded.chose_alike(question)).collect();
        // The losses of distillation are the host's arithmetic on scores and log-probabilities.
        for question in alike {
            rounded.assert_close("live_b", question..question + 1);
            rounded.assert_close("logits", question..question + 1);
            rounded.assert_answer(question);
        }
    }
}

/// Every number, scores and losses among them, within 2e-2 of the reference, or not much farther from it than the same
/// weights in exact arithmetic are. Rounding these readers' weights alone moves scores and losses by about as much as is
/// stated of the whole pass, and makes one of them read another passage: no program in bf16 is within that of all numbers.
#[test]
fn emulated_bf16_is_near_the_floor() {
    let mut all = Vec::new();
    for folder in FOLDERS {
        let found = Traced::new(emulated::machine::<bf16>, folder);
        let floors = ROUNDINGS.map(|rounding| Traced::of(&load_rounded(folder, rounding), folder, read_inputs(folder)));
        for (tensor, wanted) in found.pairs() {
            let Values::Real(wanted) = wanted else { continue };
            let of = |traced: &Traced| distance(reals(traced.found(&tensor.name)), &wanted);
            let floor = floors.iter().map(of).fold(0.0, f64::max);
            all.push(Beside { what: format!("{folder}: {}", tensor.name), found: of(&found), floor });
        }
    }
    Beside::assert_all(&all, BOUND);
}

/// What becomes of the reference's own choice, whatever bf16 would choose.
#[test]
fn emulated_bf16_reads_what_the_reference_chose() {
    for folder in FOLDERS {
        let inputs = read_inputs(folder);
        let expected = Checkpoint::open_file(&reference(folder).join("expected.safetensors")).unwrap();
        let reader = load(emulated::machine::<bf16>(), folder);
        let texts = inputs.texts();
        let scored = reader.score(&inputs.questions(&texts)).unwrap();
        let encoded = reader.finish(&scored.live_a, &chosen(&reader.be, &expected, inputs.passages[0].len()));
        let (shape, wanted) = expected.read_any("live_b").unwrap();
        let found = padded(&reader.be, &encoded, shape[2]);
        assert_close(&format!("{folder}: live_b of the reference's choice"), &found, &wanted, BOUND);
    }
}

/// The passages that the reference read, of `k` each question.
fn chosen<B: Backend>(be: &B, expected: &Checkpoint, k: usize) -> Selection<B> {
    let (shape, selected) = expected.read_i32("selected").unwrap();
    let groups = selected.chunks(shape[1]).enumerate();
    let index = groups.flat_map(|(i, passages)| passages.iter().map(move |&passage| passage as u32 + (i * k) as u32));
    Selection { index: be.upload(index.collect()), groups: Segments::equal(be, shape[0], shape[1]) }
}

/// Segments of `length` rows, zero behind their own.
fn padded<B: Backend>(be: &B, encoded: &Encoded<B>, length: usize) -> Vec<f64> {
    let (rows, d) = (encoded.rows.download(be).unwrap(), encoded.rows.cols);
    let offsets = be.download(&encoded.segments.offsets).unwrap();
    let segments = offsets.windows(2).map(|bounds| &rows[bounds[0] as usize * d..bounds[1] as usize * d]);
    let zeros = std::iter::repeat(0.0);
    segments.flat_map(|own| own.iter().map(|x| x.to_f64()).chain(zeros.clone()).take(length * d)).collect()
}

struct Rounded {
    traced: Traced,
    glimmer: Glimmer,
    batch: usize,
    bound: f64,
}

impl Rounded {
    fn new<B: Backend>(be: impl Fn() -> B, folder: &'static str, bound: f64) -> Self {
        let traced = Traced::new(be, folder);
        let glimmer = glimmer::model::Config::read(&reference(folder)).unwrap().glimmer.unwrap();
        Self { batch: traced.inputs.questions.len(), traced, glimmer, bound }
    }

    fn folder(&self) -> &'static str {
        self.traced.folder
    }

    /// What was found and what is wanted of these questions.
    fn reals(&self, name: &str, questions: Range<usize>) -> [Vec<f64>; 2] {
        let Values::Real(found) = &self.traced.found(name).values else { panic!("{name} is real") };
        let wanted = self.traced.expected.read_any(name).unwrap().1;
        let each = found.len() / self.batch;
        [&found[..], &wanted].map(|all| all[questions.start * each..questions.end * each].to_vec())
    }

    fn integers(&self, name: &str, question: usize) -> [Vec<i32>; 2] {
        let Values::Integer(found) = &self.traced.found(name).values else { panic!("{name} are whole") };
        let wanted = self.traced.expected.read_i32(name).unwrap().1;
        let each = found.len() / self.batch;
        [&found[..], &wanted].map(|all| all[question * each..][..each].to_vec())
    }

    /// Within the bound as a whole; a part may have all of the whole's error.
    fn assert_close(&self, name: &str, questions: Range<usize>) {
        let [found, wanted] = self.reals(name, questions.clone());
        let parts = self.batch as f64 / questions.len() as f64;
        let what = format!("{}: {name} of questions {questions:?}", self.folder());
        assert_close(&what, &found, &wanted, self.bound * parts.sqrt());
    }

    /// A score is a sum of products of both signs: its error is that of the products, not of what they leave.
    fn assert_scores_close(&self) {
        let [found, wanted] = self.reals("scores", 0..self.batch);
        let file = Checkpoint::open_file(&reference(self.folder()).join("model.safetensors")).unwrap();
        let weight = norm(&file.read_any("scorer.weight").unwrap().1);
        for (passage, size) in self.pooled_sizes().into_iter().enumerate() {
            let error = (found[passage] - wanted[passage]).abs();
            let what = format!("{}: score {passage} is off by {error:e}", self.folder());
            assert!(error <= self.bound * size * weight, "{what}");
        }
    }

    /// The size of the row that each passage was scored by.
    fn pooled_sizes(&self) -> Vec<f64> {
        let (shape, live_a) = self.traced.expected.read_any("live_a").unwrap();
        let [_, k, length, d] = shape[..] else { panic!("live_a is {shape:?}") };
        let inputs = &self.traced.inputs;
        let passages = inputs.passages.iter().flatten().zip(live_a.chunks(length * d)).enumerate();
        let size = |(i, (passage, rows)): (usize, (&Vec<u32>, &[f64]))| {
            let rows = &rows[..(inputs.questions[i / k].len() + passage.len()) * d];
            match self.glimmer.score_pool {
                Pool::First => norm(&rows[..d]),
                Pool::Mean => norm(rows) / ((rows.len() / d) as f64).sqrt(),
            }
        };
        passages.map(size).collect()
    }

    /// Whether the same passages were chosen. Where others were, the scores' error is the reason.
    fn chose_alike(&self, question: usize) -> bool {
        let [found, wanted] = self.integers("selected", question);
        let [scores, exact] = self.reals("scores", question..question + 1);
        for (&own, &other) in found.iter().zip(&wanted) {
            let [own, other] = [own, other].map(|passage| passage as usize);
            let error = (scores[own] - exact[own]).abs() + (scores[other] - exact[other]).abs();
            let gap = (exact[own] - exact[other]).abs();
            let what = format!("{}: question {question}: passage {own}, not {other}", self.folder());
            assert!(gap <= error, "{what}: {gap:e} apart, {error:e} off");
        }
        found == wanted
    }

    /// The greedy answer up to its first other token, at which the two were within the logits' error of each other.
    fn assert_answer(&self, question: usize) {
        let [found, wanted] = self.integers("generated", question);
        let Some(place) = (0..MAX_TOKENS).find(|&i| found[i] != wanted[i]) else { return };
        let logits = self.logits_of(question, &wanted);
        let row = &logits[place * logits.len() / MAX_TOKENS..][..logits.len() / MAX_TOKENS];
        let gap = row[wanted[place] as usize] - row[found[place] as usize];
        let error = self.bound * norm(row) / (row.len() as f64).sqrt();
        let what = format!("{}: question {question}: token {place} is {}", self.folder(), found[place]);
        assert!(gap <= 2.0 * error, "{what}, not {}: {gap:e} apart, {error:e} off", wanted[place]);
    }

    /// The exact logits of an answer, each token given those before it.
    fn logits_of(&self, question: usize, answer: &[i32]) -> Vec<f64> {
        let Inputs { mut targets, questions, passages, padded: [lq, lp, _] } = self.traced.inputs.clone();
        targets[question] = answer.iter().map(|&token| token as u32).collect();
        targets.iter_mut().for_each(|target| target.truncate(MAX_TOKENS));
        let inputs = Inputs { questions, passages, targets, padded: [lq, lp, MAX_TOKENS] };
        let exact = Traced::of(&load(Cpu::<f64>::default(), self.folder()), self.folder(), inputs);
        let Values::Real(logits) = &exact.found("logits").values else { panic!("logits are real") };
        let each = logits.len() / self.batch;
        logits[question * each..][..each].to_vec()
    }
}
