//! `kernels/REPORT.md`: what the kernels cost at T5's shapes, each by itself and as a question has them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use glimmer::backend::Direction;
use half::bf16;

use crate::Counted;
use crate::cost::{Cost, Device};
use crate::measured::{Measured, Size, VOCABULARY, WIDTH};

pub const BASE: Size = Size { name: "base", d: 768, heads: 12, f: 2048 };
/// Each with passages to encode: the emulator would take long for more of the widest.
const SIZES: [(Size, usize); 4] = [
    (Size { name: "small", d: 512, heads: 6, f: 1024 }, READ),
    (BASE, READ),
    (Size { name: "large", d: 1024, heads: 16, f: 2816 }, READ),
    (Size { name: "XL", d: 2048, heads: 32, f: 5120 }, 1),
];
/// Tokens of a question, of a passage, of an answer.
pub const ASKED: usize = 48;
pub const TOLD: usize = 304;
pub const ANSWER: usize = 8;
/// Tokens of an answer that is learned.
const LEARNED: usize = 32;
pub const READ: usize = 5;
/// Layers of T5.1.1-base, of the encoder and of the decoder alike.
const LAYERS: usize = 12;

/// The report, but for its tables.
const WORDS: &str = include_str!("report.md");

/// Some work that a question makes so many times.
struct Part {
    name: &'static str,
    times: usize,
    costs: Vec<Cost>,
}

/// T5.1.1-base, and its encoder's layers by segments and their tokens, each counted once.
struct Base<'a> {
    measured: Measured<'a>,
    layers: RefCell<HashMap<(usize, usize), Vec<Cost>>>,
}

impl Base<'_> {
    fn encoder_layer(&self, segments: usize, tokens: usize) -> Vec<Cost> {
        let mut layers = self.layers.borrow_mut();
        layers.entry((segments, tokens)).or_insert_with(|| self.measured.encoder_layer(segments, tokens)).clone()
    }
}

/// What one question takes of a reader.
fn question(of: &Base<'_>, retrieved: usize, read: usize, (live, rerank): (usize, usize)) -> Vec<Part> {
    let (base, tokens, memory) = (&of.measured, ASKED + TOLD, LAYERS - live);
    let part = |name, times, costs| Part { name, times, costs };
    let mut parts = Vec::new();
    // FiD encodes question and passage together.
    if memory > 0 {
        parts.push(part("question: embedding", 1, vec![base.embed(ASKED)]));
        parts.push(part("question: memory layer", memory, of.encoder_layer(1, ASKED)));
        parts.push(part("memory from the store", 1, vec![base.dequantise(retrieved, TOLD)]));
    } else {
        parts.push(part("embedding", 1, vec![base.embed(ASKED), base.embed(retrieved * TOLD)]));
    }
    parts.push(part("join", 1, vec![base.join(ASKED, retrieved, TOLD)]));
    if rerank > 0 {
        parts.push(part("live layer before the choice", rerank, of.encoder_layer(retrieved, tokens)));
    }
    parts.push(part("score, choice, gathering", 1, base.choice(retrieved, tokens, read)));
    parts.push(part("layer of what is read", live - rerank, of.encoder_layer(read, tokens)));
    parts.push(part("last norm", 1, vec![base.rms_norm(read * tokens)]));
    parts.push(part("keys and values for the decoder", LAYERS, vec![base.linears::<2>("linears k, v", read * tokens)]));
    parts.push(part("decoder layer, a token", LAYERS * ANSWER, base.decoder_layer(ANSWER, read * tokens)));
    parts.push(part("the rest of a token", ANSWER, vec![base.embed(1), base.rms_norm(1), base.predict(1)]));
    parts
}

