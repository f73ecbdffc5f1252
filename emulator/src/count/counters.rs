//! The counters of a launch.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::roofline::Estimate;
use crate::decode::{Class, Info, Operation, Step};
use crate::device::{DeviceSpec, Footprint, Occupancy, REGISTERS_PER_THREAD};
use crate::exec::{Launch, Tally, Tick};

/// What a launch executed and moved. Exact, and the same every time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// The kernel.
    pub kernel: String,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Instructions in all.
    pub instructions: Executed,
    /// Instructions by kind.
    pub by_class: BTreeMap<Class, Executed>,
    /// Reads of global memory, in sectors of 32 bytes.
    pub global_loads: Traffic,
    /// Writes to global memory, in sectors of 32 bytes.
    pub global_stores: Traffic,
    /// Atomics on global memory, in sectors of 32 bytes.
    pub global_atomics: Traffic,
    /// Reads of shared memory, in transactions; those beyond the least are bank conflicts.
    pub shared_loads: Traffic,
    /// Writes to shared memory, `cp.async` among them, in transactions.
    pub shared_stores: Traffic,
    /// Atomics on shared memory, in transactions.
    pub shared_atomics: Traffic,
    /// Matrix multiply-adds by shape.
    pub matrix: BTreeMap<String, MatrixWork>,
    /// f32 operations, a fused multiply-add as two.
    pub flops_f32: u64,
    /// Times that a warp came to a barrier of its block.
    pub barriers: u64,
    /// Shared bytes of a block, static and dynamic.
    pub shared_bytes: u32,
    /// Registers that a thread takes, estimated from the most that are alive at once.
    pub registers: u32,
    /// How full a multiprocessor of the device is.
    pub occupancy: Occupancy,
    /// What the launch might take on the device.
    pub estimate: Estimate,
    /// The lines of the source, or of the PTX where there are none, by the instructions that they executed.
    pub lines: Vec<Line>,
}

/// Instructions, by the warps and by the lanes that executed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// Instructions of warps.
    pub warps: u64,
    /// Instructions of lanes.
    pub lanes: u64,
}

/// Memory traffic of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Instructions of warps.
    pub requests: u64,
    /// Sectors or transactions.
    pub transactions: u64,
    /// The fewest with which each instruction could have moved its bytes.
    pub least: u64,
    /// Bytes that the lanes asked for.
    pub bytes: u64,
}

/// Matrix instructions of one shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixWork {
    /// Instructions of warps.
    pub instructions: u64,
    /// Multiply-adds of scalars.
    pub multiply_adds: u64,
}

/// A line and what it executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `file:line`.
    pub place: String,
    /// What it executed.
    pub executed: Executed,
    /// Sectors of global memory beyond the least.
    pub excess_sectors: u64,
    /// Transactions of shared memory beyond the least.
    pub bank_conflicts: u64,
}

impl Traffic {
    fn global(&mut self, tick: &Tick) {
        self.requests += tick.warps;
        self.transactions += tick.transactions;
        self.least += tick.least;
        self.bytes += tick.bytes;
    }

    fn shared(&mut self, tick: &Tick) {
        self.requests += tick.warps;
        self.transactions += tick.shared_transactions;
        self.least += tick.shared_least;
    }
}

impl Executed {
    fn add(&mut self, tick: &Tick) {
        self.warps += tick.warps;
        self.lanes += tick.lanes;
    }
}

impl Counters {
    pub(crate) fn new(launch: &Launch, tally: &Tally, device: &DeviceSpec) -> Self {
        let kernel = launch.kernel;
        let shared_bytes = kernel.shared_bytes() + launch.dynamic_shared;
        let registers = kernel.registers().clamp(16, REGISTERS_PER_THREAD);
        let threads = launch.block.iter().product();
        let occupancy = device.occupancy(Footprint { threads, registers, shared_bytes });
        let mut counters = Self {
            kernel: kernel.name().into(),
            grid: launch.grid,
            block: launch.block,
            instructions: Executed::default(),
            by_class: BTreeMap::new(),
            global_loads: Traffic::default(),
            global_stores: Traffic::default(),
            global_atomics: Traffic::default(),
            shared_loads: Traffic::default(),
            shared_stores: Traffic::default(),
            shared_atomics: Traffic::default(),
            matrix: BTreeMap::new(),
            flops_f32: 0,
            barriers: 0,
            shared_bytes,
            registers,
            occupancy,
            estimate: Estimate::default(),
            lines: lines(launch, tally),
        };
        let program = &kernel.program;
        for ((step, info), tick) in program.steps.iter().zip(&program.infos).zip(&tally.ticks) {
            if tick.warps > 0 {
                counters.count(step, info, tick);
            }
        }
        counters.estimate = Estimate::of(&counters, device);
        counters
    }

