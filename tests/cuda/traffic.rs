//! What the kernels of rows and segments move at T5's sizes: every byte of the operands is read once and every byte of
//! the result written once, but for a twentieth.

use glimmer::backend::{Backend, Join, Mat, Pool, Scorer, Segments, Selection, Stored};
use glimmer::cuda::Cuda;
use glimmer_emulator::Counters;
use half::bf16;

use crate::machine;

/// Bytes of a sector of global memory.
const SECTOR: u64 = 32;

/// Tokens of the question.
const ASKED: usize = 48;
/// Tokens of a passage.
const TOLD: usize = 304;
/// Passages retrieved.
const PASSAGES: usize = 12;

fn matrix(be: &Cuda<bf16>, rows: usize, d: usize) -> Mat<Cuda<bf16>> {
    let value = |i| bf16::from_f32((i % 251) as f32 / 100.0);
    Mat::upload(be, rows, d, (0..rows * d).map(value).collect())
}

/// The counters of the one launch that `run` makes.
fn counted<R>(be: &Cuda<bf16>, run: impl FnOnce() -> R) -> Counters {
    let (emulator, _) = (glimmer_emulator::open().unwrap(), be);
    emulator.forget().unwrap();
    run();
    let mut launches = emulator.launches().unwrap();
    assert_eq!(launches.len(), 1, "an operation is a launch");
    launches.remove(0).counters
}

/// Of `least` bytes read and written, in elements of bf16.
fn check(counters: &Counters, elements: usize) {
    let least = 2 * elements as u64;
    let moved = SECTOR * (counters.global_loads.transactions + counters.global_stores.transactions);
    let conflicts = counters.shared_loads.transactions - counters.shared_loads.least;
    println!("{}: {moved} bytes, least {least}, × {:.3}", counters.kernel, moved as f64 / least as f64);
    assert!(moved * 20 <= least * 21, "{}: {moved} bytes of {least}", counters.kernel);
    assert_eq!(conflicts, 0, "{}: bank conflicts", counters.kernel);
}

#[test]
fn every_byte_once() {
    let (_, be) = machine::<bf16>();
    for d in [512, 1024, 4096] {
        let scale = matrix(&be, 1, d);
        let n = PASSAGES * (ASKED + TOLD);
        let x = matrix(&be, n, d);
        check(&counted(&be, || be.rms_norm(&x, &scale, 1e-6)), 2 * n * d);

        let ids: Vec<u32> = (0..n as u32).map(|i| i * 7 % 100).collect();
        let (table, ids) = (matrix(&be, 100, d), be.upload(ids));
        check(&counted(&be, || be.embed(&table, &ids)), 2 * n * d);

        let rows = Segments::equal(&be, PASSAGES, ASKED + TOLD);
        check(&counted(&be, || be.mean_pool(&x, &rows)), (n + PASSAGES) * d);
        let scorer = || Scorer { weight: &scale, norm: None, pool: Pool::Mean, eps: 1e-6 };
        check(&counted(&be, || be.score(&x, &rows, scorer())), n * d + PASSAGES * d);

        let chosen = Selection { index: be.upload(vec![3, 11, 0, 7, 10]), groups: Segments::packed(&be, [5]) };
        check(&counted(&be, || be.gather(&x, &rows, &chosen)), 2 * 5 * (ASKED + TOLD) * d);

        let (question, passage) = (matrix(&be, ASKED, d), matrix(&be, PASSAGES * TOLD, d));
        let (question_rows, passage_rows) = (Segments::equal(&be, 1, ASKED), Segments::equal(&be, PASSAGES, TOLD));
        let (question, question_rows, passage) = (&question, &question_rows, &passage);
        let (passage_rows, groups) = (&passage_rows, &Segments::packed(&be, [PASSAGES]));
        // The question is read again for each passage, from the cache of a device.
        check(&counted(&be, || be.join(Join { question, question_rows, passage, passage_rows, groups })), 2 * n * d);

        let (bytes, scales) = (vec![1i8; TOLD * d], vec![0.5f32; TOLD]);
        let runs = vec![Stored::Int8 { values: &bytes, scales: &scales }; PASSAGES];
        check(&counted(&be, || be.dequantise(d, &runs)), PASSAGES * TOLD * (d + d / 2 + 2));
        let values = vec![bf16::ONE; TOLD * d];
        check(&counted(&be, || be.dequantise(d, &vec![Stored::Bf16(&values); PASSAGES])), 2 * PASSAGES * TOLD * d);
    }
    let (logits, targets) = (matrix(&be, 20, 32128), be.upload(vec![5; 20]));
    check(&counted(&be, || be.log_prob(&logits, &targets)), 20 * 32128);
}