/// The kernels that an encoder's layer launches backward, but for masks.
pub fn encoder_layer_bwd(of: &Measured<'_>, segments: usize, tokens: usize) -> Vec<Cost> {
    let (n, Size { d, heads, f, .. }) = (segments * tokens, of.size);
    let inner = heads * WIDTH;
    let project = of.linear_bwd(n, inner, d);
    let [norm, _, add, _, gate_bwd] = of.rows_bwd(segments, tokens).try_into().ok().expect("five operations");
    let into = of.linear_bwd(n, f, d);
    vec![
        of.linear_bwd(n, d, f),
        gate_bwd,
        into.clone(),
        into,
        add.clone(),
        norm.clone(),
        of.linear_bwd(n, d, inner),
        of.attention_bwd(segments, (tokens, tokens), Some(Direction::Both)),
        project.clone(),
        project.clone(),
        project,
        add.clone(),
        add,
        norm,
    ]
}

/// Everything that training adds, backward.
fn training(of: &Measured<'_>) -> Vec<Cost> {
    let (tokens, Size { d, heads, .. }) = (ASKED + TOLD, of.size);
    let mut costs = encoder_layer_bwd(of, READ, tokens);
    costs.extend(of.rows_bwd(READ, tokens));
    costs.extend(of.choice_bwd(ASKED, (25, TOLD), READ));
    costs.push(of.embed_bwd(TOLD));
    costs.push(of.linear_bwd(LEARNED, heads * WIDTH, d));
    costs.push(of.attention_bwd(1, (LEARNED, LEARNED), Some(Direction::Past)));
    costs.push(of.attention_bwd(1, (LEARNED, READ * tokens), None));
    costs.push(of.linear_bwd(LEARNED, VOCABULARY, d));
    costs.extend([of.cross_entropy(LEARNED), of.distill(25, LEARNED)]);
    costs.extend(of.optimiser());
    costs
}

/// A row for each operation that differs from those before it.
fn kernels(rows: &mut String, size: Size, costs: &[Cost]) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for cost in costs {
        if seen.contains(&(cost.operation, &cost.shape)) {
            continue;
        }
        seen.push((cost.operation, &cost.shape));
        let (moved, (shared, excess)) = (cost.moved(), cost.shared());
        let ratio = |a: f64, b: f64| if b > 0.0 { format!("{:.2}", a / b) } else { "–".into() };
        let mma = if cost.on_tensor_cores { ratio(cost.multiplied(), cost.useful) } else { "–".into() };
        let (operation, shape) = (cost.operation, &cost.shape);
        let conflicts =
            if shared > 0 { format!("{:.1} %", 100.0 * excess as f64 / shared as f64) } else { "–".into() };
        write!(
            rows,
            "| {} | {operation} | {shape} | {} | {:.2} | {} | {mma} | {conflicts} |",
            size.name,
            cost.launches.len(),
            cost.least / 1e6,
            ratio(moved, cost.least)
        )
        .unwrap();
        for device in [Device::a100(), Device::h100()] {
            let estimate = cost.on(&device);
            let (micros, share) = (estimate.seconds * 1e6, 100.0 * estimate.share());
            write!(rows, " {micros:.1} | {share:.0} % | {} |", estimate.bound).unwrap();
        }
        rows.push('\n');
    }
}

/// Rows of a question's parts, and of all of it.
fn parts(rows: &mut String, reader: &str, parts: &[Part]) {
    let mut total = [0.0; 8];
    for Part { name, times, costs } in parts {
        let sum = |of: &dyn Fn(&Cost) -> f64| costs.iter().map(of).sum::<f64>() * *times as f64;
        let mut row = [0.0; 8];
        row[0] = sum(&|cost| cost.launches.len() as f64);
        row[1] = sum(&|cost| cost.useful);
        row[2] = sum(&|cost| cost.least);
        row[3] = sum(&Cost::moved);
        for (i, device) in [Device::a100(), Device::h100()].iter().enumerate() {
            row[4 + 2 * i] = sum(&|cost| cost.on(device).seconds);
            row[5 + 2 * i] = sum(&|cost| cost.on(device).least_seconds);
        }
        total.iter_mut().zip(row).for_each(|(total, x)| *total += x);
        write_part(rows, reader, name, &times.to_string(), row);
    }
    write_part(rows, reader, "**all**", "", total);
}

