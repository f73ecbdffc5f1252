//! The examples as a user runs them.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The compiled example, which lies beside this test.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).expect("a test lies in target/<profile>/deps");
    let path = profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is missing: `cargo test` builds it, or `cargo build --example {name}`", path.display());
    path
}

/// What a process said, and how it ended.
pub struct Ran {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// No process may panic, nor talk to a terminal that is not there.
    #[track_caller]
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let ran = Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        for (name, text) in [("output", &ran.out), ("error", &ran.err)] {
            assert!(!text.contains(['\x1b', '\r']), "standard {name} has control characters: {text:?}");
        }
        ran
    }
}

/// Runs to the end, with pipes where a terminal would be.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    Ran::of(command.output().unwrap())
}
