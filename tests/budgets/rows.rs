//! What the kernels of rows and segments move at T5's sizes: every byte of the operands is read once and every byte of
//! the result written once, but for a twentieth, and no bank is waited for.

use glimmer::backend::{Backend, Join, Mat, Pool, Scorer, Segments, Selection, Stored};
use glimmer::cuda::Cuda;
use glimmer_emulator::count::Counters;
use half::bf16;

use crate::{Counted, assert_no_excess, assert_within, moved};

/// Tokens of the question.
const ASKED: usize = 48;
/// Tokens of a passage.
const TOLD: usize = 304;
/// Passages retrieved.
const PASSAGES: usize = 12;
/// Of the encoder's widest rows, fewer show the same.
const FEW_PASSAGES: usize = 4;

fn matrix(be: &Cuda<bf16>, rows: usize, d: usize) -> Mat<Cuda<bf16>> {
    let value = |i| bf16::from_f32((i % 251) as f32 / 100.0);
    Mat::upload(be, rows, d, (0..rows * d).map(value).collect())
}

/// The one launch of an operation, that moves `elements` numbers of bf16 at the least.
fn check(what: &str, launches: Vec<Counters>, elements: usize) {
    let [counters] = &launches[..] else { panic!("{what} is {} launches", launches.len()) };
    assert_within(&format!("{what}: bytes"), moved(counters) / (2 * elements) as f64, 1.05);
    assert_no_excess(what, "shared loads", counters.shared_loads);
    assert_no_excess(what, "shared stores", counters.shared_stores);
}

/// A norm of few rows reads its scale for every one or two of them, from a device's cache: there are blocks enough only
/// where there are rows enough.
#[test]
fn rows_of_tokens() {
    let counted = Counted::<bf16>::new();
    let be = &counted.be;
    for d in [512, 768, 1024, 2048, 4096] {
        let n = PASSAGES * (ASKED + TOLD);
        let (x, scale) = (matrix(be, n, d), matrix(be, 1, d));
        check(&format!("rms_norm of {d}"), counted.count(|be| be.rms_norm(&x, &scale, 1e-6)), 2 * n * d);

        let n = FEW_PASSAGES * (ASKED + TOLD);
        let ids: Vec<u32> = (0..n as u32).map(|i| i * 7 % 100).collect();
        let (table, ids) = (matrix(be, 100, d), be.upload(ids));
        check(&format!("embed of {d}"), counted.count(|be| be.embed(&table, &ids)), 2 * n * d + 2 * n);
    }
}

#[test]
fn rows_of_segments() {
    let counted = Counted::<bf16>::new();
    let be = &counted.be;
    for d in [512, 768, 1024, 2048, 4096] {
        let (n, tokens) = (FEW_PASSAGES * (ASKED + TOLD), ASKED + TOLD);
        let (x, scale) = (matrix(be, n, d), matrix(be, 1, d));
        let rows = &Segments::equal(be, FEW_PASSAGES, tokens);
        let pooled = counted.count(|be| be.mean_pool(&x, rows));
        check(&format!("mean_pool of {d}"), pooled, (n + FEW_PASSAGES) * d);
        let scorer = |pool| Scorer { weight: &scale, norm: Some(&scale), prior: None, pool, eps: 1e-6 };
        let scored = counted.count(|be| be.score(&x, rows, scorer(Pool::Mean)));
        check(&format!("score of {d}"), scored, n * d + 2 * FEW_PASSAGES * d);
        // Every block reads scale and weight. A row is so short that its place counts beside it.
        let [first] = &counted.count(|be| be.score(&x, rows, scorer(Pool::First)))[..] else { panic!("a launch") };
        assert_within("score of first tokens: bytes", moved(first) / (2 * 3 * FEW_PASSAGES * d) as f64, 1.10);
        assert_no_excess("score of first tokens", "global loads", first.global_loads);

        let chosen = Selection { index: be.upload(vec![3, 0, 2]), groups: Segments::packed(be, [3]) };
        check(&format!("gather of {d}"), counted.count(|be| be.gather(&x, rows, &chosen)), 2 * 3 * tokens * d);

        let (question, passage) = (&matrix(be, ASKED, d), &matrix(be, FEW_PASSAGES * TOLD, d));
        let (question_rows, passage_rows) = (&Segments::equal(be, 1, ASKED), &Segments::equal(be, FEW_PASSAGES, TOLD));
        let groups = &Segments::packed(be, [FEW_PASSAGES]);
        // The question is read again for each passage, from the cache of a device.
        let join = Join { question, question_rows, passage, passage_rows, groups };
        check(&format!("join of {d}"), counted.count(|be| be.join(join)), 2 * n * d);
    }
}

#[test]
fn rows_of_the_store() {
    let counted = Counted::<bf16>::new();
    for d in [512, 768, 1024, 2048, 4096] {
        let n = FEW_PASSAGES * TOLD;
        let (bytes, scales) = (vec![1i8; TOLD * d], vec![0.5f32; TOLD]);
        let runs = vec![Stored::Int8 { values: &bytes, scales: &scales }; FEW_PASSAGES];
        let found = counted.count(|be| be.dequantise(d, &runs));
        check(&format!("dequantise int8 of {d}"), found, n * (d + d / 2 + 2));
        let values = vec![bf16::ONE; TOLD * d];
        let found = counted.count(|be| be.dequantise(d, &[Stored::Bf16(&values); FEW_PASSAGES]));
        check(&format!("dequantise bf16 of {d}"), found, 2 * n * d);
    }
}

#[test]
fn logits() {
    let counted = Counted::<bf16>::new();
    let (n, v) = (20, 32128);
    let (logits, targets) = (matrix(&counted.be, n, v), counted.be.upload(vec![5; n]));
    check("log_prob", counted.count(|be| be.log_prob(&logits, &targets)), n * v);
}

/// A choice is a few hundred numbers: what counts is that it is one launch of one block a question.
#[test]
fn a_choice_is_one_block_a_question() {
    let counted = Counted::<bf16>::new();
    let be = &counted.be;
    let (scores, groups) = (be.upload((0..50u8).map(f32::from).collect()), Segments::equal(be, 2, 25));
    let [counters] = &counted.count(|be| be.top_m(&scores, &groups, 5))[..] else { panic!("a launch") };
    assert_eq!(counters.grid, [2, 1, 1]);
    assert_no_excess("top_m", "shared loads", counters.shared_loads);
    let rows = Segments::equal(be, 50, 4);
    let [counters] = &counted.count(|be| be.merge(&rows, &groups))[..] else { panic!("a launch") };
    assert_eq!(counters.grid, [1, 1, 1]);
}
