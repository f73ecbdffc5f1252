//! What an instruction that is more than arithmetic has before it.

use super::lanes::each;
use super::tally::{Tally, Tick};
use super::warp::Warp;
use crate::check::{Checks, Fault, Kind, Strictness};
use crate::decode::{Address, Kernel, Member, Step};
use crate::memory::{Access, Company, Memory, Shared, View};

/// What all blocks of a launch share.
pub(crate) struct Grid<'a> {
    pub kernel: &'a Kernel,
    pub params: &'a [u8],
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u32,
    pub dynamic_shared: u32,
    pub memory: &'a Memory,
    pub view: View,
    pub checks: Checks,
    pub seed: u64,
    pub multiprocessors: u32,
    /// Where the blocks of a cooperative launch count each other; 0 if they may not wait for each other.
    pub workspace: u64,
    /// How blocks come to know of each other; none where they run side by side.
    pub meetings: Option<std::sync::Mutex<super::meetings::Meetings>>,
    /// The lowest address that blocks race on.
    pub raced: std::sync::atomic::AtomicU64,
    /// Whether a race ends the launch where it is found, or is noted for later.
    pub on_race: OnRace,
    /// Whether blocks run side by side.
    pub company: Company,
    /// Who touched the address that is watched, and how.
    pub watched: std::sync::Mutex<Vec<(Access, Party)>>,
}

/// What becomes of a race between blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRace {
    /// Which of two blocks finds it depends on chance: the address is kept, and the launch goes on.
    Note,
    /// Blocks run in a fixed order: it is reported on the spot.
    Report,
    /// Only this address is of interest.
    Watch(u64),
}

/// A fault, and who did it.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub fault: Fault,
    pub pc: u32,
    pub warp: u32,
    pub lane: u32,
    pub other: Option<Party>,
}

/// The other party of a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub block: u32,
    pub thread: Option<u32>,
    pub pc: Option<u32>,
}

/// What comes of an instruction, or the trouble with it.
pub(crate) type Outcome<T = ()> = Result<T, Box<Trouble>>;

/// A warp at an instruction.
pub(crate) struct Scene<'a, 'g> {
    pub grid: &'a Grid<'g>,
    pub tally: &'a mut Tally,
    pub shared: &'a mut Shared,
    pub warp: &'a mut Warp,
    pub warp_index: usize,
    pub block: u32,
    pub step: &'g Step,
    pub pc: u32,
    /// The lanes that execute it.
    pub mask: u32,
}

impl<'g> Scene<'_, 'g> {
    /// Trouble of a lane.
    pub fn trouble(&self, lane: u32, fault: Fault) -> Box<Trouble> {
        Box::new(Trouble { fault, pc: self.pc, warp: self.warp_index as u32, lane, other: None })
    }

    /// The counts of this instruction.
    pub fn tick(&mut self) -> &mut Tick {
        &mut self.tally.ticks[self.pc as usize]
    }

    /// The addresses that the lanes have.
    pub fn addresses(&self, address: &Address) -> [u64; 32] {
        let offset = address.offset as u64;
        let registers = &self.warp.registers;
        if address.wide {
            each(&registers.wide[address.row as usize], |base| base.wrapping_add(offset))
        } else {
            // A 32-bit address is one of a space that is smaller than that.
            each(&registers.narrow[address.row as usize], |base| u64::from(base.wrapping_add(offset as u32)))
        }
    }

    /// The first lane of a mask.
    pub fn first(mask: u32) -> u32 {
        mask.trailing_zeros().min(31)
    }

    pub fn uninitialised_is_fault(&self) -> bool {
        self.grid.checks.uninitialised == Strictness::Report
    }
}

/// The lanes of a mask.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros();
        rest &= rest.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}

impl Warp {
    /// The lanes that a lane names.
    pub fn named(&self, member: Member, lane: usize) -> u32 {
        match member {
            Member::All => !0,
            Member::Row(row) => self.registers.narrow[row as usize][lane],
        }
    }
}

/// A fault of an access outside a block's or a thread's own memory.
pub(crate) fn outside(what: &str, offset: u64, bytes: u32, size: u64) -> Fault {
    let end = offset.wrapping_add(u64::from(bytes));
    let distance = end.wrapping_sub(size);
    Fault::at(
        Kind::OutOfBounds,
        offset,
        format!("{bytes} bytes end {distance} bytes past the end of the {size} bytes of {what}"),
    )
}
