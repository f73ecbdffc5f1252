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
    // Bucket 1, head 0: the token before.
    assert_eq!(reader.weights.encoder.layers.bias.buf[3], before + 4.0);
    assert_eq!(reader.weights.encoder.layers.bias.buf[..], reader.weights.live_bias.buf[..]);
}
