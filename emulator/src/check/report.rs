//! Faults and reports.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is checked beyond what a device checks. Everything, unless asked otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Reads of bytes that nobody wrote.
    pub uninitialised: Strictness,
    /// Races on shared memory.
    pub shared_races: Strictness,
    /// Races between blocks on global memory.
    pub global_races: Strictness,
    /// Barriers and shuffles that name threads which have returned. Devices let them pass.
    pub returned_threads: Strictness,
}

impl Default for Checks {
    fn default() -> Self {
        let on = Strictness::Report;
        Self { uninitialised: on, shared_races: on, global_races: on, returned_threads: on }
    }
}

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// It fails the launch.
    Report,
    /// It is let pass.
    Ignore,
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An access outside every allocation, or outside a thread's or block's own memory.
    OutOfBounds,
    /// An address that is not a multiple of the access's width.
    Misaligned,
    /// A read of bytes that nobody wrote.
    Uninitialised,
    /// An access to an allocation that was freed.
    UseAfterFree,
    /// Something freed that is not an allocation.
    InvalidFree,
    /// Two threads of a block, one of them writing, with no synchronisation between.
    SharedRace,
    /// Two blocks, one of them writing, with no synchronisation between.
    GlobalRace,
    /// A barrier that some threads do not reach.
    BarrierDivergence,
    /// A warp-synchronous instruction that named lanes do not reach, or a shuffle from a lane that takes no part.
    MissingLanes,
    /// A read of what `cp.async` copies, before its wait.
    AsyncNotWaited,
    /// A store to constant memory.
    ReadOnly,
    /// `trap`.
    Trap,
    /// An assertion of the kernel's own.
    Assert,
    /// A launch that no device would accept: its size, its shared memory, its parameters.
    InvalidLaunch,
    /// An operation whose operands it is not defined for.
    InvalidOperation,
    /// No end in sight.
    Hang,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::OutOfBounds => "out of bounds",
            Kind::Misaligned => "misaligned",
            Kind::Uninitialised => "uninitialised read",
            Kind::UseAfterFree => "use after free",
            Kind::InvalidFree => "invalid free",
            Kind::SharedRace => "race in shared memory",
            Kind::GlobalRace => "race between blocks",
            Kind::BarrierDivergence => "barrier divergence",
            Kind::MissingLanes => "missing lanes",
            Kind::AsyncNotWaited => "cp.async not waited for",
            Kind::ReadOnly => "store to constant memory",
            Kind::Trap => "trap",
            Kind::Assert => "assertion",
            Kind::InvalidLaunch => "invalid launch",
            Kind::InvalidOperation => "invalid operation",
            Kind::Hang => "hang",
        })
    }
}

/// What went wrong, without where in a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind of it.
    pub kind: Kind,
    /// The address, if there is one: a device address, or an offset into shared or local memory.
    pub address: Option<u64>,
    /// What exactly.
    pub what: String,
}

impl Fault {
    /// A fault at an address.
    pub fn at(kind: Kind, address: u64, what: impl Into<String>) -> Self {
        Self { kind, address: Some(address), what: what.into() }
    }

    /// A fault with no address.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, address: None, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)?;
        self.address.map_or(Ok(()), |address| write!(f, " (address {address:#x})"))
    }
}

impl std::error::Error for Fault {}

/// A place in a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Line of the PTX.
    pub ptx_line: u32,
    /// The instruction's opcode.
    pub instruction: String,
    /// `file:line` of the CUDA source, where `-lineinfo` gave it.
    pub source: Option<String>,
    /// `file:line` where that line's function was inlined, if it was.
    #[serde(default)]
    pub inlined_at: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at PTX line {}", self.instruction, self.ptx_line)?;
        match (&self.source, &self.inlined_at) {
            (Some(source), Some(caller)) => write!(f, " ({source}, inlined at {caller})"),
            (Some(source), None) => write!(f, " ({source})"),
            _ => Ok(()),
        }
    }
}

/// The other side of a race, or who is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// The block.
    pub block: [u32; 3],
    /// The thread, if it is known.
    pub thread: Option<[u32; 3]>,
    /// The instruction, if it is known.
    pub place: Option<Place>,
}

/// A fault of a launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The kernel.
    pub kernel: String,
    /// What went wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// The instruction, unless the launch was refused.
    pub place: Option<Place>,
    /// The block.
    pub block: Option<[u32; 3]>,
    /// The thread in it.
    pub thread: Option<[u32; 3]>,
    /// The other party.
    pub other: Option<Other>,
}

impl Report {
    /// A launch that was refused.
    pub fn refused(kernel: &str, what: impl Into<String>) -> Self {
        let fault = Fault::new(Kind::InvalidLaunch, what);
        Self { kernel: kernel.into(), fault, place: None, block: None, thread: None, other: None }
    }
}

fn triple([x, y, z]: [u32; 3]) -> String {
    format!("({x}, {y}, {z})")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in kernel `{}`: {}", self.fault.kind, self.kernel, self.fault.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  {place}")?;
        }
        if let Some(block) = self.block {
            write!(f, "\n  block {}", triple(block))?;
        }
        if let Some(thread) = self.thread {
            write!(f, ", thread {}", triple(thread))?;
        }
        if let Some(address) = self.fault.address {
            write!(f, "\n  address {address:#x}")?;
        }
        let Some(other) = &self.other else { return Ok(()) };
        write!(f, "\n  other side: block {}", triple(other.block))?;
        if let Some(thread) = other.thread {
            write!(f, ", thread {}", triple(thread))?;
        }
        other.place.as_ref().map_or(Ok(()), |place| write!(f, ", {place}"))
    }
}

impl std::error::Error for Report {}
