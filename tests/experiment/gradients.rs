//! What a batch is, whatever it is divided into.

use std::collections::HashSet;

use glimmer::cpu::Cpu;
use glimmer::experiment::{Data, Drawn, Examples, Gold, Line, Retriever, Settings, Target, micro_batches};
use glimmer::io::Tokenizer;
use glimmer::model::Reader;
use glimmer::nn::{Recompute, Tree};
use glimmer::train::{Losses, MemoryEncoder, Pass, Teacher, gradients, zero_gradients};

use crate::world::{World, count};

fn data(world: &World, settings: Settings) -> Data {
    let tokenizer = Tokenizer::open(&world.path("tokenizer")).unwrap();
    let selected = settings.reader.as_ref().unwrap().selected;
    Data::open(&world.plan(settings, "none"), tokenizer, selected).unwrap()
}

/// The gradient of a batch that passes in parts of so many tokens.
fn gradient(reader: &Reader<Cpu<f64>>, batch: &[Drawn], tokens: usize) -> (Losses, Vec<Vec<f64>>) {
    let pass = Pass {
        memory: MemoryEncoder::Trained,
        recompute: Recompute::Nothing,
        dropout: 0.0,
        seed: 1,
        lm_scale: 0.1,
        distill_scale: 0.2,
        teacher: Teacher::Perplexity,
    };
    let (mut grads, mut losses) = (zero_gradients(reader).unwrap(), Losses::default());
    for part in micro_batches(batch, tokens) {
        losses += gradients(reader, &Examples::new(part).examples(), &pass, &mut grads).unwrap();
    }
    (losses, grads.leaves().into_iter().map(|grad| grad.buf.to_vec()).collect())
}

#[test]
fn parts_add_up_to_the_whole() {
    let world = World::new();
    let settings = world.settings();
    let batch = data(&world, settings.clone()).draw(0..7).unwrap();
    let trainer = world.open::<f64>(&settings, "run");
    let reader = trainer.reader();
    let (whole_losses, whole) = gradient(reader, &batch, usize::MAX);
    let (losses, parts) = gradient(reader, &batch, 1);
    assert_eq!((losses.tokens, losses.questions), (whole_losses.tokens, 7));
    assert!((losses.lm - whole_losses.lm).abs() <= 1e-10 * losses.lm);
    for (whole, part) in whole.iter().zip(&parts) {
        let norm = whole.iter().map(|x| x * x).sum::<f64>().sqrt();
        let off = whole.iter().zip(part).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        assert!(off <= 1e-10 * norm.max(1e-6), "{off:e} of {norm:e}");
    }
}

#[test]
fn draws_depend_on_seed_and_number_alone() {
    let world = World::new();
    let settings = world.settings();
    let draw = |settings: &Settings, numbers| data(&world, settings.clone()).draw(numbers).unwrap();
    let all = draw(&settings, 0..20);
    assert_eq!(draw(&settings, 5..9), all[5..9]);
    assert_ne!(draw(&Settings { seed: 2, ..settings.clone() }, 0..20), all);
    assert!(all.iter().all(|drawn| (1..=4).contains(&drawn.passages.len())));
    assert!(all.iter().all(|drawn| drawn.target.last() == Some(&Tokenizer::EOS)));
    // Every question has the one page of its evidence; where it was not retrieved, it came in.
    for Drawn { numbers, evidence, .. } in &all {
        assert_eq!((numbers.len(), evidence.iter().filter(|&&gold| gold).count()), (evidence.len(), 1));
    }
}

#[test]
fn a_thin_task_asks_with_fewer_words_and_learns_the_same() {
    let world = World::new();
    let settings = world.settings();
    let whole = data(&world, settings.clone()).draw(0..60).unwrap();
    let mut thin = settings;
    thin.tasks[0].thin = 0.5;
    let thin = data(&world, thin).draw(0..60).unwrap();
    let shorter = |(whole, thin): (&Drawn, &Drawn)| thin.question.len() < whole.question.len();
    let shorter = whole.iter().zip(&thin).filter(|&pair| shorter(pair)).count();
    assert!((10..50).contains(&shorter), "{shorter}: one task of the two is thin");
    for (whole, thin) in whole.into_iter().zip(thin) {
        let asked = thin.question.clone();
        assert_eq!(thin, Drawn { question: asked, ..whole });
    }
}