    fn count(&mut self, step: &Step, info: &Info, tick: &Tick) {
        self.instructions.add(tick);
        self.by_class.entry(info.class).or_default().add(tick);
        if info.class == Class::Single {
            let fused = info.opcode.starts_with("fma") || info.opcode.starts_with("mad");
            self.flops_f32 += tick.lanes * if fused { 2 } else { 1 };
        }
        match &step.operation {
            Operation::Load(_) => {
                if tick.transactions > 0 {
                    self.global_loads.global(tick);
                }
                if tick.shared_transactions > 0 {
                    self.shared_loads.shared(tick);
                }
            }
            Operation::Store(_) => {
                if tick.transactions > 0 {
                    self.global_stores.global(tick);
                }
                if tick.shared_transactions > 0 {
                    self.shared_stores.shared(tick);
                }
            }
            Operation::Atomic(_) => {
                if tick.transactions > 0 {
                    self.global_atomics.global(tick);
                }
                if tick.shared_transactions > 0 {
                    self.shared_atomics.shared(tick);
                }
            }
            Operation::Copy(_) => {
                self.global_loads.global(tick);
                self.shared_stores.shared(tick);
            }
            Operation::LoadMatrix(_) => self.shared_loads.shared(tick),
            Operation::StoreMatrix(_) => self.shared_stores.shared(tick),
            Operation::Mma(mma) => {
                let work = self.matrix.entry(mma.shape.to_string()).or_default();
                work.instructions += tick.warps;
                work.multiply_adds += tick.warps * mma.shape.multiply_adds();
            }
            Operation::Barrier(_) => self.barriers += tick.warps,
            _ => {}
        }
    }

    /// The same counts, with occupancy and estimate for another device.
    pub fn on(&self, device: &DeviceSpec) -> Self {
        let threads = self.block.iter().product();
        let footprint = Footprint { threads, registers: self.registers, shared_bytes: self.shared_bytes };
        let occupancy = device.occupancy(footprint);
        Self { occupancy, estimate: Estimate::of(self, device), ..self.clone() }
    }

    /// The counters as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn lines(launch: &Launch, tally: &Tally) -> Vec<Line> {
    let kernel = launch.kernel;
    let mut all: BTreeMap<(String, u32), Line> = BTreeMap::new();
    for (info, tick) in kernel.program.infos.iter().zip(&tally.ticks).filter(|(_, tick)| tick.warps > 0) {
        let text = info.text.and_then(|text| Some((kernel.files.get(&text.file)?.clone(), text.line)));
        let key = text.unwrap_or_else(|| ("PTX".into(), info.line));
        let place = format!("{}:{}", key.0, key.1);
        let fresh = Line { place, executed: Executed::default(), excess_sectors: 0, bank_conflicts: 0 };
        let line = all.entry(key).or_insert(fresh);
        line.executed.add(tick);
        line.excess_sectors += tick.transactions.saturating_sub(tick.least);
        line.bank_conflicts += tick.shared_transactions.saturating_sub(tick.shared_least);
    }
    let mut lines: Vec<Line> = all.into_values().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.executed.warps));
    lines
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, columns: [String; 4]| {
            let [a, b, c, d] = columns;
            writeln!(f, "  {name:<22}{a:>16}{b:>16}{c:>16}{d:>16}")
        };
        let number = |n: u64| n.to_string();
        let empty = String::new;
        writeln!(f, "kernel {}, grid {:?}, block {:?}", self.kernel, self.grid, self.block)?;
        row(f, "instructions", ["warps".into(), "lanes".into(), empty(), empty()])?;
        for (class, executed) in &self.by_class {
            let name = serde_json::to_value(class).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            row(f, &name, [number(executed.warps), number(executed.lanes), empty(), empty()])?;
        }
        row(f, "all", [number(self.instructions.warps), number(self.instructions.lanes), empty(), empty()])?;
        row(f, "memory", ["requests".into(), "transactions".into(), "least".into(), "bytes".into()])?;
        for (name, t) in [
            ("global loads", self.global_loads),
            ("global stores", self.global_stores),
            ("global atomics", self.global_atomics),
            ("shared loads", self.shared_loads),
            ("shared stores", self.shared_stores),
            ("shared atomics", self.shared_atomics),
        ] {
            if t.requests > 0 {
                row(f, name, [number(t.requests), number(t.transactions), number(t.least), number(t.bytes)])?;
            }
        }
        for (shape, work) in &self.matrix {
            writeln!(f, "  {shape}: {} instructions, {} multiply-adds", work.instructions, work.multiply_adds)?;
        }
        writeln!(f, "  {} f32 operations, {} warps at barriers", self.flops_f32, self.barriers)?;
        let Occupancy { blocks, warps, warps_held, limit } = self.occupancy;
        writeln!(
            f,
            "  {} shared bytes, about {} registers: {blocks} blocks, {warps} of {warps_held} warps, held back by {limit:?}",
            self.shared_bytes, self.registers
        )?;
        write!(f, "  {}", self.estimate)
    }
}
