//! Span corruption, and what begins from it.

use glimmer::experiment::{Data, Init, Line, Objective, Settings, SpanCorruption};
use glimmer::io::Tokenizer;

use crate::world::World;

fn pretraining(world: &World) -> Settings {
    let objective = Objective::SpanCorruption(SpanCorruption::default());
    Settings { objective, tasks: Vec::new(), ..world.settings() }
}

#[test]
fn a_reader_is_pretrained_and_then_trained() {
    let world = World::new();
    world.train(&pretraining(&world), "pretrained");
    let dev = |line: &Line| match line {
        Line::Evaluated { evaluation, .. } => evaluation.loss,
        Line::Trained { .. } => None,
    };
    let losses: Vec<f64> = world.log("pretrained").iter().filter_map(dev).collect();
    assert_eq!(losses.len(), 3);
    assert!(losses.iter().all(|loss| loss.is_finite()));
    let tasks = Settings { init: Init::Checkpoint("pretrained/last".into()), reader: None, ..world.settings() };
    let trainer = world.train(&tasks, "trained");
    assert_eq!(trainer.reader().glimmer, world.settings().reader.unwrap());
}

#[test]
fn passages_kept_back_are_not_learned_from() {
    let world = World::new();
    let tokenizer = || Tokenizer::open(&world.path("tokenizer")).unwrap();
    let data = Data::open(&world.plan(pretraining(&world), "none"), tokenizer(), 1).unwrap();
    let held_out = data.held_out(100).unwrap();
    assert_eq!(held_out.len(), 1, "one of 80");
    assert!(drawn_without(&held_out[0].passages[0], &data, 2000));
    let drawn = data.draw(0..200).unwrap();
    assert_eq!(drawn, data.draw(0..200).unwrap());
    assert_ne!(drawn[0], drawn[1]);
    assert!(drawn.iter().all(|drawn| drawn.question == [Tokenizer::EOS] && drawn.passages.len() == 1));
}

/// Whether no example is made of the passage that `corrupted` came from: a page's name, which most corruptions
/// spare, is no other's.
fn drawn_without(corrupted: &[u32], data: &Data, examples: u64) -> bool {
    let kept_back = data.corpus().unwrap().passage(63).unwrap();
    let name = data.prompts().tokenizer.encode_without_eos(&kept_back.title).unwrap();
    let has = |ids: &[u32]| ids.windows(name.len()).any(|window| window == name);
    // Page 62 says that it is near page 63: names stand at the beginning of their own page's text only.
    let begins = |ids: &[u32]| has(&ids[..ids.len().min(name.len() + 10)]);
    assert!(begins(corrupted), "the corruption of the passage kept back spares its name");
    data.draw(0..examples).unwrap().iter().all(|drawn| !begins(&drawn.passages[0]))
}
