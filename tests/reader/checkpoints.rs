//! Checkpoints: every layout gives the same weights, and every broken one is refused with the place and the remedy.

use std::path::Path;

use glimmer::model::{Config, Cut, Glimmer, Reader};
use half::{bf16, f16};
use serde_json::{Value, json};

use crate::tiny::{self, Tensors, assert_same_weights, config, cut, load, reader, tensors, values, write, write_file};

const EMBEDDING: &str = "shared.weight";

/// A reader, and its checkpoint in single precision.
fn tiny_checkpoint() -> (Config, Tensors) {
    let reader = reader::<f32>(cut(3, 1, 2), 4);
    (reader.config.clone(), tensors(&reader))
}

/// The weights of the folder that `make` filled.
fn loaded(make: impl FnOnce(&Path)) -> Reader<glimmer::cpu::Cpu<f32>> {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    load(folder.path()).unwrap()
}

/// What loading the folder that `make` filled complains of.
fn complaint(make: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let error = load::<f32>(folder.path()).err().expect("this checkpoint is broken");
    format!("{error:#}")
}

#[test]
fn saving_rounds_to_bf16_and_keeps_the_configuration() {
    let parts = Glimmer { score_norm: true, question_encoder: true, reranker: true, ..cut(3, 2, 4) };
    let saved = reader::<f32>(parts, 4);
    let found = loaded(|folder| saved.save(folder).unwrap());
    assert_eq!((&found.config, &found.glimmer), (&saved.config, &saved.glimmer));
    for ((name, (shape, data)), (found_name, (found_shape, found_data))) in tensors(&saved).iter().zip(tensors(&found))
    {
        let rounded: Vec<f32> = data.iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
        assert_eq!((name, shape, &rounded), (&found_name, &found_shape, &found_data));
    }
    let again = loaded(|folder| found.save(folder).unwrap());
    assert_same_weights(&again, &found);
}

