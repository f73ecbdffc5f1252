//! Tables, numbers, predictions and plot, and what they may depend on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use glimmer::kilt::{Metric, read_predictions, read_task, score};
use serde::Serialize;
use serde_json::{Value, json};

use crate::world::{Ask, QUESTIONS, World, asked, lines, question};

const READERS: [&str; 3] = ["fid", "lumen", "glimmer"];
const TASKS: [(&str, Metric); 2] = [("nq", Metric::ExactMatch), ("zsre", Metric::Accuracy)];

/// All prediction files of a run, by reader and task.
pub fn predictions(ask: &Ask<'_>, world: &World, folder: &str) -> BTreeMap<String, String> {
    ask.clone().file("--predictions", folder).succeed();
    prediction_files(world, folder)
}

pub fn prediction_files(world: &World, folder: &str) -> BTreeMap<String, String> {
    let names = READERS.iter().flat_map(|reader| TASKS.map(|(task, _)| format!("{reader}/{task}.jsonl")));
    let there = names.filter(|name| world.path(folder).join(name).exists());
    there.map(|name| (name.clone(), world.read(&format!("{folder}/{name}")))).collect()
}

/// What a value is after writing and reading, which may cost its last digit.
fn through_json(value: impl Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap()
}

fn close(a: &Value, b: f64) -> bool {
    (a.as_f64().unwrap() - b).abs() <= 1e-9 * b.abs()
}

/// Gives every other question of nq the answer that fid gives, so that scores are neither 0 nor 1.
fn make_fid_right_half_the_time(world: &World) {
    world.ask().set("--readers", "fid").set("--k", "6").file("--predictions", "first").succeed();
    let found = read_predictions(&world.path("first/fid/nq.jsonl")).unwrap();
    let row = |i: usize| {
        let mut row = question(i, &asked(i));
        if i.is_multiple_of(2) {
            row["output"][0]["answer"] = json!(found[i].answer);
        }
        row
    };
    world.write("nq-dev.jsonl", lines((0..QUESTIONS).map(row)));
}

#[test]
fn tables_numbers_predictions_and_plot_tell_one_story() {
    let world = World::new();
    make_fid_right_half_the_time(&world);
    let ask = world.ask().set("--k", "6").file("--json", "all.json").file("--plot", "plot.svg");
    let ran = ask.file("--predictions", "out").succeed();
    let report = world.json("all.json");
    assert_eq!(report["settings"]["interrupted"], false);
    let readers = report["readers"].as_array().unwrap();
    assert_eq!(readers.iter().map(|r| r["reader"].as_str().unwrap()).collect::<Vec<_>>(), READERS);
    for (reader, read) in readers.iter().zip([6, 6, 3]) {
        assert_eq!((&reader["retrieved"], &reader["read"]), (&json!(6), &json!(read)));
        let name = reader["reader"].as_str().unwrap();
        for (task, (task_name, metric)) in reader["tasks"].as_array().unwrap().iter().zip(TASKS) {
            assert_eq!((&task["task"], &task["metric"]), (&json!(task_name), &json!(metric.name())));
            scores_are_those_of_the_predictions(&world, name, task, metric);
            numbers_fit_each_other(task);
        }
        means_are_means(reader);
    }
    assert!(readers[0]["tasks"][0]["score"].as_f64().unwrap() >= 0.5, "fid gives the answers that it gave");
    stdout_has_the_numbers(&ran.out, readers);
    let svg = world.read("plot.svg");
    assert_eq!(svg.matches("<circle").count(), READERS.len(), "{svg}");
    assert!(svg.trim_end().ends_with("</svg>") && READERS.iter().all(|name| svg.contains(&format!("{name} 6 →"))));
}

