//! What reading is made of.

use glimmer::backend::{
    Attend, Backend, Bias, Cache, Direction, Element, Join, Newest, Pool, Prediction, Scorer, Segments, Selection,
    Stored,
};
use half::bf16;

use super::{
    BUCKETS, Bench, HEADS, HIDDEN, MAX_DISTANCE, READ, RETRIEVED, ROWS, SEGMENTS, TOKENS, VOCABULARY, WIDTH, Work,
    matrix, segments,
};

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
    let product =
        |outputs: usize, inner: usize, moved: f64| Work { flop: 2.0 * (ROWS * outputs * inner) as f64, bytes: moved };
    let weight = |outputs| be.pack(matrix(be, outputs, WIDTH));
    let (x, w) = (&matrix(be, ROWS, WIDTH), &weight(WIDTH));
    let square = bench.bytes(2 * ROWS * WIDTH + WIDTH * WIDTH);
    bench.time("linear", product(WIDTH, WIDTH, square), || be.linear(x, w));
    let three = bench.bytes(4 * ROWS * WIDTH + 3 * WIDTH * WIDTH);
    bench.time("linears", product(3 * WIDTH, WIDTH, three), || be.linears(x, [w, w, w]));
    let mut sum = matrix(be, ROWS, WIDTH);
    let added = bench.bytes(3 * ROWS * WIDTH + WIDTH * WIDTH);
    bench.time("linear_add", product(WIDTH, WIDTH, added), || be.linear_add(x, w, &mut sum));
    let (w_0, w_1) = (&weight(HIDDEN), &weight(HIDDEN));
    let gated = bench.bytes(ROWS * (WIDTH + HIDDEN) + 2 * HIDDEN * WIDTH);
    bench.time("geglu", product(2 * HIDDEN, WIDTH, gated), || be.geglu(x, w_0, w_1));
    let relu = bench.bytes(ROWS * (WIDTH + HIDDEN) + HIDDEN * WIDTH);
    bench.time("linear_relu", product(HIDDEN, WIDTH, relu), || be.linear_relu(x, w_0));
}

fn rows<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let (x, g) = (&matrix(be, ROWS, WIDTH), &matrix(be, 1, WIDTH));
    let through = Work { flop: 0.0, bytes: bench.bytes(2 * ROWS * WIDTH) };
    bench.time("rms_norm", through, || be.rms_norm(x, g, 1e-6));
    let table = &matrix(be, VOCABULARY, WIDTH);
    let ids = &be.upload((0..ROWS).map(|i| (i * 7919 % VOCABULARY) as u32).collect::<Vec<_>>());
    bench.time("embed", through, || be.embed(table, ids));
}

fn attention<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let (q, k, v) = (&matrix(be, ROWS, WIDTH), &matrix(be, ROWS, WIDTH), &matrix(be, ROWS, WIDTH));
    let (each, all) = (&segments(be, SEGMENTS), &Segments::packed(be, [ROWS]));
    let table = &matrix(be, BUCKETS, HEADS);
    let bias = Some(Bias { table, direction: Direction::Both, max_distance: MAX_DISTANCE });
    let within = Work { flop: 4.0 * (ROWS * TOKENS * WIDTH) as f64, bytes: bench.bytes(4 * ROWS * WIDTH) };
    let encoder = || be.attention(Attend { q, k, v, rows: each, cols: each, bias, heads: HEADS, dropout: None });
    bench.time("attention", within, encoder);
    let (row, one) = (&matrix(be, 1, WIDTH), &Segments::packed(be, [1]));
    let across = Work { flop: 4.0 * (ROWS * WIDTH) as f64, bytes: bench.bytes(2 * ROWS * WIDTH) };
    let cross = || be.attention(Attend { q: row, k, v, rows: one, cols: all, bias: None, heads: HEADS, dropout: None });
    bench.time("attention, one row", across, cross);
}

