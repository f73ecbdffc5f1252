//! Where passages come from, and how many there are.

use std::collections::BTreeMap;

use glimmer::io::{Stored, write_tensors};
use glimmer::kilt::read_predictions;
use glimmer::random;
use half::bf16;
use serde_json::json;

use crate::world::{PAGES, QUESTIONS, World, asked, lines, question};

fn pages_read(world: &World, file: &str) -> Vec<Vec<String>> {
    read_predictions(&world.path(file)).unwrap().into_iter().map(|p| p.pages).collect()
}

#[test]
fn more_passages_than_there_are_is_all_of_them() {
    let world = World::new();
    let ask = world.ask().set("--k", "100").file("--predictions", "out").file("--json", "all.json");
    let ran = ask.succeed();
    assert!(ran.err.contains(&format!("{PAGES} passages, fewer than the 100 asked for")), "{}", ran.err);
    // BM25 finds the pages that share a word with the question: "is", "thing" and "near" are in all of them.
    let read = pages_read(&world, "out/lumen/nq.jsonl");
    assert!(read.iter().all(|pages| pages.len() == PAGES), "{read:?}");
    assert_eq!(world.json("all.json")["readers"][0]["tasks"][0]["before"]["at_k"][3]["recall"], 1.0);
}

#[test]
fn m_is_at_most_k_and_at_most_what_was_found() {
    let world = World::new();
    let glimmer = world.ask().set("--readers", "glimmer").file("--predictions", "out");
    glimmer.clone().set("--k", "6").set("--m", "7").refuse(&["--m 7", "--k 6"]);
    glimmer.clone().set("--k", "2").succeed();
    assert!(pages_read(&world, "out/glimmer/nq.jsonl").iter().all(|pages| pages.len() == 2));
    // Two pages have this word; the checkpoint reads three.
    world.write("nq-dev.jsonl", lines([question(7, &crate::world::word(7))]));
    glimmer.tasks(&["nq-dev.jsonl"]).succeed();
    assert_eq!(pages_read(&world, "out/glimmer/nq.jsonl")[0].len(), 2);
}

#[test]
fn a_question_that_finds_nothing_has_an_empty_answer() {
    let world = World::new();
    world.write("nq-dev.jsonl", lines([question(0, "xyzzy plugh"), question(1, &asked(1))]));
    let ask = world.ask().tasks(&["nq-dev.jsonl"]).file("--predictions", "out").file("--json", "all.json");
    let ran = ask.succeed();
    for (i, reader) in ["fid", "lumen", "glimmer"].into_iter().enumerate() {
        assert!(ran.out.contains(&format!("{reader}, nq: questions for which nothing was found: 1\n")), "{}", ran.out);
        assert_eq!(world.json("all.json")["readers"][i]["tasks"][0]["without_passages"], 1);
        let predictions = read_predictions(&world.path(&format!("out/{reader}/nq.jsonl"))).unwrap();
        assert_eq!((predictions[0].answer.as_deref(), predictions[0].pages.len()), (Some(""), 0));
        assert_ne!(predictions[1].answer.as_deref(), Some(""));
    }
}

#[test]
fn passages_can_come_with_the_questions() {
    let world = World::new();
    let row = |i: usize| {
        let mut row = question(i, &asked(i));
        row["ctxs"] = (0..1 + i % 4)
            .map(|j| json!({"id": 900 + j, "title": format!("Title {j}"), "text": format!("Text {j} of {i}.")}))
            .collect();
        row
    };
    world.write("nq-dev.jsonl", lines((0..QUESTIONS).map(row)));
    let ask = world.ask().set("--retriever", "given").tasks(&["nq-dev.jsonl"]).without("--knowledge");
    let ask = ask.file("--predictions", "out").file("--json", "all.json");
    ask.succeed();
    for (i, pages) in pages_read(&world, "out/lumen/nq.jsonl").iter().enumerate() {
        assert_eq!(*pages, ["900", "901", "902", "903"][..1 + i % 4]);
    }
    assert!(pages_read(&world, "out/glimmer/nq.jsonl").iter().all(|pages| (1..=3).contains(&pages.len())));
    assert_eq!(world.json("all.json")["settings"]["knowledge"], serde_json::Value::Null);
    assert!(!world.path("work").exists(), "nothing was to be made");
    world.write("nq-dev.jsonl", lines((0..2).map(|i| question(i, &asked(i)))));
    ask.refuse(&["nq-dev.jsonl:1", "ctxs"]);
}

