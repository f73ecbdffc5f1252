//! The exact cost is what the model asks of a machine: reading on a machine that counts as it computes.

mod counting;

use counting::Counting;
use glimmer::backend::{Backend, Mat, Pool, Stored};
use glimmer::cost::{Breakdown, CostMode, Workload, memory_multiply_adds, multiply_adds};
use glimmer::model::{Config, Cut, Evidence, Glimmer, Passages, Question, Reader};
use glimmer::nn::Leaf;
use glimmer::random;
use half::bf16;
use proptest::prelude::*;

/// Tokens that an answer may have.
const LONGEST_ANSWER: usize = 4;

/// A question's length and those of its passages.
struct Texts {
    question: usize,
    passages: Vec<usize>,
}

fn texts(question: usize, passages: &[usize]) -> Texts {
    Texts { question, passages: passages.to_vec() }
}

/// Tiny, with no two sizes alike: a formula that takes one for another shows.
fn tiny() -> Config {
    Config {
        vocab_size: 23,
        d_model: 10,
        d_kv: 3,
        d_ff: 7,
        num_layers: 6,
        num_decoder_layers: Some(2),
        num_heads: 4,
        ..Config::mini()
    }
}

/// A random reader whose scorer has an opinion.
fn reader(config: &Config, glimmer: &Glimmer) -> Reader<Counting> {
    let mut reader = Reader::random(Counting::default(), config.clone(), glimmer.clone(), 3).unwrap();
    let d = config.d_model;
    let scorer = (0..d as u64).map(|i| random::normal(5, 0, i)).collect();
    reader.weights.scorer = Leaf(Mat::upload(&reader.be, 1, d, scorer));
    reader
}

fn ids(config: &Config, stream: usize, length: usize) -> Vec<u32> {
    (0..length as u64).map(|i| random::below(7, stream as u64, i, config.vocab_size) as u32).collect()
}

/// Memories of passages, as a store gives them back.
fn memories(reader: &Reader<Counting>, lengths: &[usize]) -> Vec<Vec<bf16>> {
    let encode = |(i, &length): (usize, &usize)| {
        let ids = ids(&reader.config, 1 + i, length);
        let encoded = reader.encode_memory(&[&ids]).unwrap();
        let counted = reader.be.take();
        assert_eq!(counted, memory_multiply_adds(&reader.config, &reader.glimmer, length), "memory of {length}");
        encoded.rows.download(&reader.be).unwrap().into_iter().map(bf16::from_f64).collect()
    };
    lengths.iter().enumerate().map(encode).collect()
}

/// Holds every stage of one question's reading against its count. → the passages read and the answer's length.
fn check(config: &Config, glimmer: &Glimmer, texts: &Texts) -> (Vec<usize>, usize) {
    let reader = reader(config, glimmer);
    let memories = memories(&reader, &texts.passages);
    let stored: Vec<_> = memories.iter().map(|memory| Stored::Bf16(memory)).collect();
    let ids = ids(config, 0, texts.question);
    let question = Question { ids: &ids, passages: Passages::Memory(&stored) };
    let be = &reader.be;

    let reading = reader.read(&[question], LONGEST_ANSWER).unwrap().remove(0);
    let counted = be.take();
    let workload = Workload::of(texts.question, &texts.passages, &reading).unwrap();
    assert_eq!(counted, multiply_adds(CostMode::Exact, config, glimmer, &workload), "{glimmer:?} {workload:?}");

    let stages = Breakdown::new(CostMode::Exact, config, glimmer, &workload);
    reader.encode_questions(&[&ids]).unwrap();
    assert_eq!(be.take(), stages.question, "question");
    let scored = reader.score(&[question]).unwrap();
    assert_eq!(be.take(), stages.question + stages.live_a + stages.score, "live A and score");
    let chosen = be.top_m(&scored.scores, &scored.groups, glimmer.selected);
    let encoded = reader.finish(&scored.live_a, &chosen);
    assert_eq!(be.take(), stages.live_b, "live B");
    let segments = be.merge(&encoded.segments, &chosen.groups);
    let evidence = Evidence { rows: &encoded.rows, segments: &segments };
    let weights = &reader.weights;
    weights.decoder.greedy(be, config, &weights.encoder.embedding, &evidence, 0).unwrap();
    assert_eq!(be.take(), stages.cross_memory, "an answer of no tokens");
    (reading.read, reading.answer.len())
}

