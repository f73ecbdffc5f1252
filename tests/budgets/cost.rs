//! What an operation costs beside what it has to cost, and how long it would take at least.

use glimmer_emulator::DeviceSpec;
use glimmer_emulator::count::Counters;

use crate::moved;

/// An operation at some shape.
#[derive(Clone)]
pub struct Cost {
    pub operation: &'static str,
    pub shape: String,
    /// Multiply-adds of the formula, and whether they are for tensor cores.
    pub useful: f64,
    pub on_tensor_cores: bool,
    /// Bytes of the operands that are read, each once, and of the result.
    pub least: f64,
    pub launches: Vec<Counters>,
}

/// A device's rates.
pub struct Device {
    pub spec: DeviceSpec,
    /// Bytes a second between the second-level cache and the multiprocessors.
    pub cached_bytes_per_second: f64,
}

impl Device {
    /// 5,120 bytes a clock, as the vendor has it.
    pub fn a100() -> Self {
        let spec = DeviceSpec::a100();
        Self { cached_bytes_per_second: 5120.0 * spec.clock_hz as f64, spec }
    }

    /// The vendor gives no figure for the cache: what others have measured.
    pub fn h100() -> Self {
        Self { spec: DeviceSpec::h100(), cached_bytes_per_second: 5.5e12 }
    }

    fn multiply_adds_per_second(&self) -> f64 {
        let DeviceSpec { mma_half_per_clock, multiprocessors, clock_hz, .. } = self.spec;
        f64::from(mma_half_per_clock) * f64::from(multiprocessors) * clock_hz as f64
    }
}

/// How much longer than on average the blocks of the busiest multiprocessor take. That there may be fewer blocks than
/// multiprocessors is in the counters' own estimate.
fn last_wave(c: &Counters, device: &Device) -> f64 {
    let blocks: u64 = c.grid.iter().map(|&axis| u64::from(axis)).product();
    let each = blocks as f64 / f64::from(device.spec.multiprocessors);
    if each > 1.0 { each.ceil() / each } else { 1.0 }
}

/// Seconds, and what they are spent on.
#[derive(Clone, Copy)]
pub struct Estimate {
    pub seconds: f64,
    pub bound: &'static str,
    /// With nothing but the useful multiply-adds and the least bytes, at peak rates.
    pub least_seconds: f64,
}

impl Estimate {
    pub fn share(&self) -> f64 {
        self.least_seconds / self.seconds
    }
}

impl Cost {
    pub fn moved(&self) -> f64 {
        self.launches.iter().map(moved).sum()
    }

    pub fn multiplied(&self) -> f64 {
        let of_launch = |c: &Counters| c.matrix.values().map(|work| work.multiply_adds).sum::<u64>();
        self.launches.iter().map(of_launch).sum::<u64>() as f64
    }

    /// Transactions of shared memory, and those beyond the least.
    pub fn shared(&self) -> (u64, u64) {
        let traffic = self.launches.iter().flat_map(|c| [c.shared_loads, c.shared_stores, c.shared_atomics]);
        traffic.fold((0, 0), |(all, excess), t| (all + t.transactions, excess + t.transactions - t.least))
    }

    /// The longest of what each resource would take at its peak rate. Operands come from device memory once, and all that
    /// the kernel asks for from the second-level cache; a multiprocessor's resources take as long as on the busiest one.
    pub fn on(&self, device: &Device) -> Estimate {
        let of_launches = |seconds: &dyn Fn(&Counters) -> f64| {
            self.launches.iter().map(|c| seconds(c) * last_wave(c, device)).sum::<f64>()
        };
        let estimate = |c: &Counters| c.on(&device.spec).estimate;
        let memory = self.least / device.spec.memory_bytes_per_second as f64;
        let times = [
            (memory, "device memory"),
            (self.moved() / device.cached_bytes_per_second, "L2"),
            (of_launches(&|c| estimate(c).matrix_seconds), "tensor cores"),
            (of_launches(&|c| estimate(c).arithmetic_seconds), "f32 units"),
            (of_launches(&|c| estimate(c).issue_seconds), "issue"),
            (of_launches(&|c| estimate(c).shared_seconds), "shared memory"),
        ];
        let (seconds, bound) = times.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are resources");
        let multiplied = if self.on_tensor_cores { self.useful / device.multiply_adds_per_second() } else { 0.0 };
        Estimate { seconds, bound, least_seconds: memory.max(multiplied) }
    }
}
