//! The numbered barriers of a block.

use super::block::{Block, block_threads};
use super::launch::Worker;
use super::run::Flow;
use super::scene::{Outcome, Party, Trouble};
use super::warp::{Path, Wait, Warp};
use crate::check::{Fault, Kind, Strictness};
use crate::decode::{BarrierKind, BlockVote, Operation};

/// Barriers that a block has.
pub(super) const BARRIERS: usize = 16;

/// One of the numbered barriers.
#[derive(Clone, Debug, Default)]
pub(super) struct Barrier {
    /// Warps that have arrived, and those of them that wait.
    arrived: u32,
    waiting: u32,
    times: [u32; 32],
    count: u32,
    /// `barrier.red`: how many predicates were set, of how many.
    set: u32,
    asked: u32,
}

impl<'g> Worker<'g> {
    /// Nobody can run: who waits, and who did not come.
    pub fn stuck(&self, block: &Block) -> Box<Trouble> {
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
            let fault =
                Fault::new(Kind::BarrierDivergence, "a barrier under a predicate that not all threads have set");
            return Err(self.scene(block, (index, pc), mask).trouble(mask.trailing_zeros().min(31), fault));
        }
        let here = |path: &&Path| path.wait == Wait::Barrier && (path.pc == pc || !kind.aligned);
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
            let what = format!(
                "thread {} of the block has returned, the others of its warp are at a barrier",
                index as u32 * 32 + lane
            );
            let mut trouble = self
                .scene(block, (index, pc), mask)
                .trouble(mask.trailing_zeros().min(31), Fault::new(Kind::BarrierDivergence, what));
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
        if id as usize >= BARRIERS || !count.is_multiple_of(32) || count == 0 {
            let fault =
                Fault::new(Kind::InvalidOperation, format!("barrier {id} for {count} threads: 0..16, and whole warps"));
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
        let everyone_waits = barrier.waiting.count_ones() as usize == block.warps.len();
        if everyone_waits {
            block.shared.clock.sync_block();
        }
        for (at, warp) in block.warps.iter_mut().enumerate() {
            if barrier.waiting >> at & 1 == 0 {
                continue;
            }
            if !everyone_waits {
                block.shared.clock.acquire(at, &barrier.times);
                block.shared.clock.sync_warp(at, !0, !0);
            }
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
            let others =
                warp.paths.iter().filter(|p| p.wait == Wait::Barrier && p.pc == path.pc).fold(0, |all, p| all | p.mask);
            let lane = (warp.exists & !others).trailing_zeros().min(31);
            let what = format!(
                "thread {} of the block is not at the barrier that others of its warp wait at",
                index as u32 * 32 + lane
            );
            let place = warp.position(lane);
            if others == warp.alive && self.grid.checks.returned_threads == Strictness::Ignore {
                let Operation::Barrier(kind) = &self.grid.kernel.program.steps[path.pc as usize].operation else {
                    return Ok(());
                };
                return self.arrive(block, (index, path.pc), kind).map(|_| ());
            }
            let mut trouble = self
                .scene(block, (index, path.pc), path.mask)
                .trouble(path.mask.trailing_zeros().min(31), Fault::new(Kind::BarrierDivergence, what));
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
