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
    let pages = std::fs::read_to_string(world.path("knowledge.jsonl")).unwrap();
    // Of 80 passages number 63 is kept back; no other one has this letter.
    let page = r#"{"wikipedia_id": "163", "wikipedia_title": "q", "text": ["q", "qqqq qqqq qqqq"]}"#;
    let pages: Vec<&str> = pages.lines().enumerate().map(|(i, line)| if i == 63 { page } else { line }).collect();
    world.write("knowledge.jsonl", pages.join("\n"));
    let tokenizer = Tokenizer::open(&world.path("tokenizer")).unwrap();
    let letter = tokenizer.encode_without_eos("q").unwrap()[1];
    let data = Data::open(&world.plan(pretraining(&world), "none"), tokenizer, 1).unwrap();
    let held_out = data.held_out(100).unwrap();
    assert_eq!(held_out.len(), 1);
    assert!(held_out[0].passages[0].contains(&letter));
    let drawn = data.draw(0..2000).unwrap();
    assert!(drawn.iter().all(|drawn| !drawn.passages[0].contains(&letter) && !drawn.target.contains(&letter)));
    assert!(drawn.iter().all(|drawn| drawn.question == [Tokenizer::EOS] && drawn.passages.len() == 1));
    assert_eq!(drawn[..20], data.draw(0..20).unwrap());
    assert_ne!(drawn[0], drawn[1]);
}
