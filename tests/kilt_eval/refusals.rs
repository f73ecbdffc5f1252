//! What cannot be: each is told with its place and its remedy, and before the long work.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use glimmer::model::Config;
use serde_json::json;

use crate::world::{World, asked, lines, question};

#[test]
fn task_files() {
    let world = World::new();
    let good = lines((0..4).map(|i| question(i, &asked(i))));
    let with = |line: &[u8]| [good.lines().take(2).collect::<Vec<_>>().join("\n").as_bytes(), b"\n", line].concat();
    let cases: [(&[u8], &[&str]); 6] = [
        (br#"{"id": "x", "input": "  ", "output": []}"#, &["nq-dev.jsonl:3", "`input` is empty"]),
        (b"{\"id\": \"x\", \"input\": \"caf\xe9\"}", &["nq-dev.jsonl:3", "not UTF-8"]),
        (br#"{"id": "x", "input": "#, &["nq-dev.jsonl:3", "bad JSON"]),
        (br#"{"id": "q0", "input": "again?"}"#, &["nq-dev.jsonl:3", "\"q0\"", "line 1"]),
        (br#"{"input": "who?"}"#, &["nq-dev.jsonl:3", "`id` is missing"]),
        (br#"[1, 2]"#, &["nq-dev.jsonl:3"]),
    ];
    let ask = world.ask().tasks(&["nq-dev.jsonl"]);
    for (line, parts) in cases {
        world.write("nq-dev.jsonl", with(line));
        ask.refuse(parts);
    }
    world.write("nq-dev.jsonl", "");
    ask.refuse(&["nq-dev.jsonl", "no records"]);
    ask.clone().tasks(&["none-dev.jsonl"]).refuse(&["none", "--metric none=em"]);
    ask.clone().tasks(&["fever-dev.jsonl"]).refuse(&["cannot open", "fever-dev.jsonl"]);
    world.write("nq-train.jsonl", &good);
    world.write("nq-dev.jsonl", &good);
    ask.tasks(&["nq-dev.jsonl", "nq-train.jsonl"]).refuse(&["nq-dev.jsonl", "nq-train.jsonl", "both of the task"]);
    assert!(!world.path("work").exists(), "the corpus was cut before the tasks were read");
}

#[test]
fn knowledge() {
    let world = World::new();
    let ask = world.ask();
    ask.clone().file("--knowledge", "absent.jsonl").refuse(&["absent.jsonl"]);
    world.write("empty.jsonl", lines([json!({"wikipedia_id": "1", "wikipedia_title": "A", "text": ["A\n", ""]})]));
    ask.clone().file("--knowledge", "empty.jsonl").refuse(&["empty.jsonl", "no page with text"]);
    let knowledge = world.read("knowledge.jsonl");
    let broken = |line: &str| [knowledge.lines().take(2).collect::<Vec<_>>().join("\n"), line.into()].join("\n");
    world.write("broken.jsonl", broken(r#"{"wikipedia_id": "#));
    ask.clone().file("--knowledge", "broken.jsonl").refuse(&["broken.jsonl:3", "bad JSON"]);
    world.write("twice.jsonl", broken(knowledge.lines().next().unwrap()));
    ask.clone().file("--knowledge", "twice.jsonl").refuse(&["twice.jsonl:3", "\"100\"", "used before"]);
    assert_eq!(leftovers(&world.path("work")), Vec::<PathBuf>::new());
}

/// What a failed run left in a folder.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    folder.read_dir().map_or(Vec::new(), |entries| entries.map(|e| e.unwrap().path()).collect())
}

#[test]
fn checkpoints() {
    let world = World::new();
    let ask = |name: &str| world.ask().file("--checkpoint", name);
    ask("absent").refuse(&["absent/config.json", "a checkpoint is a folder with"]);
    let copy = |name: &str, files: &[&str]| {
        std::fs::create_dir(world.path(name)).unwrap();
        for file in files {
            std::fs::copy(world.path("model").join(file), world.path(name).join(file)).unwrap();
        }
    };
    copy("mute", &["config.json", "model.safetensors"]);
    ask("mute").refuse(&["mute has no tokenizer", "spiece.model"]);
    copy("pickled", &["config.json", "spiece.model"]);
    ask("pickled").refuse(&["pickled has no weights"]);
    world.write("pickled/pytorch_model.bin", "x");
    ask("pickled").refuse(&["pytorch_model.bin only", "python3 scripts/convert_t5.py"]);
    copy("old", &["model.safetensors", "spiece.model"]);
    let mut config = world.json("model/config.json");
    config["feed_forward_proj"] = json!("relu");
    world.write("old/config.json", config.to_string());
    ask("old").refuse(&["T5 1.0", "google/t5-v1_1-base"]);
    copy("other", &["model.safetensors", "spiece.model"]);
    let mut config = world.json("model/config.json");
    config["d_ff"] = json!(48);
    world.write("other/config.json", config.to_string());
    ask("other").refuse(&["DenseReluDense", "[48, 16]", "config.json"]);
    copy("deeper", &["model.safetensors", "spiece.model"]);
    let mut config = world.json("model/config.json");
    config["num_layers"] = json!(5);
    world.write("deeper/config.json", config.to_string());
    ask("deeper").refuse(&["encoder.block.4", "deeper"]);
    copy("cut", &["config.json", "spiece.model"]);
    let weights = std::fs::read(world.path("model/model.safetensors")).unwrap();
    world.write("cut/model.safetensors", &weights[..weights.len() - 100]);
    ask("cut").refuse(&["cut/model.safetensors"]);
    assert!(!world.path("work").exists(), "the corpus was cut before the checkpoint was looked at");
}

#[test]
fn options_that_cannot_be_meant() {
    let world = World::new();
    for (option, value) in [("--alpha", "1.5"), ("--beta", "7"), ("--alpha", "NaN")] {
        world.ask().set(option, value).refuse(&[option, value, "0 to 1"]);
    }
    world.ask().set("--readers", "fid,fid").refuse(&["fid twice"]);
    world.ask().set("--threads", "0").refuse(&["--threads 0"]);
    for option in ["--k", "--m", "--batch", "--questions", "--answer-tokens"] {
        world.ask().set(option, "0").refuse(&[option]);
    }
    assert!(!world.path("work").exists());
}

#[test]
fn places_that_cannot_be_written_are_found_out_first() {
    let world = World::new();
    world.write("file", "in the way");
    for option in ["--json", "--plot"] {
        let ask = world.ask();
        ask.clone().file(option, "absent/x").refuse(&[option, "absent"]);
        ask.clone().file(option, "file/x").refuse(&[option, "file/x"]);
        ask.clone().file(option, ".").refuse(&[option, "no plain file"]);
        // A rename would put a plain file in the place of the device.
        ask.set(option, "/dev/full").refuse(&[option, "/dev/full", "no plain file"]);
    }
    world.ask().file("--json", "same").file("--plot", "same").refuse(&["--json and --plot name the same file"]);
    world.ask().file("--predictions", "file").refuse(&["--predictions", "file/fid"]);
    assert!(!world.path("work").exists(), "results were refused after the long work");
    world.ask().file("--work", "file").refuse(&["file"]);
    assert_eq!(world.read("file"), "in the way");
    #[cfg(target_os = "linux")]
    for option in ["--json", "--predictions", "--work"] {
        world.ask().set(option, "/proc/glimmer").refuse(&["/proc"]);
    }
}

/// A disk with too little room, as a limit on the size of files is for the process: writing fails, and says so.
#[test]
#[cfg(unix)]
fn a_full_disk_is_told_and_leaves_no_half_results() {
    let world = World::new();
    let command = world.ask().file("--json", "all.json").command();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(r#"trap "" XFSZ; ulimit -f 8; exec "$0" "$@""#);
    let ran = crate::process::run(shell.arg(command.get_program()).args(command.get_args()));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("File too large") && ran.err.contains("work"), "{}", ran.err);
    assert!(!world.path("all.json").exists());
    world.ask().succeed();
}

#[test]
#[cfg(unix)]
fn a_reader_of_the_tables_may_leave_early() {
    let world = World::new();
    let command = world.ask().file("--json", "all.json").command();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(r#"{ "$0" "$@"; echo "ended with $?" >&2; } | true"#);
    let ran = crate::process::run(shell.arg(command.get_program()).args(command.get_args()));
    assert!(ran.err.contains("ended with 0"), "{}", ran.err);
    assert_eq!(world.json("all.json")["readers"].as_array().unwrap().len(), 3);
    let full = OpenOptions::new().write(true).open("/dev/full");
    if let Ok(full) = full {
        let output = world.ask().command().stdout(full).output().unwrap();
        let ran = crate::process::Ran::of(output);
        assert_eq!(ran.code, Some(1));
        assert!(ran.err.contains("standard output"), "{}", ran.err);
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Halved,
    Gone,
    /// A byte in the middle.
    Changed,
}

fn damage(file: &Path, damage: Damage) {
    let mut content = std::fs::read(file).unwrap();
    let middle = content.len() / 2;
    match damage {
        Damage::Halved => std::fs::write(file, &content[..middle]).unwrap(),
        Damage::Gone => std::fs::remove_file(file).unwrap(),
        Damage::Changed => {
            content[middle] ^= 0x55;
            std::fs::write(file, &content).unwrap();
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in leftovers(from) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Whatever happens to a file below `--work`, the next run says which folder to delete, or mends it and predicts the same.
#[test]
fn damage_to_the_work_folder_is_told_or_mended() {
    let world = World::new();
    let ask = world.ask().set("--readers", "lumen").tasks(&["nq-dev.jsonl"]).file("--predictions", "out");
    ask.succeed();
    let expected = world.read("out/lumen/nq.jsonl");
    let (mut told, mut mended) = (0, 0);
    for folder in leftovers(&world.path("work")) {
        let whole = world.path("whole").join(folder.file_name().unwrap());
        copy_files(&folder, &whole);
        for file in leftovers(&folder).into_iter().filter(|file| file.metadata().unwrap().len() > 0) {
            for kind in [Damage::Halved, Damage::Gone, Damage::Changed] {
                damage(&file, kind);
                let ran = ask.run();
                let what = format!("{} {kind:?}: {}", file.display(), ran.err);
                if ran.code == Some(0) {
                    mended += 1;
                    assert_eq!(world.read("out/lumen/nq.jsonl"), expected, "{what}");
                } else {
                    told += 1;
                    let remedy = ["delete", "empty the folder"].iter().any(|remedy| ran.err.contains(remedy));
                    assert!(remedy && ran.err.contains(folder.to_str().unwrap()), "{what}");
                }
                std::fs::remove_dir_all(&folder).unwrap();
                copy_files(&whole, &folder);
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
        ask.succeed();
        assert_eq!(world.read("out/lumen/nq.jsonl"), expected, "{} deleted", folder.display());
    }
    assert!(told > 5 && mended > 0, "{told} told, {mended} mended");
}

#[test]
fn a_work_folder_serves_other_checkpoints_and_knowledge_too() {
    let world = World::new();
    let ask = world.ask().set("--readers", "lumen").tasks(&["nq-dev.jsonl"]);
    ask.clone().file("--predictions", "a").succeed();
    let sizes = Config { d_model: 24, d_kv: 8, d_ff: 32, num_layers: 4, ..Config::mini() };
    world.checkpoint_of("wider", sizes);
    ask.clone().file("--checkpoint", "wider").file("--predictions", "b").succeed();
    let fewer = world.read("knowledge.jsonl").lines().take(12).collect::<Vec<_>>().join("\n");
    world.write("fewer.jsonl", fewer);
    ask.clone().file("--knowledge", "fewer.jsonl").file("--predictions", "c").succeed();
    ask.file("--predictions", "d").succeed();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|folder| world.read(&format!("{folder}/lumen/nq.jsonl")));
    assert_eq!(a, d);
    assert!(a != b && a != c);
}