fn write_part(rows: &mut String, reader: &str, name: &str, times: &str, row: [f64; 8]) {
    let [launches, useful, least, moved, a100, a100_least, h100, h100_least] = row;
    writeln!(
        rows,
        "| {reader} | {name} | {times} | {launches} | {:.2} | {:.1} | {:.2} | {:.0} | {:.0} % | {:.0} | {:.0} % |",
        useful / 1e9,
        least / 1e6,
        moved / least,
        a100 * 1e6,
        100.0 * a100_least / a100,
        h100 * 1e6,
        100.0 * h100_least / h100
    )
    .unwrap();
}

/// What `kernels/slots.py` says of the machine code.
fn slots() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/slots.py");
    let done = Command::new("python3").arg(script).output().expect("python3 runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The tests have checked these kernels.
pub fn check_nothing() {
    let checks = ["uninitialised", "shared_races", "global_races"].map(|check| format!(r#""{check}": "ignore""#));
    let emulator = glimmer_emulator::open().unwrap();
    emulator.configure_context(&format!(r#"{{"checks": {{{}}}}}"#, checks.join(", "))).unwrap();
}

#[test]
#[ignore = "takes minutes and the network, and writes kernels/REPORT.md"]
fn report() {
    let counted = Counted::<bf16>::new();
    check_nothing();
    let of = |size| Measured { counted: &counted, size };

    let mut table = String::new();
    for (size, passages) in SIZES {
        let measured = of(size);
        let mut costs = measured.encoder_layer(passages, ASKED + TOLD);
        costs.extend(measured.decoder_layer(ANSWER, READ * (ASKED + TOLD)));
        costs.push(measured.predict(1));
        kernels(&mut table, size, &costs);
    }
    let base = of(BASE);
    let mut costs = vec![base.embed(1760), base.join(ASKED, 25, TOLD), base.dequantise(25, TOLD)];
    costs.extend(base.choice(25, ASKED + TOLD, READ));
    for rows in [4, 16] {
        costs.extend([base.linears::<3>("linears q, k, v", rows), base.geglu(rows), base.predict(rows)]);
    }
    kernels(&mut table, base.size, &costs);

    let mut questions = String::new();
    let base = Base { measured: base, layers: RefCell::default() };
    parts(&mut questions, "GLIMMER 25 → 5", &question(&base, 25, READ, (4, 1)));
    parts(&mut questions, "LUMEN 10 → 10", &question(&base, 10, 10, (4, 0)));
    parts(&mut questions, "FiD 5 → 5", &question(&base, 5, 5, (12, 0)));

    let mut trained = String::new();
    kernels(&mut trained, BASE, &training(&base.measured));
    let mut layers = String::new();
    let layer = |name, costs| Part { name, times: 1, costs };
    let (forward, backward) =
        (base.encoder_layer(READ, ASKED + TOLD), encoder_layer_bwd(&base.measured, READ, ASKED + TOLD));
    parts(&mut layers, "training", &[layer("layer, forward", forward), layer("layer, backward", backward)]);

    let text = WORDS.replace("{training}\n", &trained).replace("{layers}\n", &layers);
    let text = text.replace("{kernels}\n", &table).replace("{questions}\n", &questions);
    let text = text.replace("{slots}\n", &slots());
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/REPORT.md"), text).unwrap();
}

/// Whoever changes the words writes the report anew.
#[test]
fn the_report_has_its_words() {
    let report = include_str!("../../kernels/REPORT.md");
    for words in WORDS.split(['{', '}']).step_by(2) {
        assert!(report.contains(words.trim()), "kernels/REPORT.md lacks\n{words}");
    }
}
