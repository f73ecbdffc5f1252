//! Greedy decoding with caches, and batches.

use glimmer::backend::Backend;
use glimmer::cpu::{Cpu, Packing, Real};
use glimmer::model::{Evidence, Reading};

use crate::common::naive::{argmax, log_softmax};
use crate::common::{assert_close, tolerance};
use crate::tiny::{cut, question, reader, reader_on, slices, texts, values};

const MAX_TOKENS: usize = 12;

/// A relative bound for numbers that have passed all layers of a tiny reader.
fn through_all_layers<T: Real>() -> f64 {
    50.0 * tolerance::<T>(100)
}

/// Greedy answers by running the decoder over the whole prefix for each token.
fn cached_is_uncached<T: Real>(be: impl Fn() -> Cpu<T>, bound: f64) {
    let mut lengths = Vec::new();
    for seed in 0..6 {
        let reader = reader_on(be(), cut(2, 1, 3), seed);
        let (asked, told) = (texts(2, 1, 6), texts(3, 5, 12));
        let told = slices(&told);
        let questions = [question(&asked[0], &told)];
        let found = reader.read(&questions, MAX_TOKENS).unwrap().remove(0);

        let scored = reader.score(&questions).unwrap();
        let chosen = reader.be.top_m(&scored.scores, &scored.groups, 3);
        let encoded = reader.finish(&scored.live_a, &chosen);
        let segments = reader.be.merge(&encoded.segments, &chosen.groups);
        let evidence = Evidence { rows: &encoded.rows, segments: &segments };
        let (embedding, v) = (&reader.weights.encoder.embedding, reader.config.vocab_size);
        let (mut answer, mut log_probs) = (Vec::new(), Vec::new());
        while answer.len() < MAX_TOKENS && answer.last() != Some(&reader.config.eos_token_id) {
            // The last token of a target is only asked about, so that any will do.
            let target = [&answer[..], &[0]].concat();
            let logits = reader.weights.decoder.teach(&reader.be, &reader.config, embedding, &evidence, &[&target]);
            let logits = values(&reader.be, &logits);
            let newest = &logits[logits.len() - v..];
            answer.push(argmax(newest) as u32);
            log_probs.push(log_softmax(newest)[argmax(newest)]);
        }
        assert_eq!(found.answer, answer, "seed {seed}");
        assert_close("log-probabilities", &found.log_probs, &log_probs, bound);
        lengths.push(answer.len());
    }
    assert!(lengths.iter().any(|&length| length > 3), "no answer went on: {lengths:?}");
}

#[test]
fn cached_decoding_is_uncached_decoding() {
    cached_is_uncached(Cpu::<f64>::default, through_all_layers::<f64>());
    cached_is_uncached(Cpu::<f32>::default, through_all_layers::<f32>());
    cached_is_uncached(|| Cpu::packing(Packing::F32), through_all_layers::<f32>());
}

/// Where weights are in fewer bits, the evidence's keys and values are kept in bf16 for decoding: each is off by a 512th of itself
/// at the most, and few by as much. In int8 the layers behind round what comes of it to 8 bits, and so mostly to other
/// numbers: the two are as far from each other as products in int8 are from exact ones.
#[test]
fn cached_decoding_is_off_by_the_rounding_of_what_is_kept() {
    cached_is_uncached(|| Cpu::packing(Packing::Bf16), 5e-3);
    cached_is_uncached(|| Cpu::packing(Packing::Int8), 6e-2);
}

fn assert_same_reading(found: &Reading, wanted: &Reading, bound: f64) {
    assert_eq!((&found.answer, &found.read), (&wanted.answer, &wanted.read));
    assert_close("scores", &found.scores, &wanted.scores, bound);
    assert_close("log-probabilities", &found.log_probs, &wanted.log_probs, bound);
}

/// Ragged questions, with 1 to 7 passages each.
fn batch_is_its_members<T: Real>() {
    for glimmer in [cut(2, 1, 3), cut(6, 0, 3), cut(3, 3, 1)] {
        let reader = reader::<T>(glimmer, 7);
        let asked = texts(2, 10, 6);
        let told: Vec<Vec<Vec<u32>>> = (0..10).map(|i| texts(20 + i, 1 + i as usize * 3 % 7, 12)).collect();
        let told: Vec<Vec<&[u32]>> = told.iter().map(|told| slices(told)).collect();
        let questions: Vec<_> = asked.iter().zip(&told).map(|(ids, told)| question(ids, told)).collect();
        let together = reader.read(&questions, MAX_TOKENS).unwrap();
        assert_eq!(together.len(), 10);
        for (question, found) in questions.iter().zip(&together) {
            let alone = reader.read(&[*question], MAX_TOKENS).unwrap();
            assert_same_reading(found, &alone[0], through_all_layers::<T>());
        }
    }
}

#[test]
fn a_batch_is_its_members_one_by_one() {
    batch_is_its_members::<f64>();
    batch_is_its_members::<f32>();
}

/// Products of few rows are computed row by row: while a batch stays within them, so does every bit.
#[test]
fn a_small_batch_is_its_members_bit_by_bit() {
    let reader = reader::<f32>(cut(2, 1, 1), 7);
    let (asked, told) = ([[5, 1], [9, 1]], [[30u32, 1], [31, 1]]);
    let told = told.each_ref().map(|told| [&told[..]]);
    let questions = [question(&asked[0], &told[0]), question(&asked[1], &told[1])];
    let together = reader.read(&questions, MAX_TOKENS).unwrap();
    assert_eq!(together[0], reader.read(&questions[..1], MAX_TOKENS).unwrap()[0]);
    assert_eq!(together[1], reader.read(&questions[1..], MAX_TOKENS).unwrap()[0]);
}

#[test]
fn answers_are_no_longer_than_asked_for() {
    let reader = reader::<f32>(cut(2, 1, 1), 7);
    let told: [&[u32]; 1] = [&[30, 1]];
    let asked = [question(&[5, 1], &told)];
    let long = reader.read(&asked, MAX_TOKENS).unwrap().remove(0);
    for most in 0..=long.answer.len() {
        let short = reader.read(&asked, most).unwrap().remove(0);
        assert_eq!(short.answer, long.answer[..most]);
        assert_eq!(short.log_probs, long.log_probs[..most]);
    }
    assert_eq!(reader.read(&[], MAX_TOKENS).unwrap(), []);
}
