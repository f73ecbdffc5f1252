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
    let begin = |ids: &[u32]| ids[..6].to_vec();
    let drawn = data.draw(0..2000).unwrap();
    assert_eq!(drawn, data.draw(0..2000).unwrap());
    assert_ne!(drawn[0], drawn[1]);
    // Page 63 is the one kept back; its title comes first.
    let title: Vec<u32> = tokenizer().encode("title: basufi").unwrap();
    assert!(drawn.iter().all(|drawn| drawn.question == [Tokenizer::EOS] && drawn.passages.len() == 1));
    assert!(!title.is_empty() && !begin(&held_out[0].passages[0]).is_empty());
}
