//! What is noted of an access: where it goes, what it costs, who touched the place before.

use super::access::Part;
use super::scene::{OnRace, Outcome, Party, Scene, Trouble, lanes};
use super::tally;
use crate::check::{Fault, Kind, Strictness};
use crate::memory::{Access, Clash, ClashKind, Races, Reading, Touch, Touching};
use crate::ptx::Space;

impl Scene<'_, '_> {
    pub(super) fn count_shared(&mut self, part: &Part, bytes: u32) {
        let (transactions, least) = tally::transactions(&part.addresses, part.mask, bytes);
        let tick = self.tick();
        tick.shared_transactions += transactions;
        tick.shared_least += least;
    }

    pub(super) fn count_global(&mut self, part: &Part, bytes: u32) {
        // Constants have a cache of their own.
        if part.space == Space::Const {
            return;
        }
        let (sectors, least) = tally::sectors(&part.addresses, part.mask, bytes);
        let tick = self.tick();
        tick.transactions += sectors;
        tick.least += least;
        tick.bytes += u64::from(part.mask.count_ones() * bytes);
    }

    pub(super) fn touch(&self, lane: usize, offset: u64, bytes: u32) -> Touch {
        Touch { warp: self.warp_index, lane, pc: self.pc, offset: offset as u32, bytes }
    }

    pub(super) fn note_shared_reads(&mut self, part: &Part, bytes: u32) -> Outcome {
        let lenient = self.grid.kernel.program.order.swaps_shared;
        let doubtful = self.shared.note_reads((self.warp_index, self.pc), part.mask, &part.addresses, bytes);
        for lane in lanes(doubtful) {
            let touch = self.touch(lane, part.addresses[lane], bytes);
            if let Err(clash) = self.shared.note_read(touch, lenient) {
                self.clash(lane, clash)?;
            }
        }
        Ok(())
    }

    pub(super) fn note_shared_writes(&mut self, part: &Part, bytes: u32) -> Outcome {
        for lane in lanes(part.mask) {
            let touch = self.touch(lane, part.addresses[lane], bytes);
            if let Err(clash) = self.shared.note_write(touch) {
                self.clash(lane, clash)?;
            }
        }
        Ok(())
    }

    /// What the shadow of shared memory objects to, as a fault, unless it is to be ignored.
    pub(super) fn clash(&self, lane: usize, clash: Clash) -> Outcome {
        let checks = &self.grid.checks;
        let (kind, what, strictness) = match clash.what {
            ClashKind::Unwritten => {
                (Kind::Uninitialised, "shared memory that nobody in the block has written so far", checks.uninitialised)
            }
            ClashKind::Pending => {
                let what = "shared memory that a cp.async is on its way to, which was not waited for";
                (Kind::AsyncNotWaited, what, Strictness::Report)
            }
            ClashKind::ReadAfterWrite => {
                (Kind::SharedRace, "read with no barrier since another thread wrote it", checks.shared_races)
            }
            ClashKind::WriteAfterRead => {
                (Kind::SharedRace, "written with no barrier since another thread read it", checks.shared_races)
            }
            ClashKind::WriteAfterWrite => {
                (Kind::SharedRace, "written with no barrier since another thread wrote it", checks.shared_races)
            }
        };
        if strictness == Strictness::Ignore {
            return Ok(());
        }
        let mut trouble = self.trouble(lane as u32, Fault::at(kind, u64::from(clash.offset), what));
        if clash.what != ClashKind::Unwritten {
            trouble.other = Some(Party { block: self.block, thread: clash.thread, pc: Some(clash.pc) });
        }
        Err(trouble)
    }

    /// The allocations that the lanes' addresses are in.
    pub(super) fn locate(&mut self, part: &Part, bytes: u32) -> Outcome<Regions> {
        let (mut low, mut high) = (u64::MAX, 0);
        for lane in 0..32 {
            if part.mask >> lane & 1 == 1 {
                low = low.min(part.addresses[lane]);
                high = high.max(part.addresses[lane]);
            }
        }
        let bytes = u64::from(bytes);
        if let Some(at) = self.grid.view.find(low, high.saturating_add(bytes), self.warp.hint) {
            self.warp.hint = at;
            return Ok(Regions::One(at));
        }
        let mut all = [0; 32];
        for lane in lanes(part.mask) {
            let address = part.addresses[lane];
            match self.grid.view.find(address, address.saturating_add(bytes), self.warp.hint) {
                Some(at) => {
                    all[lane] = at as u32;
                    self.warp.hint = at;
                }
                None => return Err(self.trouble(lane as u32, self.grid.memory.explain(address, bytes))),
            }
        }
        Ok(Regions::Many(all))
    }

