//! Runs in parts, and what a run leaves behind.

use glimmer::backend::{Mat, Pool};
use glimmer::cpu::Cpu;
use glimmer::experiment::{Line, RerankerInit, Settings};
use glimmer::io::Tokenizer;
use glimmer::model::{Glimmer, Reader};
use glimmer::nn::Tree;
use glimmer::train::{Decay, MemoryEncoder};

use crate::world::{World, count, every};

#[test]
fn a_run_in_parts_equals_one_in_a_piece() {
    let world = World::new();
    let whole = Settings { clip_norm: Some(0.5), decay: Decay::InverseSquareRoot, warmup_steps: 3, ..world.settings() };
    world.train(&whole, "whole");
    for steps in [4, 7, 12] {
        world.train(&Settings { steps, save_every: every(3), ..whole.clone() }, "parts");
    }
    // The ends of the parts were evaluated too.
    let at_ends = |line: &Line| matches!(line, Line::Evaluated { step: 7, .. });
    let lines: Vec<Line> = world.log("parts").into_iter().filter(|line| !at_ends(line)).collect();
    let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    world.write("parts/log.jsonl", text);
    world.assert_same("whole", "parts");
}

#[test]
fn double_precision_and_a_frozen_memory_go_on_too() {
    let world = World::new();
    let settings = Settings { memory: MemoryEncoder::Frozen, evaluate_every: every(100), ..world.settings() };
    world.open::<f64>(&Settings { steps: 6, ..settings.clone() }, "whole").run().unwrap();
    for steps in [2, 6] {
        world.open::<f64>(&Settings { steps, ..settings.clone() }, "parts").run().unwrap();
    }
    let bytes = |name: &str| std::fs::read(world.path(name)).unwrap();
    for file in ["model.safetensors", "optimiser.safetensors"] {
        assert!(bytes(&format!("whole/last/{file}")) == bytes(&format!("parts/last/{file}")), "{file}");
    }
}

#[test]
fn what_a_run_leaves_can_be_used() {
    let world = World::new();
    let trainer = world.train(&world.settings(), "run");
    let log = world.log("run");
    let losses: Vec<f64> = log.iter().filter_map(trained).collect();
    assert_eq!(losses.len(), 12);
    assert!(losses.iter().all(|loss| loss.is_finite()));
    let evaluated = log.iter().filter(|line| matches!(line, Line::Evaluated { .. }));
    assert_eq!(evaluated.count(), 3);
    let svg = std::fs::read_to_string(world.path("run/log.svg")).unwrap();
    assert!(svg.contains("dev score") && svg.contains("distillation"));
    for name in ["best", "last"] {
        let folder = world.path("run").join(name);
        let reader = Reader::load(Cpu::<f32>::default(), &folder, |config| Ok(config.glimmer.clone().unwrap()));
        assert_eq!(reader.unwrap().glimmer, trainer.reader().glimmer);
        Tokenizer::open(&folder).unwrap();
        assert_eq!(Settings::read(&folder.join("experiment.json")).unwrap(), world.settings());
    }
    let left = std::fs::read_dir(world.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left: Vec<String> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [".lock", "best", "experiment.json", "last", "log.jsonl", "log.svg"]);
}

fn trained(line: &Line) -> Option<f64> {
    match line {
        Line::Trained { lm_loss, .. } => Some(*lm_loss),
        Line::Evaluated { .. } => None,
    }
}

#[test]
fn training_lowers_the_loss() {
    let world = World::new();
    let settings = Settings {
        steps: 120,
        batch: count(8),
        dropout: Some(0.0),
        log_every: every(20),
        evaluate_every: every(120),
        ..world.settings()
    };
    world.train(&settings, "run");
    let losses: Vec<f64> = world.log("run").iter().filter_map(trained).collect();
    assert!(losses[5] < 0.7 * losses[0], "{losses:?}");
}

#[test]
fn a_frozen_memory_encoder_stays_and_the_rest_moves() {
    let world = World::new();
    let settings = Settings { memory: MemoryEncoder::Frozen, steps: 2, ..world.settings() };
    let mut trainer = world.open::<f32>(&settings, "run");
    let weights = |trainer: &glimmer::experiment::Trainer<Cpu<f32>>| {
        let reader = trainer.reader();
        let specs = glimmer::model::Weights::spec(&reader.config, &reader.glimmer);
        let leaves = specs.leaves().into_iter().zip(reader.weights.leaves());
        leaves.map(|(spec, w)| (spec.name.clone(), w.download(&reader.be).unwrap())).collect::<Vec<_>>()
    };
    let before = weights(&trainer);
    trainer.run().unwrap();
    for ((name, before), (_, after)) in before.iter().zip(&weights(&trainer)) {
        let bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
        let frozen = name == "shared.weight" || name == bias || name.starts_with("encoder.block.0.");
        assert_eq!(before == after, frozen, "{name}");
    }
}

#[test]
fn a_separate_reranker_begins_as_the_encoder_or_at_random() {
    let world = World::new();
    let leaves = |reranker_init, output: &str| {
        let mut settings = Settings { reranker_init, ..world.settings() };
        settings.reader.as_mut().unwrap().reranker = true;
        settings.reader.as_mut().unwrap().question_encoder = true;
        let trainer = world.open::<f32>(&settings, output);
        let reader = trainer.reader();
        let values = |w: &Mat<Cpu<f32>>| w.download(&reader.be).unwrap();
        let encoder = reader.weights.encoder.layers.blocks[1].leaves().into_iter().map(values).collect::<Vec<_>>();
        let own = reader.weights.reranker.as_ref().unwrap().blocks[0].leaves().into_iter().map(values);
        (encoder, own.collect::<Vec<_>>())
    };
    let (encoder, own) = leaves(RerankerInit::Encoder, "copied");
    assert!(own == encoder);
    let (encoder, own) = leaves(RerankerInit::Random, "random");
    assert!(own.iter().zip(&encoder).any(|(own, encoder)| own != encoder));
    let settings = Settings { steps: 2, ..world.settings() };
    let ablation = |change: &dyn Fn(&mut Glimmer)| {
        let mut settings = settings.clone();
        change(settings.reader.as_mut().unwrap());
        settings
    };
    world.train(&ablation(&|reader| (reader.reranker, reader.question_encoder) = (true, true)), "ablated");
    world.train(&ablation(&|reader| (reader.score_norm, reader.score_pool) = (true, Pool::Mean)), "scored");
}
