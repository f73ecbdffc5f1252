//! Budgets: what kernels may cost at T5's shapes. The emulator's counters hold them, which are exact where a time would be
//! noise.

mod attention;
mod attention_bwd;
mod cost;
mod losses;
mod measured;
mod measured_bwd;
mod products;
mod report;
mod rows;
mod training;

use glimmer::cuda::{Cuda, Float, probe};
use glimmer_emulator::Emulator;
use glimmer_emulator::count::{Counters, Traffic};

/// A machine whose launches are counted.
struct Counted<E: Float> {
    emulator: &'static Emulator,
    be: Cuda<E>,
}

impl<E: Float> Counted<E> {
    fn new() -> Self {
        let emulator = glimmer_emulator::open().unwrap();
        Self { emulator, be: Cuda::isolated(&probe().unwrap()).unwrap() }
    }

    /// What the launches of `work` count, in order.
    fn count<R>(&self, work: impl FnOnce(&Cuda<E>) -> R) -> Vec<Counters> {
        self.emulator.forget().unwrap();
        work(&self.be);
        self.emulator.launches().unwrap().into_iter().map(|launch| launch.counters).collect()
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
