//! How many kernels a layer takes.

use glimmer::model::{Config, Cut, Glimmer, Reader};
use half::bf16;

use crate::emulated_machine;

/// Launches of a memory encoder of so many layers, over one text.
fn launches(memory_layers: usize) -> usize {
    let (emulator, be) = emulated_machine::<bf16>();
    let config =
        Config { vocab_size: 50, num_layers: memory_layers + 1, num_decoder_layers: Some(1), ..Config::mini() };
    let cut = Cut { live_layers: 1, rerank_layers: 0 };
    let reader = Reader::random(be, config, Glimmer::new(cut, 1), 1).unwrap();
    emulator.forget().unwrap();
    reader.encode_memory(&[&[3, 4, 5, 6, 7, 1]]).unwrap();
    emulator.launches().unwrap().len()
}

/// Norm, projections, attention, output; norm, gate, output.
#[test]
fn an_emulated_layer_of_the_encoder_is_seven() {
    assert_eq!(launches(2) - launches(1), 7);
}
