//! Budgets: what kernels may cost at T5's shapes. The emulator's counters hold them, which are exact where a time would be
//! noise.

mod attention;
mod attention_bwd;
mod cost;
#[path = "../common/emulated.rs"]
#[allow(dead_code, reason = "every suite compiles all of this and uses its part")]
mod emulated;
mod launches;
mod losses;
mod measured;
mod measured_bwd;
mod products;
mod report;
mod rows;
mod training;

use glimmer::cuda::{Cuda, Float};
use glimmer_emulator::Emulator;
use glimmer_emulator::count::{Counters, Traffic};

/// A machine whose launches are counted; of a real device, by whoever looks on.
struct Counted<E: Float> {
    emulator: Option<&'static Emulator>,
    be: Cuda<E>,
}

impl<E: Float> Counted<E> {
    fn new() -> Self {
        let be = emulated::machine();
        Self { emulator: emulated::is_emulated().then(|| glimmer_emulator::open().unwrap()), be }
    }

    /// What the launches of `work` count, in order.
    fn count<R>(&self, work: impl FnOnce(&Cuda<E>) -> R) -> Vec<Counters> {
        let Some(emulator) = self.emulator else {
            work(&self.be);
            return Vec::new();
        };
        emulator.forget().unwrap();
        work(&self.be);
        emulator.launches().unwrap().into_iter().map(|launch| launch.counters).collect()
    }
}

/// Bytes of a sector of global memory.
const SECTOR: u64 = 32;

/// Bytes to and from global memory, as whole sectors.
fn moved(c: &Counters) -> f64 {
    (SECTOR * (c.global_loads.transactions + c.global_stores.transactions)) as f64
}

/// Asserts that every transaction was needed.
fn assert_no_excess(what: &str, kind: &str, traffic: Traffic) {
    let Traffic { transactions, least, .. } = traffic;
    assert_eq!(transactions, least, "{what}: {kind}, of which {least} are needed");
}

/// Asserts `found <= bound`, which NaN fails.
fn assert_within(what: &str, found: f64, bound: f64) {
    assert!(found <= bound, "{what}: {found:.4}, more than {bound}");
}
