//! Whatever text comes as PTX: it is refused with a line, or it is run. It never takes the program down.

use std::panic::{AssertUnwindSafe, catch_unwind};

use glimmer_emulator::Module;

const SOURCES: [(&str, &str); 5] = [
    ("saxpy", include_str!("ptx/saxpy.ptx")),
    ("histogram", include_str!("ptx/histogram.ptx")),
    ("launch", include_str!("ptx/launch.ptx")),
    ("matmul", include_str!("ptx/matmul.ptx")),
    ("warps", include_str!("ptx/warps.ptx")),
];

fn parse(name: &str, change: &str, text: &str) {
    let outcome = catch_unwind(AssertUnwindSafe(|| Module::parse(text).map(|_| ()).map_err(|error| error.to_string())));
    match outcome {
        Err(_) => panic!("{name}, {change}: a panic"),
        Ok(Err(message)) => assert!(message.contains("line"), "{name}, {change}: no line in `{message}`"),
        Ok(Ok(())) => {}
    }
}

#[test]
fn truncated_at_many_places() {
    for (name, text) in SOURCES {
        let step = (text.len() / 150).max(1);
        for end in (0..text.len()).step_by(step) {
            parse(name, &format!("cut at {end}"), &text[..end]);
        }
    }
}

#[test]
fn with_a_line_missing() {
    for (name, text) in SOURCES {
        let lines: Vec<&str> = text.lines().collect();
        for missing in (0..lines.len()).step_by(lines.len() / 100 + 1) {
            let rest: Vec<&str> =
                lines.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, line)| *line).collect();
            parse(name, &format!("without line {}", missing + 1), &rest.join("\n"));
        }
    }
}

#[test]
fn with_a_character_changed() {
    let mut state = 0x2545_f491_u32;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below
    };
    for (name, text) in SOURCES {
        for _ in 0..150 {
            let mut bytes = text.as_bytes().to_vec();
            let at = random(bytes.len());
            bytes[at] = b"%{}[];,.@!-0123456789abrsu:|<>()\"\n"[random(34)];
            if let Ok(changed) = String::from_utf8(bytes) {
                parse(name, &format!("byte {at} changed"), &changed);
            }
        }
    }
}
