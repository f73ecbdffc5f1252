//! Passages from the memory store.

use glimmer::backend::{Element, Stored};
use glimmer::cpu::{Cpu, Real};
use glimmer::model::{Passages, Question, Reader, Reading};
use half::bf16;

use crate::common::assert_close;
use crate::tiny::{LAYERS, cut, load, question, reader, slices, texts, values};

const D: usize = 20;

/// The memory of each text, as the store would keep it.
fn memories<T: Real>(reader: &Reader<Cpu<T>>, texts: &[&[u32]]) -> Vec<Vec<f64>> {
    let rows = values(&reader.be, &reader.encode_memory(texts).unwrap().rows);
    let mut rest = &rows[..];
    let take = |text: &&[u32]| {
        let (own, behind) = rest.split_at(text.len() * D);
        rest = behind;
        own.to_vec()
    };
    texts.iter().map(take).collect()
}

fn narrow(memory: &[f64]) -> Vec<bf16> {
    memory.iter().map(|&x| <bf16 as Element>::from_f64(x)).collect()
}

/// One scale a row: its largest value is 127.
fn quantise(memory: &[f64]) -> (Vec<i8>, Vec<f32>) {
    let scales: Vec<f32> =
        memory.chunks(D).map(|row| row.iter().fold(0f64, |m, x| m.max(x.abs())) as f32 / 127.0).collect();
    let values = memory.iter().enumerate().map(|(i, x)| (x / f64::from(scales[i / D])).round() as i8).collect();
    (values, scales)
}

/// A question whose passages are read from the store, and the same with fresh ones.
fn read<T: Real>(reader: &Reader<Cpu<T>>, stored: &[Stored<'_>], ids: &[u32]) -> Reading {
    reader.read(&[Question { ids, passages: Passages::Memory(stored) }], 5).unwrap().remove(0)
}

fn stored_is_nearly_fresh<T: Real>() {
    let (asked, told) = (texts(2, 1, 6), texts(3, 7, 12));
    let told = slices(&told);
    for live in [1, 3, 5] {
        let reader = reader::<T>(cut(live, 1, 7), 9);
        let fresh = reader.read(&[question(&asked[0], &told)], 5).unwrap().remove(0);
        let memories = memories(&reader, &told);
        let narrowed: Vec<Vec<bf16>> = memories.iter().map(|memory| narrow(memory)).collect();
        let stored: Vec<_> = narrowed.iter().map(|rows| Stored::Bf16(rows)).collect();
        let from_bf16 = read(&reader, &stored, &asked[0]);
        let quantised: Vec<_> = memories.iter().map(|memory| quantise(memory)).collect();
        let stored: Vec<_> = quantised.iter().map(|(values, scales)| Stored::Int8 { values, scales }).collect();
        let from_int8 = read(&reader, &stored, &asked[0]);
        // bf16 has 8 bits, and so has an int8 of the largest in a row; layers of random weights magnify both.
        for (what, found) in [("bf16", from_bf16), ("int8", from_int8)] {
            let bound = 16.0 / 256.0;
            assert_close(&format!("scores from {what}, {live} live"), &found.scores, &fresh.scores, bound);
            assert_eq!(found.answer[0], fresh.answer[0], "{what}, {live} live");
            assert_close("log-probability", &found.log_probs[..1], &fresh.log_probs[..1], 2.0 * bound);
        }
    }
}

#[test]
fn memories_of_8_bits_score_and_answer_nearly_as_fresh_ones() {
    stored_is_nearly_fresh::<f64>();
    stored_is_nearly_fresh::<f32>();
}

/// Where memories lose nothing by rounding, readings lose nothing: a FiD's are embeddings, which a saved checkpoint
/// holds in bf16.
#[test]
fn memories_that_bf16_holds_exactly_read_exactly_as_fresh_ones() {
    let folder = tempfile::tempdir().unwrap();
    reader::<f32>(cut(LAYERS, 2, 3), 9).save(folder.path()).unwrap();
    let reader = load::<f32>(folder.path()).unwrap();
    let (asked, told) = (texts(2, 2, 6), texts(3, 8, 12));
    let told = slices(&told);
    let fresh = [question(&asked[0], &told[..5]), question(&asked[1], &told[5..])];
    let narrowed: Vec<Vec<bf16>> = memories(&reader, &told).iter().map(|memory| narrow(memory)).collect();
    let stored: Vec<_> = narrowed.iter().map(|rows| Stored::Bf16(rows)).collect();
    let ids = |i: usize| &asked[i][..];
    let from_store = [
        Question { ids: ids(0), passages: Passages::Memory(&stored[..5]) },
        Question { ids: ids(1), passages: Passages::Memory(&stored[5..]) },
    ];
    assert_eq!(reader.read(&from_store, 5).unwrap(), reader.read(&fresh, 5).unwrap());
    assert_eq!(narrowed[0][0].to_f64(), memories(&reader, &told)[0][0]);
}

#[test]
fn the_fingerprint_is_the_memory_encoders_alone() {
    let print = |reader: &Reader<Cpu<f32>>| reader.memory_fingerprint().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let base = reader::<f32>(cut(3, 1, 3), 9);
    base.save(folder.path()).unwrap();
    let base = print(&base);
    assert_eq!(base, print(&load::<f32>(folder.path()).unwrap()), "a save, which rounds to what is hashed");
    assert_eq!(base, load::<f64>(folder.path()).unwrap().memory_fingerprint().unwrap(), "precision");
    assert_eq!(base, print(&reader::<f32>(cut(3, 2, 7), 9)), "what happens to memories afterwards");
    assert_ne!(base, print(&reader::<f32>(cut(3, 1, 3), 10)), "weights");
    assert_ne!(base, print(&reader::<f32>(cut(2, 1, 3), 9)), "one layer more");
}