fn scores_are_those_of_the_predictions(world: &World, reader: &str, task: &Value, metric: Metric) {
    let name = task["task"].as_str().unwrap();
    let records = read_task(&world.path(&format!("{name}-dev.jsonl"))).unwrap();
    let predictions = read_predictions(&world.path(&format!("out/{reader}/{name}.jsonl"))).unwrap();
    assert!(predictions.iter().all(|p| p.answer.is_some() && (1..=6).contains(&p.pages.len())));
    let scores = score(&records, &predictions, &[1]).unwrap();
    assert_eq!(task["answers"], through_json(scores.downstream.answers), "{reader}, {name}");
    assert_eq!(task["kilt"], through_json(scores.downstream.kilt), "{reader}, {name}");
    assert_eq!(task["score"], through_json(scores.headline(metric)));
    assert_eq!(task["kilt_score"], through_json(scores.downstream.kilt.headline(metric)));
    // The first page read is the reranker's first, and every question here has one page of evidence.
    assert_eq!(task["after"]["at_k"][0], through_json(scores.retrieval.at_k[0]));
    assert_eq!(task["after"]["r_precision"], through_json(scores.retrieval.r_precision));
    if reader != "glimmer" {
        assert_eq!(task["before"], task["after"], "{reader} reranked");
    }
}

fn numbers_fit_each_other(task: &Value) {
    for number in ["truncated_questions", "truncated_passages", "without_passages", "without_answers"] {
        assert_eq!(task[number], 0, "{number}");
    }
    assert_eq!((&task["questions"], &task["questions_asked"]), (&json!(QUESTIONS), &json!(QUESTIONS)));
    for order in ["before", "after"] {
        let ranks = task[order]["at_k"].as_array().unwrap();
        assert_eq!(ranks.iter().map(|at| at["k"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 5, 10, 20]);
        let recall: Vec<f64> = ranks.iter().map(|at| at["recall"].as_f64().unwrap()).collect();
        assert!(recall.is_sorted() && recall[0] >= 0.0 && recall[3] <= 1.0, "{recall:?}");
        assert!(order == "after" || recall[1] == 1.0, "BM25 finds every name, before \"[SEP]\" too: {recall:?}");
        assert_eq!(recall[3], task["before"]["at_k"][3]["recall"], "reranking finds nothing new");
    }
    let [retrieved, read] = ["answer_retrieved", "answer_read"].map(|share| task[share].as_f64().unwrap());
    assert!((0.0..=1.0).contains(&retrieved) && (0.0..=retrieved).contains(&read), "{read} of {retrieved}");
    let seconds = task["seconds"].as_f64().unwrap();
    assert!(close(&task["questions_per_second"], QUESTIONS as f64 / seconds));
    assert!(close(&task["samples_per_tera"], 1e12 / task["multiply_adds"].as_f64().unwrap()));
}

fn means_are_means(reader: &Value) {
    let (mean, tasks) = (&reader["mean"], reader["tasks"].as_array().unwrap());
    let over_tasks = |of: &dyn Fn(&Value) -> &Value| tasks.iter().map(|t| of(t).as_f64().unwrap()).sum::<f64>() / 2.0;
    assert!(close(&mean["score"], over_tasks(&|t| &t["score"])));
    assert!(close(&mean["kilt_score"], over_tasks(&|t| &t["kilt_score"])));
    assert!(close(&mean["recall_at_5_before"], over_tasks(&|t| &t["before"]["at_k"][1]["recall"])));
    assert!(close(&mean["recall_at_5_after"], over_tasks(&|t| &t["after"]["at_k"][1]["recall"])));
    let cost = over_tasks(&|t| &t["multiply_adds"]);
    assert!(close(&mean["multiply_adds"], cost) && close(&mean["samples_per_tera"], 1e12 / cost));
    let seconds = 2.0 * over_tasks(&|t| &t["seconds"]);
    assert!(close(&mean["questions_per_second"], 2.0 * QUESTIONS as f64 / seconds));
}

fn stdout_has_the_numbers(out: &str, readers: &[Value]) {
    for reader in readers {
        let name = reader["reader"].as_str().unwrap();
        let (_, table) = out.split_once(&format!("\n{name}: ")).unwrap_or_else(|| panic!("no {name} in {out}"));
        for task in reader["tasks"].as_array().unwrap() {
            let row = table.lines().find(|line| line.starts_with(task["task"].as_str().unwrap())).unwrap();
            let score = format!("{:.1}", 100.0 * task["score"].as_f64().unwrap());
            assert_eq!(row.split_whitespace().nth(2), Some(score.as_str()), "{row}");
        }
        let (_, means) = out.split_once("mean over the tasks").unwrap();
        let row = means.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(row.contains(&format!("{:.1}", 100.0 * reader["mean"]["score"].as_f64().unwrap())), "{row}");
    }
}

/// Length and time of every file below a folder.
fn files(folder: &Path) -> BTreeMap<String, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path().display().to_string(), (about.len(), about.modified().unwrap()));
        }
    }
    found
}

