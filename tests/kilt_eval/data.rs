//! Task files of every kind that there are.

use serde_json::{Value, json};

use crate::world::{QUESTIONS, World, asked, lines, question};

fn tasks(world: &World, name: &str) -> Vec<Value> {
    let report = world.json(name);
    let readers = report["readers"].as_array().unwrap();
    readers.iter().map(|reader| reader["tasks"][0].clone()).collect()
}

#[test]
fn what_is_longer_than_its_budget_is_cut_counted_and_reported() {
    let world = World::new();
    let long = format!("{} {}", asked(0), "and again ".repeat(60));
    world.write("nq-dev.jsonl", lines([question(0, &long), question(1, &asked(1))]));
    let ask = world.ask().tasks(&["nq-dev.jsonl"]).set("--passage-tokens", "40").file("--json", "cut.json");
    let ran = ask.succeed();
    let cut = tasks(&world, "cut.json");
    for (task, reader) in cut.iter().zip(["fid", "lumen", "glimmer"]) {
        assert_eq!(task["truncated_questions"], 1);
        assert!(task["truncated_passages"].as_u64().unwrap() > 0);
        assert!(ran.out.contains(&format!("{reader}, nq: questions cut to their budget: 1\n")), "{}", ran.out);
        assert!(ran.out.contains(&format!("{reader}, nq: passages cut to their budget: ")), "{}", ran.out);
    }
    ask.set("--store", "none").file("--json", "fresh.json").succeed();
    let counts = |tasks: &[Value]| tasks.iter().map(|task| task["truncated_passages"].clone()).collect::<Vec<_>>();
    assert_eq!(counts(&tasks(&world, "fresh.json")), counts(&cut), "a store hides no cut");
}

#[test]
fn a_reader_reads_as_many_tokens_as_it_was_trained_with() {
    let world = World::new();
    let ask = world.ask().tasks(&["nq-dev.jsonl"]).set("--readers", "glimmer");
    let read = |name: &str| {
        let reader = world.json(name)["readers"][0].clone();
        (reader["passage_tokens"].clone(), reader["tasks"][0]["multiply_adds"].clone())
    };
    ask.clone().file("--json", "untold.json").succeed();
    ask.clone().set("--passage-tokens", "20").file("--json", "told.json").succeed();
    let trained = json!({"knowledge": "k.jsonl", "tasks": [{"train": "t.jsonl"}], "passage_tokens": 20});
    world.write("model/experiment.json", trained.to_string());
    ask.clone().file("--json", "trained.json").succeed();
    assert_eq!(read("untold.json").0, 304);
    assert_eq!(read("trained.json").0, 20);
    assert_eq!(read("trained.json"), read("told.json"));
    world.write("model/experiment.json", "{}");
    ask.refuse(&["experiment.json", "knowledge is missing"]);
}

#[test]
fn a_checkpoint_may_say_what_the_retrievers_order_weighs() {
    let world = World::new();
    let mut config = world.json("model/config.json");
    config["glimmer"]["retrieval_weight"] = json!(1e6);
    world.write("model/config.json", config.to_string());
    let ask = world.ask().tasks(&["nq-dev.jsonl"]).set("--readers", "glimmer").file("--json", "numbers.json");
    let ran = ask.succeed();
    assert!(ran.out.contains("1 rerank, the retriever's order weighs 1000000, "), "{}", ran.out);
    let reader = world.json("numbers.json")["readers"][0].clone();
    assert_eq!(reader["retrieval_weight"], 1e6);
    assert_eq!(reader["tasks"][0]["after"], reader["tasks"][0]["before"], "nothing else counts");
}

#[test]
fn triviaqa_gets_its_questions_from_a_file_beside() {
    let world = World::new();
    let bare = |i| {
        let mut row = question(i, "");
        row.as_object_mut().unwrap().remove("input");
        row
    };
    world.write("triviaqa-dev_id-kilt.jsonl", lines((0..QUESTIONS).map(bare)));
    let ask = world.ask().tasks(&["triviaqa-dev_id-kilt.jsonl"]).set("--readers", "fid");
    ask.refuse(&["triviaqa-dev_id-kilt.jsonl:1", "--inputs triviaqa=FILE"]);
    let inputs = format!("triviaqa={}", world.path("inputs.jsonl").display());
    let ask = ask.set("--inputs", &inputs);
    world.write("inputs.jsonl", lines((0..3).map(|i| json!({"id": format!("q{i}"), "input": asked(i)}))));
    ask.refuse(&["inputs.jsonl", "q3"]);
    world.write("inputs.jsonl", lines((0..20).map(|i| json!({"id": format!("q{i}"), "input": asked(i)}))));
    ask.clone().file("--json", "given.json").file("--predictions", "given").succeed();
    assert_eq!(tasks(&world, "given.json")[0]["questions"], QUESTIONS);
    world.ask().tasks(&["nq-dev.jsonl"]).set("--readers", "fid").file("--predictions", "whole").succeed();
    assert_eq!(world.read("given/fid/triviaqa.jsonl"), world.read("whole/fid/nq.jsonl"));
}

