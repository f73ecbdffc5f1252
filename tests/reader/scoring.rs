//! The reranker: what it scores, and which passages are read for it.

use glimmer::backend::{Backend, Element, Mat, Pool};
use glimmer::cpu::Real;
use glimmer::model::{Glimmer, Reader};
use glimmer::nn::Leaf;

use crate::common::naive::{self, Matrix};
use crate::common::{assert_close, tolerance};
use crate::tiny::{self, cut, load, question, reader, slices, tensors, texts, values};

/// Scores of seven passages for one question.
fn scores<T: Real>(reader: &Reader<glimmer::cpu::Cpu<T>>) -> Vec<f64> {
    let (asked, told) = (texts(2, 1, 6), texts(3, 7, 12));
    let scored = reader.score(&[question(&asked[0], &slices(&told))]).unwrap();
    reader.be.download(&scored.scores).unwrap().into_iter().map(Element::to_f64).collect()
}

#[test]
fn scores_are_the_projection_of_what_live_encoder_a_made() {
    for (pool, score_norm) in [(Pool::First, false), (Pool::First, true), (Pool::Mean, false), (Pool::Mean, true)] {
        let reader = reader::<f64>(Glimmer { score_pool: pool, score_norm, ..cut(3, 2, 4) }, 5);
        let (asked, told) = (texts(2, 1, 6), texts(3, 7, 12));
        let told = slices(&told);
        let scored = reader.score(&[question(&asked[0], &told)]).unwrap();
        let rows = Matrix { cols: 20, data: values(&reader.be, &scored.live_a.rows) };
        let lengths: Vec<usize> = told.iter().map(|told| asked[0].len() + told.len()).collect();
        let scale = reader.weights.scorer_norm.as_ref().map(|norm| values(&reader.be, norm));
        let norm = scale.as_deref().map(|scale| (scale, reader.config.layer_norm_epsilon));
        let weight = values(&reader.be, &reader.weights.scorer);
        let wanted = naive::score(&rows, &lengths, &weight, pool, norm);
        assert_close("scores", &scored.scores, &wanted, tolerance::<f64>(40));
        let order = naive::top_m(&wanted, &[7], 4);
        let read = reader.read(&[question(&asked[0], &told)], 4).unwrap().remove(0).read;
        assert_eq!(read, order[0].iter().map(|&i| i as usize).collect::<Vec<_>>());
    }
}

