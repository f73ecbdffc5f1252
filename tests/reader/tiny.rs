//! Tiny random readers, and what is asked of them.

use glimmer::backend::{Backend, Element, Mat};
use glimmer::cpu::{Cpu, Real};
use glimmer::io::{Stored, write_tensors};
use glimmer::model::{Config, Cut, Glimmer, Passages, Question, Reader, Weights};
use glimmer::nn::{Leaf, Tree};
use glimmer::random;
use std::collections::BTreeMap;
use std::path::Path;

pub const LAYERS: usize = 6;
const VOCABULARY: usize = 53;

/// No two sizes alike, and heads · width is not the model's width.
pub fn config() -> Config {
    Config {
        vocab_size: VOCABULARY,
        d_model: 20,
        d_kv: 8,
        d_ff: 28,
        num_layers: LAYERS,
        num_decoder_layers: Some(2),
        num_heads: 3,
        ..Config::mini()
    }
}

/// A cut that reads `selected` passages.
pub fn cut(live_layers: usize, rerank_layers: usize, selected: usize) -> Glimmer {
    Glimmer::new(Cut { live_layers, rerank_layers }, selected)
}

/// A reader whose T5 depends on `seed` alone, whatever the cut, with a random scorer.
pub fn reader<T: Real>(glimmer: Glimmer, seed: u64) -> Reader<Cpu<T>> {
    reader_on(Cpu::default(), glimmer, seed)
}

/// The same, on this machine.
pub fn reader_on<T: Real>(be: Cpu<T>, glimmer: Glimmer, seed: u64) -> Reader<Cpu<T>> {
    let mut reader = Reader::random(be, config(), glimmer, seed).unwrap();
    // A norm that is 1 everywhere hides where it is applied.
    let vary = |stream: u64, mat: &Mat<Cpu<T>>, around: f64| {
        let draw = |i| T::from_f64(around + 0.3 * random::normal(seed, stream, i));
        Leaf(Mat::upload(&reader.be, 1, mat.cols, (0..mat.cols as u64).map(draw).collect()))
    };
    let scorer = vary(901, &reader.weights.scorer, 0.0);
    let scorer_norm = reader.weights.scorer_norm.as_ref().map(|norm| vary(902, norm, 1.0));
    let norm = vary(903, &reader.weights.encoder.norm, 1.0);
    (reader.weights.scorer, reader.weights.scorer_norm, reader.weights.encoder.norm) = (scorer, scorer_norm, norm);
    reader
}

/// `count` texts of 1 to `longest` tokens, each with the end of text.
pub fn texts(stream: u64, count: usize, longest: usize) -> Vec<Vec<u32>> {
    let text = |i: u64| {
        let length = random::below(5, stream, i, longest);
        let token = |t: usize| 2 + random::below(6, stream, i * 1000 + t as u64, VOCABULARY - 2) as u32;
        (0..length).map(token).chain([1]).collect()
    };
    (0..count as u64).map(text).collect()
}

pub fn slices(texts: &[Vec<u32>]) -> Vec<&[u32]> {
    texts.iter().map(Vec::as_slice).collect()
}

/// A question of fresh passages.
pub fn question<'a>(ids: &'a [u32], passages: &'a [&'a [u32]]) -> Question<'a> {
    Question { ids, passages: Passages::Tokens(passages) }
}

pub fn values<B: Backend>(be: &B, mat: &Mat<B>) -> Vec<f64> {
    mat.download(be).unwrap().into_iter().map(Element::to_f64).collect()
}

/// The weights of a reader by their names in a checkpoint, with their stored shapes.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A reader's weights as a checkpoint of single precision holds them.
pub fn tensors<T: Real>(reader: &Reader<Cpu<T>>) -> Tensors {
    let specs = Weights::spec(&reader.config, &reader.glimmer);
    let pairs = specs.leaves().into_iter().zip(reader.weights.leaves());
    let tensor = |mat: &Mat<Cpu<T>>| values(&reader.be, mat).into_iter().map(|x| x as f32).collect();
    pairs.map(|(spec, mat)| (spec.name.clone(), (spec.stored_shape(), tensor(mat)))).collect()
}

/// Writes a folder with `config.json` and `model.safetensors`.
pub fn write(folder: &Path, config: &Config, tensors: &Tensors) {
    config.write(folder).unwrap();
    write_file(&folder.join("model.safetensors"), tensors);
}

pub fn write_file(path: &Path, tensors: &Tensors) {
    let stored: Vec<_> =
        tensors.iter().map(|(name, (shape, data))| (name.clone(), shape.clone(), Stored::F32(data))).collect();
    write_tensors(path, &BTreeMap::new(), &stored).unwrap();
}

/// Loads a folder with the cut that its `config.json` has.
pub fn load<T: Real>(folder: &Path) -> anyhow::Result<Reader<Cpu<T>>> {
    Reader::load(Cpu::<T>::default(), folder, |config| Ok(config.glimmer.clone().expect("the test wrote one")))
}

/// All weights equal, bit for bit.
pub fn assert_same_weights<T: Real>(found: &Reader<Cpu<T>>, wanted: &Reader<Cpu<T>>) {
    let names = Weights::spec(&wanted.config, &wanted.glimmer);
    let (found_leaves, wanted_leaves) = (found.weights.leaves(), wanted.weights.leaves());
    assert_eq!(found_leaves.len(), wanted_leaves.len(), "parameters");
    for ((spec, a), b) in names.leaves().into_iter().zip(found_leaves).zip(wanted_leaves) {
        assert_eq!(values(&found.be, a), values(&wanted.be, b), "{}", spec.name);
    }
}
