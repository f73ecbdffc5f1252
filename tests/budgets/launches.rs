//! What a profiler counts on a real device, by the emulator.

use std::fmt::Write as _;
use std::path::Path;

use glimmer_emulator::count::Traffic;

use crate::measured::Measured;
use crate::report::{ANSWER, ASKED, BASE, READ, TOLD, check_nothing, encoder_layer_bwd};
use crate::{Counted, emulated};

/// The launches of T5.1.1-base's layers one by one, as the emulator counts them on an H100. On a real one the same launches
/// are made, for a profiler to count: `kernels/profiled.py` puts the two beside each other.
#[test]
#[ignore = "writes what kernels/profiled.py reads"]
fn of_base() {
    let counted = Counted { emulator: None, be: emulated::hopper_machine() };
    if emulated::is_emulated() {
        check_nothing();
    }
    let base = Measured { counted: &counted, size: BASE };
    let tokens = ASKED + TOLD;
    base.encoder_layer(READ, tokens);
    base.decoder_layer(ANSWER, READ * tokens);
    base.predict(1);
    base.embed(READ * tokens);
    base.join(ASKED, 25, TOLD);
    base.dequantise(25, TOLD);
    base.choice(25, tokens, READ);
    encoder_layer_bwd(&base, READ, tokens);
    if !emulated::is_emulated() {
        return;
    }
    let mut lines = String::from("kernel,grid,instructions,read,written,mma,conflicts\n");
    for launch in glimmer_emulator::open().unwrap().launches().unwrap() {
        let counters = launch.counters;
        let mma: u64 = counters.matrix.values().map(|work| work.instructions).sum();
        let conflicts = |traffic: Traffic| traffic.transactions - traffic.least;
        writeln!(
            lines,
            "{},{},{},{},{},{mma},{}",
            counters.kernel,
            counters.grid.map(|blocks| blocks.to_string()).join(" × "),
            counters.instructions.warps,
            counters.global_loads.transactions,
            counters.global_stores.transactions,
            conflicts(counters.shared_loads) + conflicts(counters.shared_stores)
        )
        .unwrap();
    }
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("launches.csv"), lines).unwrap();
}
