//! The readers that come with the repository.

use crate::world::World;

/// From the command line's own defaults: weights, corpus, vocabulary. Without a passage nothing of this can be answered.
#[test]
fn the_readers_of_the_repository_read() {
    let world = World::without_checkpoint();
    let cloze = concat!(env!("CARGO_MANIFEST_DIR"), "/data/vital10k/wiki_cloze-dev.jsonl.gz");
    let ask = world.ask().without("--checkpoint").without("--knowledge").without("--answer-tokens");
    let ask = ask.set("--tasks", cloze).set("--questions", "40").set("--store", "none").file("--json", "all.json");
    ask.succeed();
    let report = world.json("all.json");
    let of = |reader: usize, number: &str| report["readers"][reader]["mean"][number].as_f64().unwrap();
    for (reader, name) in ["fid", "lumen", "glimmer"].into_iter().enumerate() {
        assert_eq!(report["readers"][reader]["reader"], name);
        assert!(of(reader, "score") >= 0.6, "{name}: {}", of(reader, "score"));
    }
    // Five in 25 at random would be 0.2.
    assert!(of(2, "recall_at_5_after") >= 0.9, "{}", of(2, "recall_at_5_after"));
}

/// Rounded weights, rounded rows: the answers are nearly all the same.
#[test]
fn the_readers_of_the_repository_read_in_fewer_bits() {
    let world = World::without_checkpoint();
    let cloze = concat!(env!("CARGO_MANIFEST_DIR"), "/data/vital10k/wiki_cloze-dev.jsonl.gz");
    let ask = world.ask().without("--checkpoint").without("--knowledge").without("--answer-tokens");
    let ask = ask.set("--tasks", cloze).set("--questions", "40").set("--store", "none").set("--readers", "glimmer");
    let scores = ["f32", "bf16", "int8"].map(|precision| {
        let run = ask.clone().set("--backend", "cpu").set("--precision", precision).file("--json", precision);
        run.succeed();
        let report = world.json(precision);
        let machine = report["settings"]["machine"].as_str().unwrap().to_string();
        assert!(machine.contains(precision), "{machine}");
        report["readers"][0]["mean"]["score"].as_f64().unwrap()
    });
    // Three of the 40 questions.
    assert!(scores.iter().all(|score| (score - scores[0]).abs() <= 0.076), "{scores:?}");
    assert!(scores[0] >= 0.6, "{scores:?}");
}