#[test]
fn a_second_run_reuses_corpus_index_and_memory() {
    let world = World::new();
    let first = predictions(&world.ask(), &world, "first");
    assert_eq!(first.len(), 6);
    let made = files(&world.path("work"));
    for part in ["corpus/passages.jsonl", "/bm25-", "/memory-bf16-"] {
        assert!(made.keys().any(|path| path.contains(part)), "no {part} in {made:?}");
    }
    assert_eq!(predictions(&world.ask(), &world, "second"), first);
    assert_eq!(files(&world.path("work")), made);
}

#[test]
fn predictions_depend_neither_on_threads_nor_on_the_batch() {
    let world = World::new();
    let expected = predictions(&world.ask(), &world, "expected");
    for (option, value) in [("--threads", "1"), ("--threads", "2"), ("--batch", "1"), ("--batch", "4")] {
        let found = predictions(&world.ask().set(option, value), &world, "found");
        assert_eq!(found, expected, "{option} {value}");
    }
}

/// Rounding a memory moves the logits by about as much, relatively, as the format is coarse: here and there another
/// token or passage wins. FiD has no memory to round.
#[test]
fn stores_agree_to_their_precision() {
    let world = World::new();
    let fresh = predictions(&world.ask().set("--store", "none"), &world, "none");
    assert!(
        !world.path("work").read_dir().unwrap().any(|e| e.unwrap().file_name().to_string_lossy().contains("memory"))
    );
    for format in ["bf16", "int8"] {
        let stored = predictions(&world.ask().set("--store", format), &world, format);
        let (mut same, mut all) = (0, 0);
        for (name, fresh) in &fresh {
            let pairs: Vec<_> = fresh.lines().zip(stored[name].lines()).collect();
            let equal = pairs.iter().filter(|(a, b)| a == b).count();
            assert!(!name.starts_with("fid") || equal == pairs.len(), "{format}: {name}");
            (same, all) = (same + equal, all + pairs.len());
        }
        assert!(same * 10 >= all * 8, "{format}: {same} of {all} predictions are those without a store");
    }
    let [bf16, int8] = ["bf16", "int8"].map(|format| {
        world.ask().set("--store", format).set("--readers", "lumen").file("--json", "bytes.json").succeed();
        world.json("bytes.json")["readers"][0]["memory_bytes_per_passage"].as_f64().unwrap()
    });
    assert!(int8 < 0.8 * bf16, "{int8} bytes a passage in int8, {bf16} in bf16");
}

#[test]
fn help_fits_its_terminal_and_names_every_option() {
    let world = World::without_checkpoint();
    for columns in [80, 110] {
        let mut command = std::process::Command::new(crate::process::example("kilt_eval"));
        let ran = crate::process::run(command.arg("--help").env("COLUMNS", columns.to_string()));
        assert_eq!(ran.code, Some(0));
        let widest = ran.out.lines().max_by_key(|line| line.chars().count()).unwrap();
        // A default path is as long as it is.
        assert!(widest.chars().count() <= columns || widest.contains("[default: /"), "{widest}");
        for part in ["Model:", "Data:", "Retrieval:", "Machine:", "Output:", "Examples", "Exit status:", "130"] {
            assert!(ran.out.contains(part), "no {part} in\n{}", ran.out);
        }
    }
    drop(world);
}
