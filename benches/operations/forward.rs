//! What reading is made of.

use glimmer::backend::{
    Attend, Backend, Bias, Cache, Direction, Element, Join, Newest, Pool, Prediction, Scorer, Segments, Selection,
    Stored,
};
use half::bf16;

use super::{BUCKETS, Bench, MAX_DISTANCE, READ, RETRIEVED, Shape, TOKENS, VOCABULARY, Work, matrix, segments};

/// Tokens of an answer, the newest one among them.
const ANSWER: usize = 64;
/// Tokens of a question.
const QUESTION: usize = 48;

pub fn operations<B: Backend>(bench: &mut Bench<'_, B>) {
    products(bench);
    rows(bench);
    attention(bench);
    choice(bench);
    memory(bench);
    decoding(bench);
}

pub fn products<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { rows, width, hidden, .. } = bench.shape;
    let product =
        |outputs: usize, inner: usize, moved: f64| Work { flop: 2.0 * (rows * outputs * inner) as f64, bytes: moved };
    let weight = |outputs| be.pack(matrix(be, outputs, width));
    let (x, w) = (&matrix(be, rows, width), &weight(width));
    let square = bench.bytes(2 * rows * width + width * width);
    bench.time("linear", product(width, width, square), || be.linear(x, w));
    let three = bench.bytes(4 * rows * width + 3 * width * width);
    bench.time("linears", product(3 * width, width, three), || be.linears(x, [w, w, w]));
    let mut sum = matrix(be, rows, width);
    let added = bench.bytes(3 * rows * width + width * width);
    bench.time("linear_add", product(width, width, added), || be.linear_add(x, w, &mut sum));
    let (w_0, w_1) = (&weight(hidden), &weight(hidden));
    let gated = bench.bytes(rows * (width + hidden) + 2 * hidden * width);
    bench.time("geglu", product(2 * hidden, width, gated), || be.geglu(x, w_0, w_1));
    let relu = bench.bytes(rows * (width + hidden) + hidden * width);
    bench.time("linear_relu", product(hidden, width, relu), || be.linear_relu(x, w_0));
}

fn rows<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { rows, width, .. } = bench.shape;
    let (x, g) = (&matrix(be, rows, width), &matrix(be, 1, width));
    let through = Work { flop: 0.0, bytes: bench.bytes(2 * rows * width) };
    bench.time("rms_norm", through, || be.rms_norm(x, g, 1e-6));
    let table = &matrix(be, VOCABULARY, width);
    let ids = &be.upload((0..rows).map(|i| (i * 7919 % VOCABULARY) as u32).collect::<Vec<_>>());
    bench.time("embed", through, || be.embed(table, ids));
}

fn attention<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { passages, rows, width, heads, .. } = bench.shape;
    let (q, k, v) = (&matrix(be, rows, width), &matrix(be, rows, width), &matrix(be, rows, width));
    let (each, all) = (&segments(be, passages), &Segments::packed(be, [rows]));
    let table = &matrix(be, BUCKETS, heads);
    let bias = Some(Bias { table, direction: Direction::Both, max_distance: MAX_DISTANCE });
    let within = Work { flop: 4.0 * (rows * TOKENS * width) as f64, bytes: bench.bytes(4 * rows * width) };
    let encoder = || be.attention(Attend { q, k, v, rows: each, cols: each, bias, heads, dropout: None });
    bench.time("attention", within, encoder);
    let (row, one) = (&matrix(be, 1, width), &Segments::packed(be, [1]));
    let across = Work { flop: 4.0 * (rows * width) as f64, bytes: bench.bytes(2 * rows * width) };
    let cross = || be.attention(Attend { q: row, k, v, rows: one, cols: all, bias: None, heads, dropout: None });
    bench.time("attention, one row", across, cross);
}

