//! A question, from its words to its answer, through the trained GLIMMER of the repository.

use std::path::Path;

use glimmer::backend::Backend;
use glimmer::cpu::Cpu;
use glimmer::cuda::Float;
use glimmer::io::Tokenizer;
use glimmer::model::{Glimmer, Passages, Question, Reader, Reading};
use half::bf16;

use crate::{assert_silent, machine};

/// Two are read.
const PASSAGES: [&str; 4] = [
    "title: Emma context: Emma is a city in England.",
    "title: Middlemarch context: Middlemarch is a novel by George Eliot.",
    "title: Coventry context: Coventry is a river.",
    "title: Amber context: Amber is a stone.",
];
const READ: usize = 2;

fn read<B: Backend>(be: B) -> (Reading, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mini/glimmer");
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let reader = Reader::load(be, &folder, |config| {
        let trained = config.glimmer.clone().expect("it is a GLIMMER");
        Ok(Glimmer { selected: READ, ..trained })
    });
    let reader = reader.unwrap();
    let asked = tokenizer.encode("question: ____ is a novel by George Eliot.").unwrap();
    let passages = PASSAGES.map(|text| tokenizer.encode(text).unwrap());
    let passages: Vec<&[u32]> = passages.iter().map(Vec::as_slice).collect();
    let question = Question { ids: &asked, passages: Passages::Tokens(&passages) };
    let reading = reader.read(&[question], 12).unwrap().remove(0);
    let answer = tokenizer.decode(&reading.answer).unwrap();
    (reading, answer)
}

/// The CPU's answer and choice, with no fault found on the way, and what its scores are off by.
fn check<E: Float>(bound: f64) {
    let be = machine::<E>();
    let (found, answer) = read(be.clone());
    assert_silent();
    let (wanted, _) = read(Cpu::<f32>::default());
    assert_eq!(answer, "Middlemarch");
    assert_eq!((&found.answer, &found.read), (&wanted.answer, &wanted.read));
    let largest = wanted.scores.iter().fold(0f64, |most, score| most.max(score.abs()));
    for (found, wanted) in found.scores.iter().zip(&wanted.scores) {
        assert!((found - wanted).abs() <= bound * largest, "score {found}, wanted {wanted}");
    }
}

#[test]
fn in_f32_it_is_answered() {
    check::<f32>(1e-4);
}

#[test]
fn in_bf16_it_is_answered() {
    check::<bf16>(5e-2);
}
