//! mbarriers: barriers that are objects in shared memory.

use super::access::Part;
use super::block::Block;
use super::lanes::put;
use super::launch::Worker;
use super::run::Flow;
use super::scene::{Outcome, Scene, lanes};
use crate::check::{Fault, Kind};
use crate::decode::{Mbarrier, MbarrierKind};
use crate::memory::{SHARED_WINDOW, WINDOW_BYTES};
use crate::ptx::Space;

/// An mbarrier.
#[derive(Clone, Debug, Default)]
pub(crate) struct MbarrierState {
    /// Arrivals that a phase needs, and that the current one still lacks.
    count: u32,
    pending: u32,
    /// Bytes that are announced and have not come.
    bytes: i64,
    phase: u64,
    /// What those that arrived in this phase know, and what those of the last one did.
    times: [u32; 32],
    last: [u32; 32],
}

impl MbarrierState {
    /// Ends the phase if nothing is lacking.
    fn settle(&mut self) -> bool {
        if self.pending > 0 || self.bytes != 0 {
            return false;
        }
        self.phase += 1;
        self.pending = self.count;
        self.last = self.times;
        true
    }
}

/// Bits of an arrival's state that hold how many arrivals were lacking; the phase is above them.
const PENDING_BITS: u32 = 20;

/// One lane's operation.
#[derive(Clone, Copy)]
struct Turn {
    lane: usize,
    offset: u32,
    operand: Option<u64>,
}

impl<'g> Worker<'g> {
    /// An operation on an mbarrier, lane by lane.
    pub fn mbarrier(&mut self, block: &mut Block, at: (usize, u32), what: &Mbarrier, mask: u32) -> Outcome<Flow> {
        let mut scene = self.scene(block, at, mask);
        if what.kind == MbarrierKind::PendingCount {
            scene.pending_count(what);
            return Ok(Flow::Next);
        }
        if matches!(what.kind, MbarrierKind::ArriveOnCopies | MbarrierKind::ArriveOnCopiesCounted) {
            // Copies land at their mbarrier's arrival; who reads them must wait for it, or the race check objects.
            scene.wait_all_copies();
        }
        let addresses = scene.mbarrier_addresses(what)?;
        let operands = scene.mbarrier_operands(what);
        let (mut row, mut waits) = ([0u64; 32], false);
        for lane in lanes(mask) {
            let turn = Turn { lane, offset: addresses[lane], operand: operands.map(|all| all[lane]) };
            row[lane] = self.turn(block, at, what.kind, turn)?;
            waits |= matches!(what.kind, MbarrierKind::TestState | MbarrierKind::TestParity) && row[lane] == 0;
        }
        let registers = &mut block.warps[at.0].registers;
        match (what.to, what.kind) {
            (Some(to), MbarrierKind::TestState | MbarrierKind::TestParity) => {
                let bits = lanes(mask).fold(0, |bits, lane| bits | (row[lane] as u32) << lane);
                let to = &mut registers.predicates[to as usize];
                *to = (*to & !mask) | (bits & mask);
            }
            (Some(to), _) => put(registers, to, row, mask),
            (None, _) => {}
        }
        Ok(if waits { Flow::Yield } else { Flow::Next })
    }

    fn turn(&mut self, block: &mut Block, at: (usize, u32), kind: MbarrierKind, turn: Turn) -> Outcome<u64> {
        let number = turn.operand.unwrap_or(1);
        let bad = |worker: &mut Self, block: &mut Block, what: String| {
            let fault = Fault::at(Kind::InvalidOperation, u64::from(turn.offset), what);
            Err(worker.scene(block, at, 1 << turn.lane).trouble(turn.lane as u32, fault))
        };
        if kind == MbarrierKind::Initialise {
            let count = number as u32;
            if count == 0 || count >= 1 << PENDING_BITS {
                return bad(self, block, format!("an mbarrier for {count} arrivals"));
            }
            block.mbarriers.insert(turn.offset, MbarrierState { count, pending: count, ..MbarrierState::default() });
            return Ok(0);
        }
        let Some(barrier) = block.mbarriers.get_mut(&turn.offset) else {
            return bad(self, block, "there is no mbarrier: it was not initialised".into());
        };
        let state = barrier.phase << PENDING_BITS | u64::from(barrier.pending);
        let arrivals = match kind {
            MbarrierKind::Arrive | MbarrierKind::ArriveDrop => number as u32,
            MbarrierKind::ArriveExpectBytes | MbarrierKind::ArriveOnCopies => 1,
            _ => 0,
        };
        match kind {
            MbarrierKind::TestState | MbarrierKind::TestParity => {
                let over = if kind == MbarrierKind::TestParity {
                    barrier.phase & 1 != number & 1
                } else {
                    barrier.phase != number >> PENDING_BITS
                };
                let last = barrier.last;
                if over {
                    block.shared.clock.acquire(at.0, &last);
                }
                return Ok(u64::from(over));
            }
            MbarrierKind::ExpectBytes | MbarrierKind::ArriveExpectBytes => barrier.bytes += number as i64,
            MbarrierKind::CompleteBytes => barrier.bytes -= number as i64,
            MbarrierKind::ArriveDrop => barrier.count = barrier.count.saturating_sub(number as u32),
            MbarrierKind::Invalidate => {
                block.mbarriers.remove(&turn.offset);
                return Ok(0);
            }
            _ => {}
        }
        if arrivals > barrier.pending {
            let what = format!("{arrivals} arrivals where {} are wanted", barrier.pending);
            return bad(self, block, what);
        }
        if arrivals > 0 {
            block.shared.clock.release(at.0, &mut barrier.times);
        }
        barrier.pending -= arrivals;
        if matches!(kind, MbarrierKind::ArriveOnCopiesCounted) {
            return Ok(state);
        }
        self.stirred |= barrier.settle();
        Ok(state)
    }
}

impl Scene<'_, '_> {
    fn mbarrier_addresses(&self, what: &Mbarrier) -> Outcome<[u32; 32]> {
        let mut addresses = self.addresses(&what.address);
        if what.address.space == Space::Generic {
            addresses = addresses.map(|address| address.wrapping_sub(SHARED_WINDOW));
            if let Some(lane) = lanes(self.mask).find(|&lane| addresses[lane] >= WINDOW_BYTES) {
                let fault = Fault::at(Kind::InvalidOperation, addresses[lane], "an mbarrier is in shared memory");
                return Err(self.trouble(lane as u32, fault));
            }
        }
        let part = Part { space: Space::Shared, mask: self.mask, addresses };
        self.check_alignment(&part, 8)?;
        self.check_shared(&part, 8)?;
        Ok(addresses.map(|address| address as u32))
    }

    fn mbarrier_operands(&self, what: &Mbarrier) -> Option<[u64; 32]> {
        let row = what.operand? as usize;
        let wide = what.kind == MbarrierKind::TestState;
        let registers = &self.warp.registers;
        Some(if wide { registers.wide[row] } else { registers.narrow[row].map(u64::from) })
    }

    fn pending_count(&mut self, what: &Mbarrier) {
        if let (Some(to), Some(state)) = (what.to, what.operand) {
            let states = self.warp.registers.wide[state as usize];
            let counts = states.map(|state| state as u32 & ((1 << PENDING_BITS) - 1));
            put(&mut self.warp.registers, to, counts, self.mask);
        }
    }
}
