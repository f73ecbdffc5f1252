//! The beginning from which small readers learn to copy.

use glimmer::backend::{Backend, Mat};
use glimmer::cpu::Cpu;
use glimmer::model::{Config, Cut, Glimmer, Reader};

#[test]
fn what_the_decoder_looks_at_passes_through() {
    let config = Config { vocab_size: 40, d_model: 24, d_kv: 8, num_heads: 3, num_layers: 3, ..Config::mini() };
    let cut = Cut { live_layers: 1, rerank_layers: 0 };
    let mut reader = Reader::random(Cpu::<f64>::default(), config, Glimmer::new(cut, 1), 4).unwrap();
    let before = reader.weights.encoder.layers.bias.buf[3];
    reader.begin_copying(4).unwrap();
    let block = &reader.weights.decoder.blocks[1].cross;
    let x: Vec<f64> = (0..24).map(f64::from).collect();
    let x = Mat::upload(&reader.be, 1, 24, x);
    let through = reader.be.linear(&reader.be.linear(&x, &block.v), &block.o);
    for (found, wanted) in through.buf.iter().zip(&x.buf[..]) {
        assert!((found - wanted).abs() <= 1e-12, "{found}, not {wanted}");
    }
    let head = &reader.weights.decoder.head;
    let embedding = &reader.weights.encoder.embedding;
    assert_eq!(head.buf[7], 24f64.powf(-0.5) * embedding.buf[7]);
    assert_eq!((embedding.buf[0], embedding.buf[1], head.buf[0], head.buf[1]), (1.0, 0.0, 0.0, 0.0));
    // Bucket 1, head 0: the token before.
    assert_eq!(reader.weights.encoder.layers.bias.buf[3], before + 4.0);
    assert_eq!(reader.weights.encoder.layers.bias.buf[..], reader.weights.live_bias.buf[..]);
}

/// Where a token stands elsewhere too, the second head of the first layer looks there, and else at the end of text.
#[test]
fn a_token_finds_its_equal_or_the_end() {
    let config = Config { vocab_size: 400, d_model: 96, d_kv: 32, num_heads: 3, num_layers: 3, ..Config::mini() };
    let cut = Cut { live_layers: 1, rerank_layers: 0 };
    let mut reader = Reader::random(Cpu::<f64>::default(), config, Glimmer::new(cut, 1), 4).unwrap();
    reader.begin_copying(4).unwrap();
    let (be, weights) = (&reader.be, &reader.weights);
    // 40 tokens, of which the first stands once more at place 25, and the end.
    let ids: Vec<u32> = (0..40).map(|i| if i == 25 { 100 } else { 100 + i }).chain([1]).collect();
    let x = be.embed(&weights.encoder.embedding, &be.upload(ids));
    let attention = &weights.encoder.layers.blocks[0].attention;
    let y = be.rms_norm(&x, &attention.norm, 1e-6);
    let (q, k) = (be.linear(&y, &attention.q), be.linear(&y, &attention.k));
    let bias = &weights.encoder.layers.bias;
    let looks_at = |row: usize| {
        let score = |key: usize| -> f64 {
            let of = |m: &Mat<Cpu<f64>>, row: usize| m.buf[row * 96 + 32..row * 96 + 64].to_vec();
            let dot: f64 = of(&q, row).iter().zip(of(&k, key)).map(|(a, b)| a * b).sum();
            dot + if row == key { bias.buf[1] } else { 0.0 }
        };
        let best = (0..41).max_by(|&a, &b| score(a).total_cmp(&score(b)));
        best.unwrap()
    };
    assert_eq!((looks_at(0), looks_at(25)), (25, 0));
    let alone = (1..40).filter(|&row| row != 25);
    let at_the_end = alone.filter(|&row| looks_at(row) == 40).count();
    // One of 41 keys: without the sink it would be about one.
    assert!(at_the_end >= 30, "{at_the_end} of 38 tokens without an equal look at the end");
}

/// What the first head of the first layer reads of the token before, it writes at full size.
#[test]
fn the_token_before_is_handed_on() {
    let config = Config { vocab_size: 40, d_model: 96, d_kv: 24, num_heads: 4, num_layers: 3, ..Config::mini() };
    let cut = Cut { live_layers: 1, rerank_layers: 0 };
    let mut reader = Reader::random(Cpu::<f64>::default(), config, Glimmer::new(cut, 1), 4).unwrap();
    reader.begin_copying(4).unwrap();
    let attention = |layer: usize| &reader.weights.encoder.layers.blocks[layer].attention;
    // The rows of v that are the first head's, and through its columns of o.
    let through = |layer: usize| {
        let (v, o) = (&attention(layer).v, &attention(layer).o);
        let read = &v.buf[..24 * 96];
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let x = &read[5 * 96..6 * 96];
        let seen: Vec<f64> = read.chunks_exact(96).map(|row| inner(row, x)).collect();
        let written: Vec<f64> = o.buf.chunks_exact(96).map(|row| inner(&row[..24], &seen)).collect();
        // The first layer leaves the marked columns alone.
        assert_eq!(written[..2] == [0.0, 0.0], layer == 0);
        (inner(&written, &written) / inner(x, x)).sqrt()
    };
    assert!((through(0) - 1.0).abs() <= 0.1, "{}", through(0));
    assert!(through(1) <= 0.3, "{}", through(1));
}