    pub(super) fn check_written(&self, part: &Part, regions: &Regions, bytes: u32) -> Outcome {
        if !self.uninitialised_is_fault() || matches!(regions, Regions::One(at) if self.grid.view.written[*at]) {
            return Ok(());
        }
        for_runs(part, u64::from(bytes), |lane, address, length| {
            let region = &self.grid.view.regions[regions.of(lane)];
            let Some(offset) = region.first_unwritten(address - region.address, length) else { return Ok(()) };
            let at = region.address + offset;
            let reads = |&lane: &usize| at.wrapping_sub(part.addresses[lane]) < u64::from(bytes);
            let lane = lanes(part.mask).find(reads).unwrap_or(lane);
            let what = format!(
                "byte {offset} of the allocation of {} bytes at {:#x}, which nobody wrote",
                region.bytes, region.address
            );
            Err(self.trouble(lane as u32, Fault::at(Kind::Uninitialised, at, what)))
        })
    }

    /// Notes who touches what, for races between blocks.
    pub(super) fn note_global(&self, part: &Part, regions: &Regions, (bytes, access): (u32, Access)) -> Outcome {
        if self.grid.checks.global_races == Strictness::Ignore {
            return Ok(());
        }
        let program = &self.grid.kernel.program;
        let reading = if program.order.swaps_global { Reading::BesideUpdates } else { Reading::Strict };
        for_runs(part, u64::from(bytes), |lane, address, bytes| {
            let at = regions.of(lane);
            let region = &self.grid.view.regions[at];
            let races = self.grid.view.races[at].get_or_init(|| Races::new(region, program.granules.global));
            let touching = Touching {
                offset: address - region.address,
                address,
                bytes,
                block: self.block,
                access,
                reading,
                company: self.grid.company,
            };
            let outcome = match races.note(touching, &|other| self.is_ordered(other)) {
                Ok(()) => Ok(()),
                Err(conflict) => self.race((part, access), conflict.address, conflict.other),
            };
            self.watch(part, (address, bytes), access);
            outcome
        })
    }

    fn race(&self, (part, access): (&Part, Access), address: u64, other: Option<u32>) -> Outcome {
        use std::sync::atomic::Ordering::Relaxed;
        match self.grid.on_race {
            OnRace::Note => {
                self.grid.raced.fetch_min(address, Relaxed);
                return Ok(());
            }
            OnRace::Watch(watched) if watched != address => return Ok(()),
            _ => {}
        }
        let what = "touched by two blocks, one of them writing, with nothing that orders them";
        let lane = toucher(part, address);
        let mut trouble: Box<Trouble> = self.trouble(lane as u32, Fault::at(Kind::GlobalRace, address, what));
        let witnesses = self.grid.watched.lock().unwrap_or_else(|e| e.into_inner());
        let at_odds =
            |&&(how, party): &&(Access, Party)| party.block != self.block && (how != access || how == Access::Write);
        let known = witnesses.iter().rev().find(at_odds).map(|&(_, party)| party);
        trouble.other = known.or(other.map(|block| Party { block, thread: None, pc: None }));
        Err(trouble)
    }

    /// Remembers who touches the address that is watched, if one is.
    fn watch(&self, part: &Part, (address, bytes): (u64, u64), access: Access) {
        let OnRace::Watch(watched) = self.grid.on_race else { return };
        if watched.wrapping_sub(address) >= bytes {
            return;
        }
        let thread = self.warp_index as u32 * 32 + toucher(part, watched) as u32;
        let party = Party { block: self.block, thread: Some(thread), pc: Some(self.pc) };
        let mut witnesses = self.grid.watched.lock().unwrap_or_else(|e| e.into_inner());
        if !witnesses.iter().any(|(how, known)| *how == access && known.block == self.block) {
            witnesses.push((access, party));
        }
    }
}

/// The lane whose access an address belongs to: the last that begins at it or before.
fn toucher(part: &Part, address: u64) -> usize {
    let before = lanes(part.mask).filter(|&lane| part.addresses[lane] <= address);
    before.max_by_key(|&lane| part.addresses[lane]).unwrap_or(0)
}

/// The allocation of each lane's address.
pub(super) enum Regions {
    One(usize),
    Many([u32; 32]),
}

impl Regions {
    #[inline(always)]
    pub fn of(&self, lane: usize) -> usize {
        match self {
            Regions::One(at) => *at,
            Regions::Many(all) => all[lane] as usize,
        }
    }
}

/// Calls `f` with the first lane, the address and the length of each run of addresses that follow each other lane by lane.
pub(super) fn for_runs(part: &Part, bytes: u64, mut f: impl FnMut(usize, u64, u64) -> Outcome) -> Outcome {
    let mut run: Option<(usize, u64, u64)> = None;
    for lane in lanes(part.mask) {
        let address = part.addresses[lane];
        match &mut run {
            // The gap between allocations keeps a run from crossing into the next one.
            Some((_, start, length)) if *start + *length == address => *length += bytes,
            Some((_, start, length)) if *length == bytes && *start == address => {}
            _ => {
                if let Some((lane, start, length)) = run {
                    f(lane, start, length)?;
                }
                run = Some((lane, address, bytes));
            }
        }
    }
    run.map_or(Ok(()), |(lane, start, length)| f(lane, start, length))
}
