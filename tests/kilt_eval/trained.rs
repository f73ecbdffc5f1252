//! The readers that come with the repository.

use crate::world::World;

/// From the command line's own defaults: weights, corpus, vocabulary. Without a passage nothing of this can be answered.
/// In fewer bits the answers are nearly all the same.
#[test]
fn the_readers_of_the_repository_read() {
    let world = World::without_checkpoint();
    let cloze = concat!(env!("CARGO_MANIFEST_DIR"), "/data/vital10k/wiki_cloze-dev.jsonl.gz");
    let ask = world.ask().without("--checkpoint").without("--knowledge").without("--answer-tokens");
    // The longest test of all here, and the last to end.
    let ask = ask.set("--tasks", cloze).set("--questions", "40").set("--store", "none").set("--threads", "2");
    ask.clone().file("--json", "all.json").succeed();
    let report = world.json("all.json");
    let of = |reader: usize, number: &str| report["readers"][reader]["mean"][number].as_f64().unwrap();
    for (reader, name) in ["fid", "lumen", "glimmer"].into_iter().enumerate() {
        assert_eq!(report["readers"][reader]["reader"], name);
        assert!(of(reader, "score") >= 0.6, "{name}: {}", of(reader, "score"));
    }
    // Five in 25 at random would be 0.2.
    assert!(of(2, "recall_at_5_after") >= 0.9, "{}", of(2, "recall_at_5_after"));
    for precision in ["bf16", "int8"] {
        let ask = ask.clone().set("--readers", "glimmer").set("--backend", "cpu").set("--precision", precision);
        ask.file("--json", precision).succeed();
        let report = world.json(precision);
        let machine = report["settings"]["machine"].as_str().unwrap();
        assert!(machine.contains(precision), "{machine}");
        let score = report["readers"][0]["mean"]["score"].as_f64().unwrap();
        // Three of the 40 questions.
        assert!((score - of(2, "score")).abs() <= 0.076, "{precision}: {score}, in f32 {}", of(2, "score"));
    }
}