/// A folder in the layout of sentence-transformers: a T5 1.0 encoder, and the projection behind it.
fn dense_checkpoint(world: &World, name: &str) {
    const D: usize = 16;
    let folder = world.path(name);
    std::fs::create_dir_all(folder.join("2_Dense")).unwrap();
    let config = json!({
        "model_type": "t5", "vocab_size": 32128, "d_model": D, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
    });
    world.write(&format!("{name}/config.json"), config.to_string());
    let mut shapes = vec![
        ("shared.weight".to_string(), vec![32128, D]),
        ("encoder.final_layer_norm.weight".into(), vec![D]),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight".into(), vec![32, 2]),
    ];
    for block in 0..2 {
        let place = |rest: &str| format!("encoder.block.{block}.layer.{rest}.weight");
        shapes.extend(["q", "k", "v", "o"].map(|part| (place(&format!("0.SelfAttention.{part}")), vec![D, D])));
        shapes.extend([(place("0.layer_norm"), vec![D]), (place("1.layer_norm"), vec![D])]);
        shapes.extend([(place("1.DenseReluDense.wi"), vec![32, D]), (place("1.DenseReluDense.wo"), vec![D, 32])]);
    }
    write_random(&folder.join("model.safetensors"), &shapes);
    write_random(&folder.join("2_Dense/model.safetensors"), &[("linear.weight".into(), vec![12, D])]);
    world.tokenizer(name);
}

fn write_random(path: &std::path::Path, shapes: &[(String, Vec<usize>)]) {
    let values = |(stream, (_, shape)): (usize, &(String, Vec<usize>))| {
        let count = shape.iter().product::<usize>() as u64;
        (0..count).map(|i| bf16::from_f64(0.3 * random::normal(5, stream as u64, i))).collect::<Vec<_>>()
    };
    let values: Vec<_> = shapes.iter().enumerate().map(values).collect();
    let pairs = shapes.iter().zip(&values);
    let stored: Vec<_> = pairs.map(|((name, shape), v)| (name.clone(), shape.clone(), Stored::Bf16(v))).collect();
    write_tensors(path, &BTreeMap::new(), &stored).unwrap();
}

#[test]
fn a_dense_retriever_finds_what_reads_like_the_question() {
    let world = World::new();
    dense_checkpoint(&world, "gtr");
    // A question that is its page, word for word, has that page's vector.
    let itself = |i: usize| {
        let page = crate::world::page(i);
        let title = page["wikipedia_title"].as_str().unwrap();
        question(i, &format!("{title} {}", page["text"][1].as_str().unwrap()))
    };
    world.write("nq-dev.jsonl", lines((0..QUESTIONS).map(itself)));
    let ask = world.ask().tasks(&["nq-dev.jsonl"]).set("--retriever", "dense").set("--readers", "fid,lumen");
    ask.refuse(&["--dense-checkpoint"]);
    ask.clone().file("--dense-checkpoint", "model").refuse(&["--dense-checkpoint", "2_Dense"]);
    assert!(!world.path("work").exists(), "the corpus was cut before the retriever was looked at");
    let ask = ask.file("--dense-checkpoint", "gtr").set("--question-tokens", "304").file("--predictions", "out");
    ask.succeed();
    let first = pages_read(&world, "out/lumen/nq.jsonl");
    for (i, pages) in first.iter().enumerate() {
        assert_eq!((pages.len(), &pages[0]), (10, &format!("{}", 100 + i)));
    }
    ask.succeed();
    assert_eq!(pages_read(&world, "out/lumen/nq.jsonl"), first);
}
