//! The CUDA kernels, under the whole of the example.

use serde_json::{Value, json};

use crate::world::{World, lines};

/// Names, and what they are.
const PAGES: [[&str; 2]; 7] = [
    ["Middlemarch", "a novel by George Eliot"],
    ["Emma", "a novel by Jane Austen"],
    ["Coventry", "a city in England"],
    ["Amber", "a stone"],
    ["Thames", "a river in England"],
    ["Oslo", "the capital of Norway"],
    ["Iron", "a metal"],
];

fn page((number, [name, what]): (usize, &[&str; 2])) -> Value {
    let text = format!("{name} is {what}.");
    json!({"wikipedia_id": format!("{number}"), "wikipedia_title": name, "text": [format!("{name}\n"), text]})
}

fn question(number: usize) -> Value {
    let [name, what] = PAGES[number];
    let provenance = json!([{"wikipedia_id": format!("{number}"), "title": name}]);
    let output = json!([{"answer": name, "provenance": provenance}]);
    json!({"id": format!("q{number}"), "input": format!("____ is {what}."), "output": output})
}

/// The repository's readers on the emulated device answer as on the CPU, and find the names.
#[test]
fn emulated_predictions_are_those_of_the_cpu() {
    let world = World::without_checkpoint();
    world.write("pages.jsonl", lines(PAGES.iter().enumerate().map(page)));
    world.write("nq-dev.jsonl", lines([0, 5].map(question)));
    let mini = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mini");
    let ask = world.ask().set("--checkpoint", mini).file("--knowledge", "pages.jsonl").tasks(&["nq-dev.jsonl"]);
    let ask = ask.set("--readers", "glimmer").set("--k", "4").set("--m", "2").set("--store", "none");
    let predicted = |backend: &str| {
        let ran =
            ask.clone().set("--backend", backend).set("--precision", "f32").file("--predictions", backend).succeed();
        (ran, world.read(&format!("{backend}/glimmer/nq.jsonl")))
    };
    let ((_, on_cpu), (ran, emulated)) = (predicted("cpu"), predicted("emulated"));
    assert_eq!(emulated, on_cpu);
    assert!(ran.err.contains("emulated cuda, f32"), "{}", ran.err);
    assert!(!ran.err.contains("glimmer-emulator:"), "the checker is silent: {}", ran.err);
    for name in ["Middlemarch", "Oslo"] {
        assert!(emulated.contains(&format!("\"{name}\"")), "{emulated}");
    }
}
