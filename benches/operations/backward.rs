//! What training needs beside.

use glimmer::backend::{AdafactorState, AdafactorStep, Attend, Backward, Bias, Direction, Dropout, Grad, Moments};
use glimmer::random::Stream;

use super::{BUCKETS, Bench, MAX_DISTANCE, Shape, TOKENS, VOCABULARY, Work, matrix, segments};

/// Tokens of answers.
const ANSWER: usize = 64;

pub fn operations<B: Backward>(bench: &mut Bench<'_, B>) {
    products(bench);
    rows(bench);
    attention(bench);
    losses(bench);
}

fn products<B: Backward>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { rows, width, hidden, .. } = bench.shape;
    let (x, dy, w) = (&matrix(be, rows, width), &matrix(be, rows, width), &matrix(be, width, width));
    let mut dw = Grad::zeros(be, width, width);
    let both = Work { flop: 4.0 * (rows * width * width) as f64, bytes: bench.bytes(3 * rows * width) };
    bench.time("linear_bwd", both, || be.linear_bwd(dy, x, w, &mut dw));
    let (a, b, dh) = (&matrix(be, rows, hidden), &matrix(be, rows, hidden), &matrix(be, rows, hidden));
    let gate = Work { flop: 0.0, bytes: bench.bytes(3 * rows * hidden) };
    bench.time("gate", gate, || be.gate(a, b));
    let gate_bwd = Work { flop: 0.0, bytes: bench.bytes(5 * rows * hidden) };
    bench.time("gate_bwd", gate_bwd, || be.gate_bwd(dh, a, b));
}

fn rows<B: Backward>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { rows, width, .. } = bench.shape;
    let (x, dy, g) = (&matrix(be, rows, width), &matrix(be, rows, width), &matrix(be, 1, width));
    let mut dx = matrix(be, rows, width);
    let mut dg = Grad::zeros(be, 1, width);
    let normed = Work { flop: 0.0, bytes: bench.bytes(4 * rows * width) };
    bench.time("rms_norm_bwd", normed, || be.rms_norm_bwd(dy, (x, g, 1e-6), &mut dg, &mut dx));
    let mask = Dropout::new(0.1, Stream::new(1, 1)).expect("a rate");
    let masked = Work { flop: 0.0, bytes: bench.bytes(2 * rows * width) };
    bench.time("dropout", masked, || be.dropout(&mut dx, &mask));
}

fn attention<B: Backward>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { passages, rows, width, heads, .. } = bench.shape;
    let (q, k, v) = (&matrix(be, rows, width), &matrix(be, rows, width), &matrix(be, rows, width));
    let (each, table, d_o) = (&segments(be, passages), &matrix(be, BUCKETS, heads), &matrix(be, rows, width));
    let bias = Some(Bias { table, direction: Direction::Both, max_distance: MAX_DISTANCE });
    let attend = || Attend { q, k, v, rows: each, cols: each, bias, heads, dropout: None };
    let saved = be.attention_saved(attend());
    let mut dtable = Grad::zeros(be, BUCKETS, heads);
    // The logits once more, and four products from their gradient.
    let work = Work { flop: 10.0 * (rows * TOKENS * width) as f64, bytes: bench.bytes(8 * rows * width) };
    bench.time("attention_bwd", work, || be.attention_bwd(attend(), &saved, d_o, Some(&mut dtable)));
}

fn losses<B: Backward>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { width, hidden, .. } = bench.shape;
    let logits = &matrix(be, ANSWER, VOCABULARY);
    let targets = &be.upload(vec![7u32; ANSWER]);
    let work = Work { flop: 0.0, bytes: bench.bytes(4 * ANSWER * VOCABULARY) };
    bench.time("copy, cross_entropy", work, || be.cross_entropy(be.copy(logits), targets, 1.0));
    let mut w = matrix(be, hidden, width);
    let grad = Grad::zeros(be, hidden, width);
    let mut state = AdafactorState {
        moments: Moments::Factored { row: Grad::zeros(be, 1, hidden), col: Grad::zeros(be, 1, width) },
        remainder: Grad::remainder(be, hidden, width),
    };
    let step = AdafactorStep { learning_rate: 1e-9, decay: 0.9, scale: 1.0 };
    let update = Work { flop: 0.0, bytes: bench.bytes(3 * hidden * width) };
    bench.time("adafactor", update, || be.adafactor(&mut w, &grad, &mut state, step));
}