/// Writes tensors of 16 bits, which the crate itself does not write in f16.
fn write_16_bits(path: &Path, tensors: &Tensors, dtype: safetensors::Dtype, bytes: impl Fn(f32) -> [u8; 2]) {
    let data: Vec<Vec<u8>> = tensors.values().map(|(_, data)| data.iter().flat_map(|&x| bytes(x)).collect()).collect();
    let views = tensors.iter().zip(&data).map(|((name, (shape, _)), data)| {
        (name, safetensors::tensor::TensorView::new(dtype, shape.clone(), data).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn checkpoints_of_16_bits_load_as_their_rounded_values() {
    let (config, tensors) = tiny_checkpoint();
    let rounded = |round: &dyn Fn(f32) -> f32| -> Tensors {
        let round = |data: &[f32]| data.iter().map(|&x| round(x)).collect();
        tensors.iter().map(|(name, (shape, data))| (name.clone(), (shape.clone(), round(data)))).collect()
    };
    let half = rounded(&|x| f16::from_f32(x).to_f32());
    let brain = rounded(&|x| bf16::from_f32(x).to_f32());
    for (dtype, wanted) in [(safetensors::Dtype::F16, half), (safetensors::Dtype::BF16, brain)] {
        let found = loaded(|folder| {
            config.write(folder).unwrap();
            write_16_bits(&folder.join("model.safetensors"), &tensors, dtype, |x| match dtype {
                safetensors::Dtype::F16 => f16::from_f32(x).to_le_bytes(),
                _ => bf16::from_f32(x).to_le_bytes(),
            });
        });
        assert_same_weights(&found, &loaded(|folder| write(folder, &config, &wanted)));
    }
}

#[test]
fn shards_load_as_one_file() {
    let (config, tensors) = tiny_checkpoint();
    let found = loaded(|folder| {
        config.write(folder).unwrap();
        let mut map = serde_json::Map::new();
        for shard in 0..3 {
            let file = format!("model-0000{}-of-00003.safetensors", shard + 1);
            let own = tensors.iter().enumerate().filter(|(i, _)| i % 3 == shard);
            let own: Tensors = own.map(|(_, (name, tensor))| (name.clone(), tensor.clone())).collect();
            map.extend(own.keys().map(|name| (name.clone(), Value::from(file.clone()))));
            write_file(&folder.join(file), &own);
        }
        let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
        std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    });
    assert_same_weights(&found, &loaded(|folder| write(folder, &config, &tensors)));
}

#[test]
fn the_embedding_goes_by_three_names() {
    let (config, tensors) = tiny_checkpoint();
    let wanted = loaded(|folder| write(folder, &config, &tensors));
    for alias in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] {
        let mut renamed = tensors.clone();
        let embedding = renamed.remove(EMBEDDING).unwrap();
        renamed.insert(alias.into(), embedding);
        assert_same_weights(&loaded(|folder| write(folder, &config, &renamed)), &wanted);
    }
    let mut both = tensors.clone();
    let (shape, data) = &tensors[EMBEDDING];
    both.insert("encoder.embed_tokens.weight".into(), (shape.clone(), vec![0.0; data.len()]));
    assert_same_weights(&loaded(|folder| write(folder, &config, &both)), &wanted);
}

#[test]
fn superfluous_tensors_are_ignored() {
    let (config, tensors) = tiny_checkpoint();
    let mut more = tensors.clone();
    let cross = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
    for (name, shape) in [(cross, vec![32, 3]), ("encoder.block.99.layer.0.layer_norm.weight", vec![1])] {
        let count = shape.iter().product();
        more.insert(name.into(), (shape, vec![7.0; count]));
    }
    let wanted = loaded(|folder| write(folder, &config, &tensors));
    assert_same_weights(&loaded(|folder| write(folder, &config, &more)), &wanted);
}

/// A plain T5.1.1 has no live bias, no scorer and no object `glimmer`.
#[test]
fn a_plain_t5_is_a_valid_start() {
    let (_, mut tensors) = tiny_checkpoint();
    tensors.retain(|name, _| !name.starts_with("live") && !name.starts_with("scorer"));
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config(), &tensors);
    let cut = |config: &Config| {
        assert!(config.glimmer.is_none());
        Ok(Glimmer { score_norm: true, ..Glimmer::new(Cut::nearest(config.num_layers, 0.5, 0.34)?, 5) })
    };
    let reader = Reader::load(glimmer::cpu::Cpu::<f64>::default(), folder.path(), cut).unwrap();
    assert_eq!((reader.glimmer.live_layers, reader.glimmer.rerank_layers), (3, 1));
    let weights = &reader.weights;
    assert_eq!(values(&reader.be, &weights.live_bias), values(&reader.be, &weights.encoder.layers.bias));
    assert_eq!(values(&reader.be, &weights.scorer), [0.0; 20]);
    assert_eq!(values(&reader.be, weights.scorer_norm.as_ref().unwrap()), [1.0; 20]);
}

#[test]
fn a_missing_tensor_is_named() {
    let (config, tensors) = tiny_checkpoint();
    let optional = ["live.relative_attention_bias.weight", "scorer.weight"];
    for name in tensors.keys().filter(|name| !optional.contains(&name.as_str())) {
        let mut fewer = tensors.clone();
        fewer.remove(name);
        let said = complaint(|folder| write(folder, &config, &fewer));
        assert!(said.contains(name) && said.contains("model.safetensors") && said.contains("config.json"), "{said}");
    }
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let (config, tensors) = tiny_checkpoint();
    for name in [EMBEDDING, "live.relative_attention_bias.weight", "encoder.block.0.layer.0.layer_norm.weight"] {
        let mut wrong = tensors.clone();
        let (shape, data) = tensors[name].clone();
        wrong.insert(name.into(), (vec![data.len(), 1, 1], data));
        let said = complaint(|folder| write(folder, &config, &wrong));
        let shapes = said.contains(&format!("{shape:?}")) && said.contains(", 1, 1]");
        assert!(said.contains(name) && said.contains("model.safetensors") && shapes, "{said}");
    }
}

#[test]
fn a_folder_without_weights_or_configuration() {
    let (config, tensors) = tiny_checkpoint();
    let said = complaint(|folder| write_file(&folder.join("model.safetensors"), &tensors));
    assert!(said.contains("config.json"), "{said}");
    let said = complaint(|folder| config.write(folder).unwrap());
    assert!(said.contains("model.safetensors"), "{said}");
    let said = complaint(|folder| {
        config.write(folder).unwrap();
        std::fs::write(folder.join("pytorch_model.bin"), [0x80, 2]).unwrap();
    });
    assert!(said.contains("pytorch_model.bin") && said.contains("convert"), "{said}");
    let said = complaint(|folder| {
        write(folder, &config, &tensors);
        let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
        std::fs::write(folder.join("model.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    });
    assert!(said.contains("model.safetensors") && said.contains("fetch"), "{said}");
}

/// What loading says where `config.json` has this field otherwise; a path into the object by dots.
fn config_complaint(field: &str, value: Value) -> String {
    let (config, tensors) = tiny_checkpoint();
    complaint(|folder| {
        write(folder, &config, &tensors);
        let mut changed = serde_json::to_value(&config).unwrap();
        let pointer = format!("/{}", field.replace('.', "/"));
        match changed.pointer_mut(&pointer) {
            Some(place) => *place = value,
            None => changed[field] = value,
        }
        std::fs::write(folder.join("config.json"), changed.to_string()).unwrap();
    })
}

#[test]
fn configurations_out_of_range_are_refused_by_field() {
    let wrong = [
        ("model_type", json!("bart")),
        ("vocab_size", json!(0)),
        ("d_model", json!(0)),
        ("d_kv", json!(1u64 << 40)),
        ("d_ff", json!(0)),
        ("num_layers", json!(0)),
        ("num_decoder_layers", json!(0)),
        ("num_heads", json!(0)),
        ("relative_attention_num_buckets", json!(6)),
        ("relative_attention_max_distance", json!(16)),
        ("layer_norm_epsilon", json!(-1.0)),
        ("dropout_rate", json!(1.0)),
        ("dropout_rate", json!(-0.1)),
        ("pad_token_id", json!(53)),
        ("eos_token_id", json!(53)),
        ("decoder_start_token_id", json!(1000)),
        ("glimmer.live_layers", json!(7)),
        ("glimmer.rerank_layers", json!(4)),
        ("glimmer.selected", json!(0)),
        ("glimmer.temperature", json!(0.0)),
        ("glimmer.distill_weight", json!(-1.0)),
        ("glimmer.retrieval_weight", json!(-1.0)),
    ];
    for (field, value) in wrong {
        let said = config_complaint(field, value.clone());
        assert!(said.contains(field) && said.contains("config.json"), "{field} = {value}: {said}");
    }
}

#[test]
fn configurations_of_another_kind_are_refused() {
    for (field, value) in [("d_model", json!("wide")), ("num_layers", json!(-3)), ("glimmer.score_pool", json!("last"))]
    {
        let said = config_complaint(field, value.clone());
        assert!(said.contains("config.json"), "{field} = {value}: {said}");
    }
    let said = config_complaint("glimmer", json!({"live_layers": 1, "rerank_layers": 0, "selected": 1, "slected": 2}));
    assert!(said.contains("slected"), "{said}");
}

#[test]
fn readers_are_t5_1_1() {
    for (field, value) in [("feed_forward_proj", json!("relu")), ("tie_word_embeddings", json!(true))] {
        let said = config_complaint(field, value);
        assert!(said.contains("T5 1.0") && said.contains(field) && said.contains("google/t5-v1_1"), "{said}");
    }
}

#[test]
fn cuts_that_the_encoder_does_not_allow() {
    let (config, tensors) = tiny_checkpoint();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config, &tensors);
    let wrong = [
        (tiny::cut(7, 0, 1), "live_layers is 7"),
        (tiny::cut(2, 3, 1), "rerank_layers is 3"),
        (tiny::cut(2, 1, 0), "selected is 0"),
        (Glimmer { reranker: true, ..tiny::cut(2, 0, 1) }, "reranker is true"),
        (Glimmer { temperature: f64::NAN, ..tiny::cut(2, 1, 1) }, "temperature is NaN"),
    ];
    for (glimmer, what) in wrong {
        let loaded = Reader::load(glimmer::cpu::Cpu::<f32>::default(), folder.path(), |_| Ok(glimmer.clone()));
        let said = format!("{:#}", loaded.err().expect(what));
        assert!(said.contains(what) && said.contains(&*folder.path().to_string_lossy()), "{said}");
        let begun = Reader::random(glimmer::cpu::Cpu::<f32>::default(), config.clone(), glimmer, 1);
        assert!(format!("{:#}", begun.err().expect(what)).contains(what));
    }
}
