//! The crate's modules and which of them may name which: arrows point one way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each module, and the modules that it may use. A module that is not here yet has to be put here, with its reasons.
const MAY_USE: [(&str, &[&str]); 15] = [
    ("backend", &["random"]),
    ("cpu", &["backend"]),
    ("cuda", &["backend"]),
    ("random", &[]),
    ("io", &["backend"]),
    ("nn", &["backend"]),
    ("model", &["backend", "io", "nn", "random"]),
    ("train", &["backend", "io", "model", "nn"]),
    ("memory", &["backend", "io"]),
    ("kilt", &["io", "random"]),
    ("retrieval", &["io", "kilt"]),
    ("cost", &["model"]),
    ("trace", &["backend", "io", "model", "nn", "train"]),
    ("experiment", &["backend", "cost", "eval", "io", "kilt", "memory", "model", "nn", "random", "train"]),
    ("eval", &["backend", "cost", "io", "kilt", "memory", "model", "random", "retrieval"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The top-level modules that a source file names as `crate::…`, but for its tests.
fn used(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1).map(word).collect::<Vec<_>>()).collect()
}

#[test]
fn arrows_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeSet::new();
    for path in sources(&src) {
        let place = path.strip_prefix(&src).unwrap();
        let module = place.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_string();
        if module == "lib" {
            continue;
        }
        let allowed = MAY_USE.iter().find(|(name, _)| *name == module);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{} is of no known module", place.display()));
        for other in used(&std::fs::read_to_string(&path).unwrap()) {
            let fine = other == module || allowed.contains(&other.as_str());
            assert!(fine, "{} uses {other}, which {module} may not", place.display());
        }
        seen.insert(module);
    }
    assert_eq!(seen.len(), MAY_USE.len(), "a module is gone: {seen:?}");
}

#[test]
fn uses_are_found() {
    let text = "use crate::nn::Tree;\n// crate::cpu in a comment\nlet x = crate::io::write_atomic;\n\
                #[cfg(test)]\nmod tests {\n    use crate::random;\n}";
    assert_eq!(used(text), BTreeSet::from(["io".to_string(), "nn".to_string()]));
}
