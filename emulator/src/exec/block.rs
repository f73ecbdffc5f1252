//! A block: its warps, in turn; its barriers.

use std::collections::BTreeMap;

use super::launch::{Worker, mix};
use super::mbarrier::MbarrierState;
use super::run::Flow;
use super::scene::{Outcome, Party, Trouble};
use super::warp::{Wait, Warp};
use crate::check::{Fault, Kind, Strictness};
use crate::decode::{BarrierKind, BlockVote, Operation, Source};
use crate::memory::Shared;
use crate::ptx::{Special, Width};

/// Instructions that a warp runs before the next one's turn.
const SHARE: u64 = 1 << 14;
/// Rounds in which nothing but waiting happened, after which nothing else will.
const IDLE_ROUNDS: u32 = 64;
/// Warp instructions after which a block is taken to have no end.
const STEPS_PER_BLOCK: u64 = 1 << 34;
const BARRIERS: usize = 16;

/// A block.
#[derive(Default)]
pub(crate) struct Block {
    pub index: u32,
    pub id: [u32; 3],
    pub shared: Shared,
    pub warps: Vec<Warp>,
    pub mbarriers: BTreeMap<u32, MbarrierState>,
    barriers: [Barrier; BARRIERS],
    rounds: u64,
    idle_rounds: u32,
    steps: u64,
}

