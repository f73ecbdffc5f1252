//! A dense retriever's encoder: T5 1.0, against the formulas.

use std::collections::BTreeMap;
use std::path::Path;

use glimmer::backend::Direction;
use glimmer::cpu::{Cpu, Real};
use glimmer::model::{Config, DenseEncoder, Encoder, FeedForwardKind};
use glimmer::nn::Tree;
use glimmer::random;

use crate::common::naive::{self, Matrix};
use crate::common::{assert_close, tolerance};
use crate::tiny::{self, Tensors, slices, texts};

const WIDTH: usize = 12;

fn config() -> Config {
    Config { feed_forward_proj: FeedForwardKind::Relu, tie_word_embeddings: true, num_layers: 3, ..tiny::config() }
}

fn drawn(stream: u64, shape: Vec<usize>, around: f64, deviation: f64) -> (Vec<usize>, Vec<f32>) {
    let count = shape.iter().product::<usize>() as u64;
    let draw = |i| (around + deviation * random::normal(1, stream, i)) as f32;
    (shape, (0..count).map(draw).collect())
}

/// A random encoder and projection, and the folder of them in the layout of sentence-transformers.
fn write(folder: &Path) -> (Tensors, Tensors) {
    let encoder: Tensors = Encoder::spec(&config())
        .leaves()
        .into_iter()
        .zip(0..)
        .map(|(spec, stream)| {
            let (around, deviation) = if spec.vector { (1.0, 0.3) } else { (0.0, 0.4) };
            (spec.name.clone(), drawn(stream, spec.stored_shape(), around, deviation))
        })
        .collect();
    tiny::write(folder, &config(), &encoder);
    let dense = BTreeMap::from([("linear.weight".into(), drawn(800, vec![WIDTH, 20], 0.0, 1.0))]);
    std::fs::create_dir(folder.join("2_Dense")).unwrap();
    tiny::write_file(&folder.join("2_Dense/model.safetensors"), &dense);
    (encoder, dense)
}

/// The unit vectors, by the formulas of T5 1.0 alone.
fn naive_vectors(encoder: &Tensors, dense: &Tensors, texts: &[&[u32]]) -> Matrix {
    let take = |tensors: &Tensors, name: &str| {
        let (shape, data) = &tensors[name];
        Matrix { cols: *shape.last().unwrap(), data: data.iter().map(|&x| f64::from(x)).collect() }
    };
    let t5 = |name: String| take(encoder, &name);
    let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
    let mut x = naive::embed(&t5("shared.weight".into()), &texts.concat());
    let table = t5("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight".into());
    for i in 0..config().num_layers {
        let at = |place: usize, part: &str| t5(format!("encoder.block.{i}.layer.{place}.{part}.weight"));
        let y = naive::rms_norm(&x, &at(0, "layer_norm").data, 1e-6);
        let [q, k, v] = ["q", "k", "v"].map(|part| naive::linear(&y, &at(0, &format!("SelfAttention.{part}"))));
        let bias = naive::Bias { table: &table, direction: Direction::Both, max_distance: 128 };
        let o = naive::attention([&q, &k, &v], (&lengths, &lengths), Some(bias), 3);
        x = x.zip(&naive::linear(&o, &at(0, "SelfAttention.o")), |x, o| x + o);
        let y = naive::rms_norm(&x, &at(1, "layer_norm").data, 1e-6);
        let h = naive::linear_relu(&y, &at(1, "DenseReluDense.wi"));
        x = x.zip(&naive::linear(&h, &at(1, "DenseReluDense.wo")), |x, o| x + o);
    }
    let x = naive::rms_norm(&x, &t5("encoder.final_layer_norm.weight".into()).data, 1e-6);
    let projected = naive::linear(&naive::mean_pool(&x, &lengths), &take(dense, "linear.weight"));
    let unit = projected.rows().flat_map(|row| {
        let length = naive::dot(row, row).sqrt();
        row.iter().map(move |x| x / length)
    });
    Matrix { cols: WIDTH, data: unit.collect() }
}

fn matches_the_formulas<T: Real>() {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, dense) = write(folder.path());
    let loaded = DenseEncoder::load(Cpu::<T>::default(), folder.path()).unwrap();
    assert_eq!(loaded.width(), WIDTH);
    let texts = texts(1, 9, 40);
    let found: Vec<f64> = loaded.encode(&slices(&texts)).unwrap().into_iter().map(f64::from).collect();
    // Vectors are single precision whatever computes them.
    let bound = 20.0 * tolerance::<f32>(40);
    assert_close("vectors", &found, &naive_vectors(&encoder, &dense, &slices(&texts)).data, bound);
    let alone = loaded.encode(&slices(&texts)[3..4]).unwrap();
    let alone: Vec<f64> = alone.into_iter().map(f64::from).collect();
    assert_close("a text by itself", &alone, &found[3 * WIDTH..4 * WIDTH], bound);
    assert!(loaded.encode(&[]).unwrap().is_empty());
}

#[test]
fn a_t5_1_0_encoder_is_its_formulas() {
    matches_the_formulas::<f64>();
    matches_the_formulas::<f32>();
}

fn complaint(change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    change(folder.path());
    let error = DenseEncoder::load(Cpu::<f32>::default(), folder.path()).err().expect("this folder is broken");
    format!("{error:#}")
}

#[test]
fn broken_folders_are_refused() {
    let dense = |folder: &Path| folder.join("2_Dense/model.safetensors");
    let said = complaint(|folder| std::fs::remove_dir_all(folder.join("2_Dense")).unwrap());
    assert!(said.contains("2_Dense"), "{said}");
    let none = BTreeMap::from([("linear.bias".into(), drawn(0, vec![WIDTH], 0.0, 1.0))]);
    let said = complaint(|folder| tiny::write_file(&dense(folder), &none));
    assert!(said.contains("2_Dense") && said.contains("linear.weight"), "{said}");
    for shape in [vec![WIDTH, 21], vec![WIDTH], vec![0, 20], vec![]] {
        let wrong = BTreeMap::from([("linear.weight".into(), drawn(0, shape.clone(), 0.0, 1.0))]);
        let said = complaint(|folder| tiny::write_file(&dense(folder), &wrong));
        assert!(said.contains("linear.weight") && said.contains("2_Dense"), "{shape:?}: {said}");
    }
}

#[test]
fn texts_without_a_vector_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let encoder = DenseEncoder::load(Cpu::<f32>::default(), folder.path()).unwrap();
    let said = format!("{:#}", encoder.encode(&[&[5, 1], &[]]).unwrap_err());
    assert!(said.contains("text 1") && said.contains("no tokens"), "{said}");
    let said = format!("{:#}", encoder.encode(&[&[5, 1], &[6, 53, 1]]).unwrap_err());
    assert!(said.contains("text 1") && said.contains("token 1 has id 53"), "{said}");
}
