//! Every instruction that is decoded has a test written by hand, of each of its types and modifiers.

use std::collections::BTreeSet;

use crate::decode::{NAMES, update};
use crate::exec::{carry, float, half, integer};

/// The tests that are written by hand.
const TESTS: [&str; 13] = [
    include_str!("accesses.rs"),
    include_str!("comparisons.rs"),
    include_str!("conversions.rs"),
    include_str!("exchanges.rs"),
    include_str!("faults.rs"),
    include_str!("floats.rs"),
    include_str!("flow.rs"),
    include_str!("halves.rs"),
    include_str!("instructions.rs"),
    include_str!("integers.rs"),
    include_str!("matrices.rs"),
    include_str!("operands.rs"),
    include_str!("synchronisation.rs"),
];

/// What stands between quotes, comments aside.
fn literals(source: &str) -> Vec<String> {
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    code.split('"').skip(1).step_by(2).map(|text| text.replace("\\n", "\n")).collect()
}

/// The opcodes in the tests, as words.
fn written() -> BTreeSet<Vec<String>> {
    let mut all = BTreeSet::new();
    for text in TESTS.iter().flat_map(|source| literals(source)) {
        for instruction in text.split([';', '\n', '{', '}']) {
            let mut words =
                instruction.split_whitespace().skip_while(|word| word.starts_with('@') || word.ends_with(':'));
            let opcode: Vec<String> = words.next().unwrap_or("").split('.').map(str::to_owned).collect();
            if NAMES.contains(&opcode[0].as_str()) {
                all.insert(opcode);
            }
        }
    }
    all
}

const KINDS: [&str; 22] = [
    "b8", "b16", "b32", "b64", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f16", "f32", "f64", "bf16",
    "f16x2", "bf16x2", "u16x2", "s16x2", "tf32", "pred",
];

/// What may stand between a name and a type, alone or two of it; `rn` is what there is without it.
const MODIFIERS: [&str; 22] = [
    "lo",
    "hi",
    "wide",
    "sat",
    "shiftamt",
    "l",
    "r",
    "wrap",
    "clamp",
    "u32",
    "s32",
    "rz",
    "rm",
    "rp",
    "ftz",
    "full",
    "approx",
    "NaN",
    "relu",
    "rn",
    "cc",
    "satfinite",
];

/// Whether one of the instructions has this name and all these words.
fn has(written: &BTreeSet<Vec<String>>, name: &str, words: &[&str]) -> bool {
    written
        .iter()
        .any(|opcode| opcode[0] == name && words.iter().all(|word| opcode[1..].iter().any(|other| other == word)))
}

#[test]
fn every_instruction_has_a_test() {
    let written = written();
    let missing: Vec<&str> = NAMES.into_iter().filter(|name| !has(&written, name, &[])).collect();
    assert!(missing.is_empty(), "no test by hand of {missing:?}");
}

#[test]
fn every_type_and_modifier_has_a_test() {
    let written = written();
    let mut missing = BTreeSet::new();
    let mut want = |name: &str, words: &[&str]| {
        if !has(&written, name, words) {
            missing.insert(format!("{name} {words:?}"));
        }
    };
    let known = |name: &str, between: &[&str], kind: &str| {
        integer::select(name, between, kind).is_some()
            || float::select(name, between, kind).is_some()
            || half::select(name, between, kind).is_some()
    };
    let pairs = MODIFIERS.iter().flat_map(|&a| MODIFIERS.iter().map(move |&b| vec![a, b]));
    let modifiers: Vec<Vec<&str>> = pairs.chain(MODIFIERS.iter().map(|&a| vec![a])).chain([vec![]]).collect();
    for name in NAMES {
        for kind in KINDS {
            for between in modifiers.iter().filter(|between| known(name, between, kind)) {
                want(name, &[kind]);
                between.iter().filter(|&&word| word != "rn").for_each(|word| want(name, &[word]));
            }
            for part in [None, Some("lo"), Some("hi")] {
                let whole = matches!(kind, "u32" | "s32" | "u64" | "s64");
                if whole && carry::select(name, part, kind).is_some() {
                    want(name, &[part.unwrap_or(kind), kind]);
                }
            }
        }
    }
    for kind in KINDS {
        for word in ["exch", "cas", "add", "inc", "dec", "and", "or", "xor", "min", "max"] {
            if update(word, kind).is_some() {
                want("atom", &[word, kind]);
            }
        }
    }
    assert!(missing.is_empty(), "no test by hand of {missing:#?}");
}