#[test]
fn every_reader_costs_what_is_counted() {
    let cut = |live_layers, rerank_layers| Cut { live_layers, rerank_layers };
    let glimmer = Glimmer::new(cut(3, 1), 2);
    let readers = [
        Glimmer::new(Cut::fid(6), 9),
        Glimmer::new(cut(2, 0), 9),
        Glimmer::new(cut(0, 0), 9),
        glimmer.clone(),
        Glimmer { score_pool: Pool::Mean, score_norm: true, ..glimmer.clone() },
        Glimmer { question_encoder: true, ..glimmer.clone() },
        Glimmer { reranker: true, ..glimmer.clone() },
        Glimmer { reranker: true, question_encoder: true, rerank_layers: 3, ..glimmer },
    ];
    let (mut reordered, mut longest) = (false, 0);
    for glimmer in &readers {
        for texts in [texts(3, &[5, 1, 8, 4]), texts(1, &[2]), texts(6, &[3, 3, 11, 2, 7])] {
            let (read, answer) = check(&tiny(), glimmer, &texts);
            reordered |= !read.is_sorted();
            longest = longest.max(answer);
        }
    }
    assert!(reordered && longest > 1, "nothing was reranked, or no answer went on");
}

#[test]
fn a_batch_costs_the_sum_of_its_questions() {
    let (config, glimmer) = (tiny(), Glimmer::new(Cut { live_layers: 4, rerank_layers: 2 }, 2));
    let reader = reader(&config, &glimmer);
    let batch = [texts(3, &[5, 1, 8]), texts(7, &[2, 6]), texts(1, &[4])];
    let asked: Vec<_> = batch.iter().enumerate().map(|(i, texts)| ids(&config, 10 * i, texts.question)).collect();
    let memories: Vec<_> = batch.iter().map(|texts| memories(&reader, &texts.passages)).collect();
    let stored: Vec<Vec<_>> = memories.iter().map(|m| m.iter().map(|m| Stored::Bf16(m)).collect()).collect();
    let questions: Vec<_> =
        asked.iter().zip(&stored).map(|(ids, stored)| Question { ids, passages: Passages::Memory(stored) }).collect();
    // One token each: a longer answer would keep the others waiting.
    let readings = reader.read(&questions, 1).unwrap();
    let workloads = batch.iter().zip(&readings).map(|(t, r)| Workload::of(t.question, &t.passages, r).unwrap());
    let sum: f64 = workloads.map(|workload| multiply_adds(CostMode::Exact, &config, &glimmer, &workload)).sum();
    assert_eq!(reader.be.take(), sum);
}

#[test]
fn passages_given_as_tokens_cost_their_memory_too() {
    let (config, glimmer) = (tiny(), Glimmer::new(Cut { live_layers: 3, rerank_layers: 1 }, 2));
    let reader = reader(&config, &glimmer);
    let lengths = [5, 1, 8];
    let passages: Vec<_> = lengths.iter().enumerate().map(|(i, &length)| ids(&config, 1 + i, length)).collect();
    let passages: Vec<&[u32]> = passages.iter().map(Vec::as_slice).collect();
    let question = Question { ids: &ids(&config, 0, 4), passages: Passages::Tokens(&passages) };
    let readings = reader.read(&[question], LONGEST_ANSWER).unwrap();
    let workload = Workload::of(4, &lengths, &readings[0]).unwrap();
    let memory: f64 = lengths.iter().map(|&length| memory_multiply_adds(&config, &glimmer, length)).sum();
    assert_eq!(reader.be.take(), memory + multiply_adds(CostMode::Exact, &config, &glimmer, &workload));
}

/// Any sizes, any cut.
fn model() -> impl Strategy<Value = (Config, Glimmer)> {
    let sizes = (1..12usize, 1..5usize, 1..12usize, 1..4usize, 2..30usize);
    let layers = (1..5usize, 1..4usize).prop_flat_map(|(all, decoder)| (Just(all), Just(decoder), 0..=all));
    let layers = layers.prop_flat_map(|(all, decoder, live)| (Just(all), Just(decoder), Just(live), 0..=live));
    (sizes, layers, 1..5usize, any::<[bool; 4]>()).prop_map(|(sizes, layers, selected, flags)| {
        let (d_model, d_kv, d_ff, num_heads, vocab_size) = sizes;
        let (num_layers, decoder, live_layers, rerank_layers) = layers;
        let num_decoder_layers = Some(decoder);
        let config =
            Config { d_model, d_kv, d_ff, num_heads, vocab_size, num_layers, num_decoder_layers, ..Config::mini() };
        let [question_encoder, reranker, score_norm, mean] = flags;
        let glimmer = Glimmer {
            question_encoder,
            reranker: reranker && rerank_layers > 0,
            score_norm,
            score_pool: if mean { Pool::Mean } else { Pool::First },
            ..Glimmer::new(Cut { live_layers, rerank_layers }, selected)
        };
        (config, glimmer)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_reader_costs_what_is_counted(
        (config, glimmer) in model(),
        question in 1..9usize,
        passages in prop::collection::vec(1..12usize, 1..6),
    ) {
        check(&config, &glimmer, &texts(question, &passages));
    }
}
