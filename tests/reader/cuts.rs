//! FiD, LUMEN and GLIMMER are one reader with other cuts.

use glimmer::backend::{Backend, Direction, Segments};
use glimmer::cpu::Real;
use glimmer::model::Reading;
use glimmer::nn::encode;

use crate::common::{assert_close, tolerance};
use crate::tiny::{LAYERS, config, cut, question, reader, slices, texts, values};

/// MemEnc then LiveEnc on a passage alone is the undivided T5 encoder, wherever the cut is.
fn halves_make_the_whole<T: Real>() {
    let texts = texts(1, 5, 12);
    let whole = reader::<T>(cut(0, 0, 1), 3);
    let wanted = whole.encode_memory(&slices(&texts)).unwrap();
    let wanted = values(&whole.be, &wanted.rows);
    for live in 0..=LAYERS {
        let reader = reader::<T>(cut(live, 0, 1), 3);
        let mut memory = reader.encode_memory(&slices(&texts)).unwrap();
        let (shape, blocks) = (config().shape(), &reader.weights.encoder.layers.blocks[LAYERS - live..]);
        // Live layers have a bias of their own; T5's is the encoder's.
        let bias = shape.bias(&reader.weights.encoder.layers.bias, Direction::Both);
        encode(&reader.be, &shape, blocks, &mut memory.rows, (&memory.segments, bias));
        assert_eq!(values(&reader.be, &memory.rows), wanted, "{live} live layers");
    }
}

#[test]
fn memory_and_live_encoder_are_the_encoder() {
    halves_make_the_whole::<f64>();
    halves_make_the_whole::<f32>();
}

/// What each of these cuts makes of the same two questions, read passages put in the retriever's order.
fn readings<T: Real>(glimmer: glimmer::model::Glimmer, passages: usize) -> Vec<Reading> {
    let reader = reader::<T>(glimmer, 3);
    let (asked, told) = (texts(2, 2, 6), texts(3, 2 * passages, 12));
    let (asked, told) = (slices(&asked), slices(&told));
    let questions: Vec<_> = asked.iter().zip(told.chunks(passages)).map(|(ids, told)| question(ids, told)).collect();
    reader.read(&questions, 6).unwrap()
}

fn assert_same_answers<T: Real>(what: &str, found: &[Reading], wanted: &[Reading]) {
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.answer, wanted.answer, "{what}");
        // The decoder's sums run over passages in another order, through all its layers.
        assert_close(what, &found.log_probs, &wanted.log_probs, 100.0 * tolerance::<T>(200));
    }
}

fn order_of_passages_does_not_matter<T: Real>() {
    let fid = readings::<T>(cut(LAYERS, 0, 5), 5);
    let reranked = readings::<T>(cut(LAYERS, 2, 5), 5);
    assert_same_answers::<T>("a GLIMMER that is all live and reads all", &reranked, &fid);
    assert!(reranked.iter().any(|r| r.read != [0, 1, 2, 3, 4]), "the reranker kept the order: nothing was compared");
    let lumen = readings::<T>(cut(2, 0, 5), 5);
    for rerank in 0..=2 {
        let glimmer = readings::<T>(cut(2, rerank, 5), 5);
        assert_same_answers::<T>("a GLIMMER that reads all is a LUMEN", &glimmer, &lumen);
        let sorted = glimmer.iter().map(|r| {
            let mut read = r.read.clone();
            read.sort_unstable();
            read
        });
        assert!(sorted.into_iter().all(|read| read == [0, 1, 2, 3, 4]));
    }
    assert_ne!(lumen[0].log_probs, fid[0].log_probs, "question and passage meet in more layers of a FiD");
}

#[test]
fn readers_that_read_everything_differ_in_the_order_of_passages_only() {
    order_of_passages_does_not_matter::<f64>();
    order_of_passages_does_not_matter::<f32>();
}

/// α = 1: the memory encoder is the embedding alone, and so FiD encodes [Q; P] as one text.
#[test]
fn fid_is_the_encoder_over_question_and_passage() {
    let fid = reader::<f64>(cut(LAYERS, 0, 3), 3);
    let (asked, told) = (texts(2, 1, 6), texts(3, 3, 12));
    let told = slices(&told);
    let scored = fid.score(&[question(&asked[0], &told)]).unwrap();
    let chosen = fid.be.top_m(&scored.scores, &scored.groups, 3);
    let found = fid.finish(&scored.live_a, &chosen);

    let joined: Vec<Vec<u32>> = told.iter().map(|passage| [&asked[0], *passage].concat()).collect();
    let shape = config().shape();
    let mut rows = fid.be.embed(&fid.weights.encoder.embedding, &fid.be.upload(joined.concat()));
    let segments = Segments::packed(&fid.be, joined.iter().map(Vec::len));
    let bias = shape.bias(&fid.weights.live_bias, Direction::Both);
    encode(&fid.be, &shape, &fid.weights.encoder.layers.blocks, &mut rows, (&segments, bias));
    let wanted = fid.be.rms_norm(&rows, &fid.weights.encoder.norm, shape.eps);
    // All scores are of one row and the same, so that the retriever's order is kept.
    assert_eq!(values(&fid.be, &found.rows), values(&fid.be, &wanted));
}

#[test]
fn more_passages_than_there_are_means_all() {
    let few = readings::<f64>(cut(2, 1, 3), 3);
    let many = readings::<f64>(cut(2, 1, 100), 3);
    assert_eq!(few, many);
}