/// β = 0: nothing live has run when passages are scored.
#[test]
fn without_rerank_layers_scores_come_from_memory() {
    let (asked, told) = (texts(2, 1, 6), texts(3, 7, 12));
    let told = slices(&told);
    for pool in [Pool::First, Pool::Mean] {
        let reader = reader::<f64>(Glimmer { score_pool: pool, ..cut(3, 0, 2) }, 5);
        let memory = |texts: &[&[u32]]| {
            let encoded = reader.encode_memory(texts).unwrap();
            Matrix { cols: 20, data: values(&reader.be, &encoded.rows) }
        };
        let lengths: Vec<usize> = told.iter().map(|told| told.len()).collect();
        let asked_rows = (&memory(&[&asked[0]]), &[asked[0].len()][..]);
        let (rows, lengths) = naive::join(asked_rows, (&memory(&told), &lengths), &[7]);
        let wanted = naive::score(&rows, &lengths, &values(&reader.be, &reader.weights.scorer), pool, None);
        let found = reader.read(&[question(&asked[0], &told)], 3).unwrap().remove(0);
        assert_close("scores", &found.scores, &wanted, tolerance::<f64>(40));
        if pool == Pool::First {
            // The first token is the question's, which has seen no passage yet.
            assert!(found.scores.iter().all(|score| *score == found.scores[0]));
            assert_eq!(found.read, [0, 1], "ties keep the retriever's order");
        } else {
            assert_eq!(found.read, naive::top_m(&wanted, &[7], 2)[0].iter().map(|&i| i as usize).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_untrained_scorer_keeps_the_retrievers_order() {
    let mut reader = reader::<f32>(cut(3, 1, 4), 5);
    reader.weights.scorer = Leaf(Mat::upload(&reader.be, 1, 20, vec![0.0; 20]));
    let (asked, told) = (texts(2, 1, 6), texts(3, 7, 12));
    let found = reader.read(&[question(&asked[0], &slices(&told))], 3).unwrap().remove(0);
    assert_eq!((found.scores, found.read), (vec![0.0; 7], vec![0, 1, 2, 3]));
}

/// Question by question: the first passage of each has nothing taken off.
#[test]
fn the_retrievers_order_counts_as_much_as_it_is_told_to() {
    let reader = |retrieval_weight| reader::<f64>(Glimmer { retrieval_weight, ..cut(3, 1, 2) }, 5);
    let (asked, told) = (texts(2, 2, 6), texts(3, 7, 12));
    let told = slices(&told);
    let questions = [question(&asked[0], &told[..4]), question(&asked[1], &told[4..])];
    let read = |weight| reader(weight).read(&questions, 3).unwrap();
    let (without, with) = (read(0.0), read(1.5));
    for (without, with) in without.iter().zip(&with) {
        let place = |i: usize| (i as f64 + 1.0).ln();
        let wanted: Vec<f64> = (0..).zip(&without.scores).map(|(i, score)| score - 1.5 * place(i)).collect();
        assert_close("scores", &with.scores, &wanted, tolerance::<f64>(40));
    }
    assert!(read(1e6).iter().all(|reading| reading.read == [0, 1]), "nothing else counts");
}

/// The same passages are read whatever the order they come in, and scored alike.
#[test]
fn the_best_do_not_depend_on_the_order_of_passages() {
    let reader = reader::<f64>(cut(3, 1, 3), 5);
    let (asked, told) = (texts(2, 1, 6), texts(3, 7, 12));
    let straight = reader.read(&[question(&asked[0], &slices(&told))], 6).unwrap().remove(0);
    let order = [4, 6, 0, 3, 5, 1, 2];
    let turned: Vec<&[u32]> = order.iter().map(|&i| &told[i][..]).collect();
    let turned = reader.read(&[question(&asked[0], &turned)], 6).unwrap().remove(0);
    assert_eq!(turned.read.iter().map(|&place| order[place]).collect::<Vec<_>>(), straight.read);
    let unturned: Vec<f64> = order.iter().map(|&i| straight.scores[i]).collect();
    assert_close("scores", &turned.scores, &unturned, 10.0 * tolerance::<f64>(40));
    assert_eq!(turned.answer, straight.answer);
}

/// A plain T5's folder, loaded with each of the ablations' extra parts.
fn from_t5(folder: &std::path::Path, glimmer: Glimmer) -> Reader<glimmer::cpu::Cpu<f64>> {
    let scorer = reader::<f64>(cut(3, 2, 4), 5).weights.scorer;
    let mut reader = Reader::load(Default::default(), folder, |_| Ok(glimmer)).unwrap();
    reader.weights.scorer = scorer;
    reader
}

#[test]
fn separate_parts_begun_from_t5_are_the_shared_ones() {
    let folder = tempfile::tempdir().unwrap();
    let t5 = reader::<f64>(cut(3, 2, 4), 5);
    let mut weights = tensors(&t5);
    weights.retain(|name, _| !name.starts_with("scorer") && !name.starts_with("live"));
    tiny::write(folder.path(), &tiny::config(), &weights);
    let shared = from_t5(folder.path(), cut(3, 2, 4));
    let reranker = from_t5(folder.path(), Glimmer { reranker: true, ..cut(3, 2, 4) });
    let question_encoder = from_t5(folder.path(), Glimmer { question_encoder: true, ..cut(3, 2, 4) });
    assert!(reranker.weights.reranker.is_some() && question_encoder.weights.question_encoder.is_some());
    assert_eq!(scores(&reranker), scores(&shared));
    assert_eq!(scores(&question_encoder), scores(&shared));

    let (asked, told) = (texts(2, 2, 6), texts(3, 8, 12));
    let told = slices(&told);
    let questions = [question(&asked[0], &told[..4]), question(&asked[1], &told[4..])];
    let wanted = shared.read(&questions, 6).unwrap();
    assert_eq!(reranker.read(&questions, 6).unwrap(), wanted);
    assert_eq!(question_encoder.read(&questions, 6).unwrap(), wanted);
}

/// A reranker of its own scores and does nothing else; a question encoder of its own changes questions alone.
#[test]
fn separate_parts_with_weights_of_their_own_are_used() {
    let parts = Glimmer { reranker: true, question_encoder: true, ..cut(3, 2, 4) };
    let (apart, shared) = (reader::<f64>(parts, 5), reader::<f64>(cut(3, 2, 4), 5));
    assert_ne!(scores(&apart), scores(&shared));
    let texts = texts(3, 4, 12);
    let encoded = |reader: &Reader<_>, texts: &[&[u32]]| {
        let (passages, questions) = (reader.encode_memory(texts).unwrap(), reader.encode_questions(texts).unwrap());
        (values(&reader.be, &passages.rows), values(&reader.be, &questions.rows))
    };
    let (passages, questions) = encoded(&apart, &slices(&texts));
    assert_ne!(passages, questions);
    let folder = tempfile::tempdir().unwrap();
    apart.save(folder.path()).unwrap();
    let mut weights = load::<f64>(folder.path()).unwrap().weights;
    let live = weights.reranker.take().expect("it was saved");
    // With the reranker's layers in the encoder's place, the shared reranker computes the same scores.
    let mut shared = load::<f64>(folder.path()).unwrap();
    let wanted = scores(&shared);
    shared.weights.reranker = None;
    shared.weights.live_bias = live.bias;
    for (place, block) in live.blocks.into_iter().enumerate() {
        shared.weights.encoder.layers.blocks[3 + place] = block;
    }
    assert_eq!(scores(&shared), wanted);
}
