//! A block: its warps, in turn; its barriers.

use std::collections::BTreeMap;

use super::barrier::{BARRIERS, Barrier};
use super::launch::{Worker, mix};
use super::mbarrier::MbarrierState;
use super::scene::{Outcome, Trouble};
use super::warp::Warp;
use crate::check::{Fault, Kind};
use crate::decode::Source;
use crate::memory::Shared;
use crate::ptx::{Special, Width};

/// Instructions that a warp runs before the next one's turn.
const SHARE: u64 = 1 << 14;
/// Rounds in which nothing but waiting happened, after which nothing else will.
const IDLE_ROUNDS: u32 = 64;
/// Warp instructions after which a block is taken to have no end.
const STEPS_PER_BLOCK: u64 = 1 << 32;

/// A block.
#[derive(Default)]
pub(crate) struct Block {
    pub index: u32,
    pub id: [u32; 3],
    pub shared: Shared,
    pub warps: Vec<Warp>,
    pub mbarriers: BTreeMap<u32, MbarrierState>,
    pub barriers: [Barrier; BARRIERS],
    rounds: u64,
    idle_rounds: u32,
    steps: u64,
}

/// How far a block has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// Everybody waits for what is not the block's to do, or its time was up.
    Waiting,
}

impl<'g> Worker<'g> {
    /// Makes a block ready.
    pub fn begin(&mut self, block: &mut Block, index: u32) {
        let grid = self.grid;
        let threads: u32 = grid.block.iter().product();
        let warps = threads.div_ceil(32) as usize;
        block.index = index;
        block.id = grid.block_id(index);
        block.mbarriers.clear();
        block.barriers = Default::default();
        (block.rounds, block.idle_rounds, block.steps) = (0, 0, 0);
        block.shared.begin(grid.shared_bytes as usize, grid.kernel.program.granules.shared, warps);
        let fresh = block.warps.len() != warps;
        if fresh {
            block.warps = (0..warps).map(|_| Warp::default()).collect();
        }
        for (at, warp) in block.warps.iter_mut().enumerate() {
            let lanes = (threads - at as u32 * 32).min(32);
            warp.begin(if lanes == 32 { !0 } else { (1 << lanes) - 1 });
            self.fill(warp, (at as u32, block.id), fresh);
        }
    }

    /// Fills the rows whose content is known; those that never change only if the rows are new.
    fn fill(&self, warp: &mut Warp, (at, id): (u32, [u32; 3]), fresh: bool) {
        let program = &self.grid.kernel.program;
        if fresh {
            warp.registers.narrow = vec![[0; 32]; program.narrow as usize];
            warp.registers.wide = vec![[0; 32]; program.wide as usize];
            warp.registers.predicates = vec![0; program.predicates as usize];
        }
        warp.registers.predicates.fill(0);
        warp.registers.predicates[0] = !0;
        warp.local.reset(self.grid.kernel.local_bytes as usize);
        for &(width, row) in &program.zeroed {
            match width {
                Width::Bits64 => warp.registers.wide[row as usize] = [0; 32],
                _ => warp.registers.narrow[row as usize] = [0; 32],
            }
        }
        for fixed in &program.fixed {
            let changes =
                matches!(fixed.source, Source::Special(Special::Ctaid(_) | Special::ClusterId(_) | Special::SmId));
            if !fresh && !changes {
                continue;
            }
            let row: [u64; 32] = match fixed.source {
                Source::Special(special) if changes => [self.grid.special(special, id, 0); 32],
                Source::Special(special) => {
                    std::array::from_fn(|lane| self.grid.special(special, id, at * 32 + lane as u32))
                }
                source => [self.grid.content(source); 32],
            };
            match fixed.width {
                Width::Bits64 => warp.registers.wide[fixed.row as usize] = row,
                _ => warp.registers.narrow[fixed.row as usize] = row.map(|bits| bits as u32),
            }
        }
    }