fn choice<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let (x, rows) = (&matrix(be, RETRIEVED * TOKENS, WIDTH), &segments(be, RETRIEVED));
    let weight = &matrix(be, 1, WIDTH);
    let scorer = |pool| Scorer { weight, norm: None, pool, eps: 1e-6 };
    let first = Work { flop: 0.0, bytes: bench.bytes(RETRIEVED * WIDTH) };
    bench.time("score, first token", first, || be.score(x, rows, scorer(Pool::First)));
    let mean = Work { flop: 0.0, bytes: bench.bytes(RETRIEVED * TOKENS * WIDTH) };
    bench.time("score, mean", mean, || be.score(x, rows, scorer(Pool::Mean)));
    let (scores, groups) = (&be.upload(vec![B::Wide::from_f64(0.0); RETRIEVED]), &Segments::packed(be, [RETRIEVED]));
    let read = Work { flop: 0.0, bytes: bench.bytes(RETRIEVED) };
    bench.time("top_m", read, || be.top_m(scores, groups, READ));
    let chosen = Selection { index: be.upload(vec![3, 1, 20, 7, 11]), groups: Segments::packed(be, [READ]) };
    let copied = Work { flop: 0.0, bytes: bench.bytes(2 * READ * TOKENS * WIDTH) };
    bench.time("gather", copied, || be.gather(x, rows, &chosen));
}

fn memory<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let length = TOKENS - QUESTION;
    let (question, passage) = (&matrix(be, QUESTION, WIDTH), &matrix(be, RETRIEVED * length, WIDTH));
    let (question_rows, passage_rows) = (&Segments::packed(be, [QUESTION]), &Segments::equal(be, RETRIEVED, length));
    let groups = &Segments::packed(be, [RETRIEVED]);
    let joined = Work { flop: 0.0, bytes: bench.bytes(2 * RETRIEVED * TOKENS * WIDTH) };
    bench.time("join", joined, || be.join(Join { question, question_rows, passage, passage_rows, groups }));
    let (values, widened) = (length * WIDTH, bench.bytes(RETRIEVED * length * WIDTH));
    let stored: Vec<bf16> = (0..values).map(|i| bf16::from_f32(i as f32 % 17.0)).collect();
    let plain = Work { flop: 0.0, bytes: (2 * RETRIEVED * values) as f64 + widened };
    bench.time("dequantise, bf16", plain, || be.dequantise(WIDTH, &[Stored::Bf16(&stored); RETRIEVED]));
    let small: Vec<i8> = (0..values).map(|i| (i % 127) as i8).collect();
    let scales = vec![0.1; length];
    let int8 = Stored::Int8 { values: &small, scales: &scales };
    let scaled = Work { flop: 0.0, bytes: (RETRIEVED * (values + 4 * length)) as f64 + widened };
    bench.time("dequantise, int8", scaled, || be.dequantise(WIDTH, &[int8; RETRIEVED]));
}

fn decoding<B: Backend>(bench: &mut Bench<'_, B>) {
    let be = bench.be;
    let newest = &matrix(be, 1, WIDTH);
    let before = || matrix(be, ANSWER, WIDTH);
    let mut cache = Cache { k: before(), v: before(), capacity: ANSWER, len: be.upload(Vec::new()) };
    let table = &matrix(be, BUCKETS, HEADS);
    let bias = Bias { table, direction: Direction::Past, max_distance: MAX_DISTANCE };
    let cached = Work { flop: 4.0 * (ANSWER * WIDTH) as f64, bytes: bench.bytes(2 * ANSWER * WIDTH) };
    bench.time("decode_attention", cached, || {
        cache.len = be.upload(vec![ANSWER as u32 - 1]);
        be.decode_attention(Newest { q: newest, k: newest, v: newest }, &mut cache, bias)
    });
    let head = &matrix(be, VOCABULARY, WIDTH);
    let all = Work { flop: 2.0 * (VOCABULARY * WIDTH) as f64, bytes: bench.bytes(VOCABULARY * WIDTH) };
    let mut next = Prediction::certain(be, vec![0]);
    bench.time("predict", all, || be.predict(newest, head, &mut next));
    let logits = &matrix(be, ANSWER, VOCABULARY);
    let targets = &be.upload(vec![7u32; ANSWER]);
    let read = Work { flop: 0.0, bytes: bench.bytes(ANSWER * VOCABULARY) };
    bench.time("log_prob", read, || be.log_prob(logits, targets));
}
