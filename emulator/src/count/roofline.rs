//! What a launch might take on a device: an estimate, from rates alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::counters::Counters;
use crate::decode::Class;
use crate::device::DeviceSpec;

/// What keeps a launch from being faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Bytes to and from device memory, were nothing cached.
    #[default]
    Memory,
    /// Matrix multiply-adds.
    Matrix,
    /// f32 arithmetic.
    Arithmetic,
    /// Instructions that the schedulers can start.
    Issue,
    /// Transactions of shared memory.
    Shared,
}

/// An estimate of a launch's time: the longest of the times that each resource would take at its peak rate, all else being free.
/// No latency, no cache, no tail: real launches take longer, small ones much longer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The device.
    pub device: String,
    /// The longest of the times, in seconds.
    pub seconds: f64,
    /// Whose it is.
    pub bound: Bound,
    /// Each resource's time, in seconds.
    pub memory_seconds: f64,
    /// The same for the matrix units.
    pub matrix_seconds: f64,
    /// The same for f32 arithmetic.
    pub arithmetic_seconds: f64,
    /// The same for the schedulers.
    pub issue_seconds: f64,
    /// The same for shared memory.
    pub shared_seconds: f64,
}

/// Instructions that the four schedulers of a multiprocessor start in a clock.
const ISSUE_PER_CLOCK: f64 = 4.0;
const SECTOR: f64 = 32.0;

impl Estimate {
    pub(super) fn of(counters: &Counters, device: &DeviceSpec) -> Self {
        // A grid with fewer blocks than multiprocessors leaves some idle.
        let blocks: u64 = counters.grid.iter().map(|&axis| u64::from(axis)).product();
        let busy = blocks.min(u64::from(device.multiprocessors)) as f64;
        let clocks = device.clock_hz as f64 * busy;
        let sectors = counters.global_loads.transactions
            + counters.global_stores.transactions
            + counters.global_atomics.transactions;
        let matrix: f64 = counters
            .matrix
            .iter()
            .map(|(shape, work)| {
                let per_clock = match shape {
                    s if s.contains("tf32") => device.mma_tf32_per_clock,
                    s if s.contains("s8") || s.contains("u8") => device.mma_int8_per_clock,
                    _ => device.mma_half_per_clock,
                };
                work.multiply_adds as f64 / (clocks * f64::from(per_clock))
            })
            .sum();
        let lanes = counters.by_class.get(&Class::Single).map_or(0, |executed| executed.lanes);
        let shared = counters.shared_loads.transactions
            + counters.shared_stores.transactions
            + counters.shared_atomics.transactions;
        let times = [
            (sectors as f64 * SECTOR / device.memory_bytes_per_second as f64, Bound::Memory),
            (matrix, Bound::Matrix),
            (lanes as f64 / (clocks * f64::from(device.fma_f32_per_clock)), Bound::Arithmetic),
            (counters.instructions.warps as f64 / (clocks * ISSUE_PER_CLOCK), Bound::Issue),
            (shared as f64 / clocks, Bound::Shared),
        ];
        let (seconds, bound) = times.into_iter().fold((0.0, Bound::Memory), |a, b| if b.0 > a.0 { b } else { a });
        let [
            (memory_seconds, _),
            (matrix_seconds, _),
            (arithmetic_seconds, _),
            (issue_seconds, _),
            (shared_seconds, _),
        ] = times;
        Self {
            device: device.name.clone(),
            seconds,
            bound,
            memory_seconds,
            matrix_seconds,
            arithmetic_seconds,
            issue_seconds,
            shared_seconds,
        }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (micros, device, bound) = (self.seconds * 1e6, &self.device, self.bound);
        write!(
            f,
            "estimate: at least {micros:.3} µs on {device}, bound by {bound:?} (peak rates, no latency, no cache)"
        )
    }
}