fn choice<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { width, .. } = bench.shape;
    let (x, rows) = (&matrix(be, RETRIEVED * TOKENS, width), &segments(be, RETRIEVED));
    let weight = &matrix(be, 1, width);
    let scorer = |pool| Scorer { weight, norm: None, prior: None, pool, eps: 1e-6 };
    let first = Work { flop: 0.0, bytes: bench.bytes(RETRIEVED * width) };
    bench.time("score, first token", first, || be.score(x, rows, scorer(Pool::First)));
    let mean = Work { flop: 0.0, bytes: bench.bytes(RETRIEVED * TOKENS * width) };
    bench.time("score, mean", mean, || be.score(x, rows, scorer(Pool::Mean)));
    let (scores, groups) = (&be.upload(vec![B::Wide::from_f64(0.0); RETRIEVED]), &Segments::packed(be, [RETRIEVED]));
    let read = Work { flop: 0.0, bytes: bench.bytes(RETRIEVED) };
    bench.time("top_m", read, || be.top_m(scores, groups, READ));
    let chosen = Selection { index: be.upload(vec![3, 1, 20, 7, 11]), groups: Segments::packed(be, [READ]) };
    let copied = Work { flop: 0.0, bytes: bench.bytes(2 * READ * TOKENS * width) };
    bench.time("gather", copied, || be.gather(x, rows, &chosen));
}

fn memory<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { width, .. } = bench.shape;
    let length = TOKENS - QUESTION;
    let (question, passage) = (&matrix(be, QUESTION, width), &matrix(be, RETRIEVED * length, width));
    let (question_rows, passage_rows) = (&Segments::packed(be, [QUESTION]), &Segments::equal(be, RETRIEVED, length));
    let groups = &Segments::packed(be, [RETRIEVED]);
    let joined = Work { flop: 0.0, bytes: bench.bytes(2 * RETRIEVED * TOKENS * width) };
    bench.time("join", joined, || be.join(Join { question, question_rows, passage, passage_rows, groups }));
    let (values, widened) = (length * width, bench.bytes(RETRIEVED * length * width));
    let stored: Vec<bf16> = (0..values).map(|i| bf16::from_f32(i as f32 % 17.0)).collect();
    let plain = Work { flop: 0.0, bytes: (2 * RETRIEVED * values) as f64 + widened };
    bench.time("dequantise, bf16", plain, || be.dequantise(width, &[Stored::Bf16(&stored); RETRIEVED]));
    let small: Vec<i8> = (0..values).map(|i| (i % 127) as i8).collect();
    let scales = vec![0.1; length];
    let int8 = Stored::Int8 { values: &small, scales: &scales };
    let scaled = Work { flop: 0.0, bytes: (RETRIEVED * (values + 4 * length)) as f64 + widened };
    bench.time("dequantise, int8", scaled, || be.dequantise(width, &[int8; RETRIEVED]));
}

fn decoding<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let Shape { width, heads, .. } = bench.shape;
    let newest = &matrix(be, 1, width);
    let before = || matrix(be, ANSWER, width);
    let mut cache = Cache { k: before(), v: before(), capacity: ANSWER, len: be.upload(Vec::new()) };
    let table = &matrix(be, BUCKETS, heads);
    let bias = Bias { table, direction: Direction::Past, max_distance: MAX_DISTANCE };
    let cached = Work { flop: 4.0 * (ANSWER * width) as f64, bytes: bench.bytes(2 * ANSWER * width) };
    bench.time("decode_attention", cached, || {
        cache.len = be.upload(vec![ANSWER as u32 - 1]);
        be.decode_attention(Newest { q: newest, k: newest, v: newest }, &mut cache, bias)
    });
    let head = &matrix(be, VOCABULARY, width);
    let all = Work { flop: 2.0 * (VOCABULARY * width) as f64, bytes: bench.bytes(VOCABULARY * width) };
    let mut next = Prediction::certain(be, vec![0]);
    bench.time("predict", all, || be.predict(newest, head, &mut next));
    let logits = &matrix(be, ANSWER, VOCABULARY);
    let targets = &be.upload(vec![7u32; ANSWER]);
    let read = Work { flop: 0.0, bytes: bench.bytes(ANSWER * VOCABULARY) };
    bench.time("log_prob", read, || be.log_prob(logits, targets));
}