/// The reader's own probabilities say nothing to the scores where all passages are read; the evidence does.
#[test]
fn evidence_teaches_where_everything_is_read() {
    let world = World::new();
    let distilled = |line: Line| match line {
        Line::Trained { distill_loss, .. } => distill_loss,
        Line::Evaluated { .. } => None,
    };
    for (teacher, name, taught) in [(Teacher::Perplexity, "reader", 0), (Teacher::Evidence, "evidence", 2)] {
        world.train(&Settings { teacher, passages: count(2), steps: 2, ..world.settings() }, name);
        let losses: Vec<f64> = world.log(name).into_iter().filter_map(distilled).collect();
        assert_eq!(losses.len(), taught, "{losses:?}");
        assert!(losses.iter().all(|loss| *loss > 0.0), "{losses:?}");
    }
}

#[test]
fn answers_are_drawn_or_the_first_one_is_taken() {
    let world = World::new();
    let targets = |target| {
        let drawn = data(&world, Settings { target, ..world.settings() }).draw(0..300).unwrap();
        drawn.into_iter().map(|drawn| drawn.target).collect::<HashSet<_>>().len()
    };
    // Seven kinds of things are the first answers; the second ones are the pages' own names.
    assert_eq!(targets(Target::First), 7);
    assert!(targets(Target::Random) > 20);
}

#[test]
fn gold_passages_come_in_among_those_that_are_read() {
    let world = World::new();
    let question =
        r#"{"id": "q", "input": "badebade", "output": [{"answer": "x", "provenance": [{"wikipedia_id": "170"}]}]}"#;
    world.write("nq-train.jsonl", question);
    let settings = Settings { passages: count(1), ..world.settings() };
    let settings = Settings { tasks: settings.tasks[..1].to_vec(), ..settings };
    let gold = data(&world, settings.clone()).draw(0..1).unwrap();
    assert_eq!(gold[0].passages.len(), 1, "nothing is retrieved for this question");
    assert_eq!(gold[0].evidence, [true]);
    let kept = data(&world, settings.clone());
    let text = kept.corpus().unwrap().passage(70).unwrap();
    assert_eq!(gold[0].passages[0], kept.prompts().passages(&[text]).unwrap()[0].ids);
    let mut kept_alone = settings.clone();
    kept_alone.tasks[0].gold = Some(Gold::Keep);
    for settings in [Settings { gold: Gold::Keep, ..settings.clone() }, kept_alone] {
        let tokenizer = Tokenizer::open(&world.path("tokenizer")).unwrap();
        let error = Data::open(&world.plan(settings, "none"), tokenizer, 1).err().expect("no question is left");
        assert!(error.to_string().contains("no record"), "{error}");
    }
    let mut inserted_alone = Settings { gold: Gold::Keep, ..settings };
    inserted_alone.tasks[0].gold = Some(Gold::Insert);
    assert_eq!(data(&world, inserted_alone).draw(0..1).unwrap(), gold);
}

#[test]
fn passages_may_come_with_the_questions() {
    let world = World::new();
    let passages =
        r#""ctxs": [{"title": "", "text": "dededene"}, {"title": "", "text": "fifi"}, {"title": "", "text": "a"}]"#;
    for file in ["nq-train.jsonl", "nq-dev.jsonl"] {
        world.write(file, format!(r#"{{"id": 1, "input": "why?", "output": [{{"answer": "fifi"}}], {passages}}}"#));
    }
    let settings = Settings { retriever: Retriever::Given, knowledge: None, passages: count(2), ..world.settings() };
    let settings = Settings { tasks: settings.tasks[..1].to_vec(), steps: 2, ..settings };
    let drawn = data(&world, settings.clone()).draw(0..1).unwrap();
    assert_eq!(drawn[0].passages.len(), 2);
    world.train(&settings, "run");
}