/// One of the numbered barriers.
#[derive(Clone, Debug, Default)]
struct Barrier {
    /// Warps that have arrived, and those of them that wait.
    arrived: u32,
    waiting: u32,
    times: [u32; 32],
    count: u32,
    /// `barrier.red`: how many predicates were set, of how many.
    set: u32,
    asked: u32,
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
            let changes = matches!(fixed.source, Source::Special(_));
            if !fresh && !changes {
                continue;
            }
            let row: [u64; 32] = match fixed.source {
                Source::Special(special) => std::array::from_fn(|lane| self.grid.special(special, id, at * 32 + lane as u32)),
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
                return self.finished(block);
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

    fn finished(&self, block: &Block) -> Outcome<Progress> {
        let _ = block;
        Ok(Progress::Done)
    }

    /// Nobody can run: who waits, and who did not come.
    fn stuck(&self, block: &Block) -> Box<Trouble> {
        let waits = block.warps.iter().position(|warp| warp.at_barrier.is_some()).unwrap_or(0);
        let warp = &block.warps[waits];
        let id = warp.at_barrier.unwrap_or(0);
        let barrier = &block.barriers[id as usize % BARRIERS];
        let pc = warp.paths.first().map_or(0, |path| path.pc);
        let missing = (0..block.warps.len()).find(|&at| barrier.arrived >> at & 1 == 0);
        let threads = barrier.arrived.count_ones() * 32;
        let what = match missing.map(|at| (at, &block.warps[at])) {
            Some((at, missing)) if missing.is_done() => {
                format!("{threads} threads wait at barrier {id} for others, but the threads of warp {at} have returned")
            }
            Some((at, _)) => format!("{threads} threads wait at barrier {id}, but those of warp {at} wait elsewhere"),
            None => format!("{threads} threads have come to barrier {id}, which waits for {}", barrier.count),
        };
        let other = missing.map(|at| {
            let place = block.warps[at].paths.first().map(|path| path.pc);
            Party { block: block.index, thread: Some(at as u32 * 32), pc: place }
        });
        let lane = warp.alive.trailing_zeros().min(31);
        let fault = Fault::new(Kind::BarrierDivergence, what);
        Box::new(Trouble { fault, pc, warp: waits as u32, lane, other })
    }

    fn endless(&self, block: &Block) -> Box<Trouble> {
        let at = block.warps.iter().position(|warp| !warp.is_done()).unwrap_or(0);
        let warp = &block.warps[at];
        let (pc, lane) = warp.paths.first().map_or((0, 0), |path| (path.pc, path.mask.trailing_zeros().min(31)));
        let fault = Fault::new(Kind::Hang, format!("{} warp instructions, and it waits for what nobody does", block.steps));
        Box::new(Trouble { fault, pc, warp: at as u32, lane, other: None })
    }

    /// A path of a warp is at a barrier.
    pub fn barrier(
        &mut self,
        block: &mut Block,
        (index, path): (usize, usize),
        kind: &BarrierKind,
        mask: u32,
    ) -> Outcome<Flow> {
        let warp = &block.warps[index];
        let pc = warp.paths[path].pc;
        if mask != warp.paths[path].mask {
            let fault = Fault::new(Kind::BarrierDivergence, "a barrier under a predicate that not all threads have set");
            return Err(self.scene(block, (index, pc), mask).trouble(mask.trailing_zeros().min(31), fault));
        }
        let here = |path: &&super::warp::Path| path.wait == Wait::Barrier && (path.pc == pc || !kind.aligned);
        let parked = warp.paths.iter().filter(here).fold(mask, |all, path| all | path.mask);
        let wanted = match self.grid.checks.returned_threads {
            Strictness::Report => warp.exists,
            Strictness::Ignore => warp.alive,
        };
        if parked != warp.alive {
            return Ok(Flow::Park(Wait::Barrier));
        }
        if parked != wanted {
            let lane = (wanted & !parked).trailing_zeros();
            let what = format!("thread {} of the block has returned, the others of its warp are at a barrier", index as u32 * 32 + lane);
            let mut trouble = self.scene(block, (index, pc), mask).trouble(mask.trailing_zeros().min(31), Fault::new(Kind::BarrierDivergence, what));
            trouble.other = Some(Party { block: block.index, thread: Some(index as u32 * 32 + lane), pc: None });
            return Err(trouble);
        }
        self.arrive(block, (index, pc), kind)
    }

    /// A whole warp has come to a barrier.
    fn arrive(&mut self, block: &mut Block, (index, pc): (usize, u32), kind: &BarrierKind) -> Outcome<Flow> {
        let warp = &mut block.warps[index];
        let lane = warp.alive.trailing_zeros().min(31) as usize;
        let id = warp.registers.narrow[kind.id as usize][lane];
        let all = block_threads(&self.grid.block);
        let count = kind.count.map_or(all, |row| warp.registers.narrow[row as usize][lane]);
        if id as usize >= BARRIERS || count % 32 != 0 || count == 0 {
            let fault = Fault::new(Kind::InvalidOperation, format!("barrier {id} for {count} threads: 0..16, and whole warps"));
            return Err(self.scene(block, (index, pc), 1 << lane).trouble(lane as u32, fault));
        }
        let barrier = &mut block.barriers[id as usize];
        if barrier.arrived != 0 && barrier.count != count {
            let what = format!("barrier {id} for {count} threads, of which others have it for {}", barrier.count);
            let fault = Fault::new(Kind::BarrierDivergence, what);
            return Err(self.scene(block, (index, pc), 1 << lane).trouble(lane as u32, fault));
        }
        barrier.count = count;
        barrier.arrived |= 1 << index;
        block.shared.clock.release(index, &mut barrier.times);
        if let Some((_, predicate, flip, _)) = kind.reduce {
            barrier.set += ((warp.registers.predicates[predicate as usize] ^ flip) & warp.alive).count_ones();
            barrier.asked += warp.alive.count_ones();
        }
        if kind.waits {
            barrier.waiting |= 1 << index;
            warp.at_barrier = Some(id);
            warp.paths.iter_mut().for_each(|path| path.wait = Wait::Barrier);
        } else {
            // Paths that were parked here for it go on as well.
            warp.paths.iter_mut().filter(|path| path.wait == Wait::Barrier).for_each(|path| {
                path.wait = Wait::Ready;
                path.pc += 1;
            });
        }
        self.open_if_full(block, id as usize);
        if kind.waits { Ok(Flow::Anew) } else { Ok(Flow::Next) }
    }

    /// Lets the warps of a barrier go once all that it waits for have come.
    fn open_if_full(&mut self, block: &mut Block, id: usize) {
        let barrier = &block.barriers[id];
        let returned = match self.grid.checks.returned_threads {
            Strictness::Report => 0,
            Strictness::Ignore => block.warps.iter().filter(|warp| warp.is_done()).count() as u32 * 32,
        };
        let everyone = barrier.count == block_threads(&self.grid.block);
        let wanted = barrier.count - if everyone { returned } else { 0 };
        if barrier.arrived == 0 || barrier.arrived.count_ones() * 32 < wanted {
            return;
        }
        let barrier = std::mem::take(&mut block.barriers[id]);
        self.stirred = true;
        for (at, warp) in block.warps.iter_mut().enumerate() {
            if barrier.waiting >> at & 1 == 0 {
                continue;
            }
            block.shared.clock.acquire(at, &barrier.times);
            block.shared.clock.sync_warp(at, !0, !0);
            warp.at_barrier = None;
            for path in 0..warp.paths.len() {
                let pc = warp.paths[path].pc;
                if let Operation::Barrier(kind) = &self.grid.kernel.program.steps[pc as usize].operation
                    && let Some((vote, _, _, to)) = kind.reduce
                {
                    let mask = warp.paths[path].mask;
                    warp.put_vote((vote, to), (barrier.set, barrier.asked), mask);
                }
                warp.paths[path].wait = Wait::Ready;
                warp.paths[path].pc = pc + 1;
            }
        }
    }

    /// Lanes returned: barriers that do not count them may be full.
    pub fn note_exit(&mut self, block: &mut Block, index: usize) {
        if block.warps[index].is_done() && self.grid.checks.returned_threads == Strictness::Ignore {
            (0..BARRIERS).for_each(|id| self.open_if_full(block, id));
        }
    }

    /// No path of a warp is ready: if lanes wait for each other at different places, that is the end.
    pub fn release_parked(&mut self, block: &mut Block, index: usize) -> Outcome {
        let warp = &block.warps[index];
        if warp.is_done() || warp.at_barrier.is_some() {
            return Ok(());
        }
        let path = warp.paths.iter().copied().find(|path| path.wait != Wait::Ready);
        let Some(path) = path else { return Ok(()) };
        if path.wait == Wait::Barrier {
            // Others may have returned since it came, so that it is complete by now.
            let others = warp.paths.iter().filter(|p| p.wait == Wait::Barrier && p.pc == path.pc).fold(0, |all, p| all | p.mask);
            let lane = (warp.exists & !others).trailing_zeros().min(31);
            let what = format!("thread {} of the block is not at the barrier that others of its warp wait at", index as u32 * 32 + lane);
            let place = warp.position(lane);
            if others == warp.alive && self.grid.checks.returned_threads == Strictness::Ignore {
                let Operation::Barrier(kind) = &self.grid.kernel.program.steps[path.pc as usize].operation else { return Ok(()) };
                return self.arrive(block, (index, path.pc), kind).map(|_| ());
            }
            let mut trouble = self.scene(block, (index, path.pc), path.mask).trouble(path.mask.trailing_zeros().min(31), Fault::new(Kind::BarrierDivergence, what));
            trouble.other = Some(Party { block: block.index, thread: Some(index as u32 * 32 + lane), pc: place });
            return Err(trouble);
        }
        Err(self.missing(block, index, path))
    }
}

impl Warp {
    fn put_vote(&mut self, (vote, to): (BlockVote, u32), (set, asked): (u32, u32), mask: u32) {
        let holds = match vote {
            BlockVote::Count => return super::lanes::put(&mut self.registers, to, [set; 32], mask),
            BlockVote::And => set == asked,
            BlockVote::Or => set > 0,
        };
        let to = &mut self.registers.predicates[to as usize];
        *to = if holds { *to | mask } else { *to & !mask };
    }
}

fn block_threads(block: &[u32; 3]) -> u32 {
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
            Special::GridId | Special::Clock | Special::Clock64 | Special::GlobalTimer => 0,
            Special::ClusterCtaid(_) | Special::ClusterRank => 0,
        })
    }
}