#[test]
fn a_task_of_another_name_needs_a_metric() {
    let world = World::new();
    world.write("mine.jsonl", world.read("nq-dev.jsonl"));
    let ask = world.ask().tasks(&["mine.jsonl"]).set("--readers", "fid");
    ask.refuse(&["mine", "--metric mine=em"]);
    let ask = ask.file("--json", "mine.json");
    ask.clone().set("--metric", "mine=accuracy").succeed();
    assert_eq!(tasks(&world, "mine.json")[0]["metric"], "accuracy");
    ask.clone().set("--metric", "mine=f1").refuse(&["mine=f1", "em or accuracy"]);
    ask.set("--metric", "nine=em").refuse(&["nine", "the tasks are mine"]);
}

#[test]
fn a_test_split_is_read_without_a_score() {
    let world = World::new();
    let without = |i: usize| json!({"id": i, "input": asked(i)});
    world.write("nq-test.jsonl", lines((0..QUESTIONS).map(without)));
    let ask = world.ask().tasks(&["nq-test.jsonl"]).set("--readers", "lumen");
    ask.clone().file("--plot", "plot.svg").refuse(&["--plot", "gold answers"]);
    assert!(!world.path("work").exists(), "the plot was refused after the long work");
    let ran = ask.file("--json", "test.json").file("--predictions", "out").succeed();
    let task = &tasks(&world, "test.json")[0];
    for score in ["score", "kilt_score", "answers", "kilt"] {
        assert_eq!(task[score], Value::Null, "{score}");
    }
    assert_eq!(task["without_answers"], QUESTIONS);
    assert_eq!(world.json("test.json")["readers"][0]["mean"]["score"], Value::Null);
    let row = ran.out.lines().find(|line| line.starts_with("nq")).unwrap();
    assert_eq!(row.split_whitespace().nth(2), Some("–"), "{row}");
    assert_eq!(world.read("out/lumen/nq.jsonl").lines().count(), QUESTIONS);
}

#[test]
fn relevance_keeps_questions_whose_evidence_was_found() {
    let world = World::new();
    let scored = |i: usize| {
        let mut row = question(i, &asked(i));
        row["output"][0]["provenance"][0]["bleu_score"] = json!(i as f64 / 10.0);
        row
    };
    world.write("nq-dev.jsonl", lines((0..QUESTIONS).map(scored)));
    let ask = world.ask().tasks(&["nq-dev.jsonl"]).set("--readers", "fid").file("--json", "kept.json");
    let ran = ask.clone().set("--relevance-threshold", "0.65").succeed();
    assert_eq!(tasks(&world, "kept.json")[0]["questions"], 3);
    assert!(ran.err.contains("nq: 3 questions kept by relevance, 7 dropped"), "{}", ran.err);
    ask.clone().set("--relevance-threshold", "1").refuse(&["--relevance-threshold 1", "no question", "nq-dev.jsonl"]);
    ask.set("--relevance-threshold", "1.5").refuse(&["--relevance-threshold 1.5"]);
}

#[test]
fn questions_are_drawn_evenly_and_keep_their_order() {
    let world = World::new();
    let ask = world.ask().set("--readers", "fid").tasks(&["nq-dev.jsonl"]).file("--predictions", "out");
    ask.clone().set("--questions", "all").succeed();
    let all = world.read("out/fid/nq.jsonl");
    ask.set("--questions", "4").succeed();
    let some = world.read("out/fid/nq.jsonl");
    assert_eq!(some.lines().count(), 4);
    let mut rest = all.lines();
    assert!(some.lines().all(|line| rest.any(|other| other == line)), "{some} in {all}");
}