    /// Runs a block until it is done or, if `patience` rounds do not suffice, for so long.
    pub fn run_block(&mut self, block: &mut Block, patience: u64) -> Outcome<Progress> {
        let until = block.rounds.saturating_add(patience);
        let count = block.warps.len();
        let mut order: Vec<usize> = (0..count).collect();
        while block.rounds < until {
            if self.grid.seed != 0 {
                shuffle(&mut order, mix(self.grid.seed ^ mix(u64::from(block.index) << 32 | block.rounds)));
            }
            block.rounds += 1;
            let (mut ran, mut idle) = (false, true);
            for &at in &order {
                if block.warps[at].is_done() || block.warps[at].at_barrier.is_some() {
                    continue;
                }
                ran = true;
                let before = block.warps[at].clock;
                idle &= self.run_warp(block, at, SHARE)? && !std::mem::take(&mut self.stirred);
                block.steps += block.warps[at].clock - before;
            }
            if block.warps.iter().all(Warp::is_done) {
                return Ok(Progress::Done);
            }
            if !ran {
                return Err(self.stuck(block));
            }
            block.idle_rounds = if idle { block.idle_rounds + 1 } else { 0 };
            let alone = self.grid.meetings.is_none() || self.is_last;
            if (block.idle_rounds > IDLE_ROUNDS && alone) || block.steps > STEPS_PER_BLOCK {
                return Err(self.endless(block));
            }
        }
        Ok(Progress::Waiting)
    }

    fn endless(&self, block: &Block) -> Box<Trouble> {
        let at = block.warps.iter().position(|warp| !warp.is_done()).unwrap_or(0);
        let warp = &block.warps[at];
        let (pc, lane) = warp.paths.first().map_or((0, 0), |path| (path.pc, path.mask.trailing_zeros().min(31)));
        let fault =
            Fault::new(Kind::Hang, format!("{} warp instructions, and it waits for what nobody does", block.steps));
        Box::new(Trouble { fault, pc, warp: at as u32, lane, other: None })
    }
}

pub(super) fn block_threads(block: &[u32; 3]) -> u32 {
    block.iter().product::<u32>().next_multiple_of(32)
}

fn shuffle(order: &mut [usize], mut seed: u64) {
    for i in (1..order.len()).rev() {
        seed = mix(seed);
        order.swap(i, (seed % (i as u64 + 1)) as usize);
    }
}

impl super::scene::Grid<'_> {
    /// The coordinates of a block.
    pub fn block_id(&self, index: u32) -> [u32; 3] {
        let [x, y, _] = self.grid;
        [index % x, index / x % y, index / x / y]
    }

    fn content(&self, source: Source) -> u64 {
        match source {
            Source::Bits(bits) => bits,
            Source::Global { index, offset } => self.kernel.symbols.address(index).wrapping_add_signed(offset),
            Source::Parameter { offset, bytes, signed } => {
                let mut word = [0; 8];
                let from = &self.params[offset as usize..][..bytes as usize];
                word[..bytes as usize].copy_from_slice(from);
                let bits = u64::from_le_bytes(word);
                let unused = 64 - 8 * bytes;
                if signed { ((bits << unused) as i64 >> unused) as u64 } else { bits }
            }
            Source::Special(_) => 0,
        }
    }

    fn special(&self, special: Special, id: [u32; 3], thread: u32) -> u64 {
        let [bx, by, _] = self.block;
        let tid = [thread % bx, thread / bx % by, thread / bx / by];
        let lane = thread % 32;
        let axis = |of: [u32; 3], axis: u8| of[axis as usize];
        u64::from(match special {
            Special::Tid(a) => axis(tid, a),
            Special::Ntid(a) => axis(self.block, a),
            Special::Ctaid(a) | Special::ClusterId(a) => axis(id, a),
            Special::Nctaid(a) | Special::NClusterId(a) => axis(self.grid, a),
            Special::LaneId => lane,
            Special::WarpId => thread / 32,
            Special::NWarpId => block_threads(&self.block) / 32,
            Special::SmId => (id[0] + self.grid[0] * (id[1] + self.grid[1] * id[2])) % self.multiprocessors.max(1),
            Special::NSmId => self.multiprocessors,
            Special::LaneMaskEq => 1 << lane,
            Special::LaneMaskLe => (2u32 << lane).wrapping_sub(1),
            Special::LaneMaskLt => (1 << lane) - 1,
            Special::LaneMaskGe => !((1 << lane) - 1),
            Special::LaneMaskGt => !(2u32 << lane).wrapping_sub(1),
            Special::DynamicSharedBytes => self.dynamic_shared,
            Special::TotalSharedBytes => self.shared_bytes,
            Special::ClusterNctaid(_) | Special::ClusterSize => 1,
            Special::Environment(1) => (self.workspace >> 32) as u32,
            Special::Environment(_) => self.workspace as u32,
            Special::GridId | Special::Clock | Special::Clock64 | Special::GlobalTimer => 0,
            Special::ClusterCtaid(_) | Special::ClusterRank => 0,
        })
    }
}
