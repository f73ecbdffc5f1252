//! Loads and stores.

use super::lanes::put;
use super::scene::{OnRace, Outcome, Party, Scene, Trouble, lanes, outside};
use super::tally;
use crate::check::{Fault, Kind, Strictness};
use crate::decode::{Load, Store};
use crate::memory::{Access, Clash, ClashKind, LOCAL_WINDOW, Races, Reading, SHARED_WINDOW, Touch, Touching, WINDOW_BYTES};
use crate::ptx::Space;

/// Lanes whose addresses are in one space.
pub(super) struct Part {
    pub space: Space,
    pub mask: u32,
    pub addresses: [u64; 32],
}

impl Scene<'_, '_> {
    /// Divides the lanes by the spaces that their generic addresses are in.
    pub(super) fn parts(&self, space: Space, addresses: [u64; 32]) -> Vec<Part> {
        if space != Space::Generic {
            return vec![Part { space, mask: self.mask, addresses }];
        }
        let inside = |window: u64| {
            lanes(self.mask)
                .filter(|&lane| addresses[lane].wrapping_sub(window) < WINDOW_BYTES)
                .fold(0, |all, lane| all | 1u32 << lane)
        };
        let (shared, local) = (inside(SHARED_WINDOW), inside(LOCAL_WINDOW));
        let parts = [
            Part { space: Space::Global, mask: self.mask & !shared & !local, addresses },
            Part { space: Space::Shared, mask: shared, addresses: addresses.map(|a| a.wrapping_sub(SHARED_WINDOW)) },
            Part { space: Space::Local, mask: local, addresses: addresses.map(|a| a.wrapping_sub(LOCAL_WINDOW)) },
        ];
        parts.into_iter().filter(|part| part.mask != 0).collect()
    }

    /// `ld`.
    pub fn load(&mut self, load: &Load) -> Outcome {
        let addresses = self.addresses(&load.address);
        let total = load.element * load.to.len() as u32;
        if load.address.space != Space::Generic {
            return self.load_part(load, total, &Part { space: load.address.space, mask: self.mask, addresses });
        }
        for part in self.parts(load.address.space, addresses) {
            self.load_part(load, total, &part)?;
        }
        Ok(())
    }

    fn load_part(&mut self, load: &Load, total: u32, part: &Part) -> Outcome {
        self.check_alignment(part, total)?;
        match part.space {
            Space::Shared => {
                self.check_shared(part, total)?;
                self.count_shared(part, total);
                self.note_shared_reads(part, total)?;
                for (index, to) in load.to.iter().enumerate() {
                    let Some(to) = to else { continue };
                    let (offset, element) = (index * load.element as usize, load.element as usize);
                    let mut row = [0; 32];
                    for lane in lanes(part.mask) {
                        row[lane] = self.shared.load(part.addresses[lane] as usize + offset, element);
                    }
                    self.put_loaded(*to, row, part.mask, load);
                }
            }
            Space::Local => self.load_local(load, total, part)?,
            Space::Param => self.load_parameter(load, total, part)?,
            _ => {
                let regions = self.locate(part, total)?;
                self.count_global(part, total);
                self.check_written(part, &regions, total)?;
                // What is meant to be seen while others change it is no race with their updates.
                let access = if load.strong { Access::Update } else { Access::Read };
                self.note_global(part, &regions, (total, access))?;
                if load.strong {
                    self.acquire_global(part);
                }
                for (index, to) in load.to.iter().enumerate() {
                    let Some(to) = to else { continue };
                    let (offset, element) = (u64::from(index as u32 * load.element), u64::from(load.element));
                    let mut row = [0; 32];
                    for lane in lanes(part.mask) {
                        let region = &self.grid.view.regions[regions.of(lane)];
                        row[lane] = region.load(part.addresses[lane] - region.address + offset, element);
                    }
                    self.put_loaded(*to, row, part.mask, load);
                }
            }
        }
        Ok(())
    }

    fn put_loaded(&mut self, (to, wide): (u32, bool), row: [u64; 32], mask: u32, load: &Load) {
        let unused = 64 - 8 * load.element;
        let row = if load.signed { row.map(|bits| ((bits << unused) as i64 >> unused) as u64) } else { row };
        if wide {
            put(&mut self.warp.registers, to, row, mask);
        } else {
            put(&mut self.warp.registers, to, row.map(|bits| bits as u32), mask);
        }
    }

    fn load_local(&mut self, load: &Load, total: u32, part: &Part) -> Outcome {
        self.check_local(part, total)?;
        if self.uninitialised_is_fault() {
            for lane in lanes(part.mask) {
                let at = part.addresses[lane] as usize;
                if let Some(offset) = self.warp.local.first_unwritten(lane, at, total as usize) {
                    let fault = Fault::at(Kind::Uninitialised, offset as u64, "local memory that the thread never wrote");
                    return Err(self.trouble(lane as u32, fault));
                }
            }
        }
        for (index, to) in load.to.iter().enumerate() {
            let Some(to) = to else { continue };
            let mut row = [0; 32];
            for lane in lanes(part.mask) {
                let at = part.addresses[lane] as usize + index * load.element as usize;
                row[lane] = self.warp.local.load(lane, at, load.element as usize);
            }
            self.put_loaded(*to, row, part.mask, load);
        }
        Ok(())
    }

    fn load_parameter(&mut self, load: &Load, total: u32, part: &Part) -> Outcome {
        let size = self.grid.params.len() as u64;
        for lane in lanes(part.mask) {
            if part.addresses[lane].saturating_add(u64::from(total)) > size {
                return Err(self.trouble(lane as u32, outside("parameters", part.addresses[lane], total, size)));
            }
        }
        for (index, to) in load.to.iter().enumerate() {
            let Some(to) = to else { continue };
            let mut row = [0; 32];
            for lane in lanes(part.mask) {
                let at = part.addresses[lane] as usize + index * load.element as usize;
                let mut word = [0; 8];
                word[..load.element as usize].copy_from_slice(&self.grid.params[at..][..load.element as usize]);
                row[lane] = u64::from_le_bytes(word);
            }
            self.put_loaded(*to, row, part.mask, load);
        }
        Ok(())
    }

    /// `st`.
    pub fn store(&mut self, store: &Store) -> Outcome {
        let addresses = self.addresses(&store.address);
        let total = store.element * store.from.len() as u32;
        if store.address.space != Space::Generic {
            return self.store_part(store, total, &Part { space: store.address.space, mask: self.mask, addresses });
        }
        for part in self.parts(store.address.space, addresses) {
            self.store_part(store, total, &part)?;
        }
        Ok(())
    }

    fn store_part(&mut self, store: &Store, total: u32, part: &Part) -> Outcome {
        self.check_alignment(part, total)?;
        match part.space {
            Space::Shared => {
                self.check_shared(part, total)?;
                self.count_shared(part, total);
                self.note_shared_writes(part, total)?;
                for (index, &from) in store.from.iter().enumerate() {
                    let row = self.stored(from);
                    let offset = index * store.element as usize;
                    for lane in lanes(part.mask) {
                        self.shared.store(part.addresses[lane] as usize + offset, store.element as usize, row[lane]);
                    }
                }
            }
            Space::Local => {
                self.check_local(part, total)?;
                for (index, &from) in store.from.iter().enumerate() {
                    let row = self.stored(from);
                    for lane in lanes(part.mask) {
                        let at = part.addresses[lane] as usize + index * store.element as usize;
                        self.warp.local.store(lane, at, store.element as usize, row[lane]);
                    }
                }
            }
            Space::Const | Space::Param => {
                let fault = Fault::at(Kind::ReadOnly, part.addresses[0], "constants and parameters cannot be stored to");
                return Err(self.trouble(Self::first(part.mask), fault));
            }
            _ => self.store_global(store, total, part)?,
        }
        Ok(())
    }

    fn store_global(&mut self, store: &Store, total: u32, part: &Part) -> Outcome {
        let regions = self.locate(part, total)?;
        self.count_global(part, total);
        let access = if store.strong { Access::Update } else { Access::Write };
        self.note_global(part, &regions, (total, access))?;
        for (index, &from) in store.from.iter().enumerate() {
            let row = self.stored(from);
            let (offset, element) = (u64::from(index as u32 * store.element), u64::from(store.element));
            for lane in lanes(part.mask) {
                let region = &self.grid.view.regions[regions.of(lane)];
                region.store(part.addresses[lane] - region.address + offset, element, row[lane]);
            }
        }
        let view = &self.grid.view;
        for_runs(part, u64::from(total), |lane, address, bytes| {
            let at = regions.of(lane);
            if !view.written[at] {
                view.regions[at].mark(address - view.regions[at].address, bytes);
            }
            Ok(())
        })?;
        if store.strong {
            self.release_global(part, store.releases);
        }
        Ok(())
    }

    fn stored(&self, (row, wide): (u32, bool)) -> [u64; 32] {
        let registers = &self.warp.registers;
        if wide { registers.wide[row as usize] } else { registers.narrow[row as usize].map(u64::from) }
    }

    pub(super) fn check_alignment(&self, part: &Part, total: u32) -> Outcome {
        let low = u64::from(total - 1);
        let all = (0..32).fold(0, |all, lane| all | if part.mask >> lane & 1 == 1 { part.addresses[lane] } else { 0 });
        if all & low == 0 {
            return Ok(());
        }
        let lane = lanes(part.mask).find(|&lane| part.addresses[lane] & low != 0).unwrap_or(0);
        let what = format!("{total} bytes at an address that is not a multiple of {total}");
        Err(self.trouble(lane as u32, Fault::at(Kind::Misaligned, part.addresses[lane], what)))
    }

    pub(super) fn check_shared(&self, part: &Part, bytes: u32) -> Outcome {
        let size = self.shared.data.len() as u64;
        let most = (0..32).fold(0, |most, lane| if part.mask >> lane & 1 == 1 { part.addresses[lane].max(most) } else { most });
        if most.saturating_add(u64::from(bytes)) <= size {
            return Ok(());
        }
        let lane = lanes(part.mask).find(|&lane| part.addresses[lane].saturating_add(u64::from(bytes)) > size).unwrap_or(0);
        Err(self.trouble(lane as u32, outside("shared memory that the block has", part.addresses[lane], bytes, size)))
    }

    fn check_local(&self, part: &Part, bytes: u32) -> Outcome {
        let size = self.warp.local.bytes_per_lane() as u64;
        match lanes(part.mask).find(|&lane| part.addresses[lane].saturating_add(u64::from(bytes)) > size) {
            None => Ok(()),
            Some(lane) => Err(self.trouble(lane as u32, outside("local memory that the thread has", part.addresses[lane], bytes, size))),
        }
    }

    pub(super) fn count_shared(&mut self, part: &Part, bytes: u32) {
        let (transactions, least) = tally::transactions(&part.addresses, part.mask, bytes);
        let tick = self.tick();
        tick.shared_transactions += transactions;
        tick.shared_least += least;
    }

    pub(super) fn count_global(&mut self, part: &Part, bytes: u32) {
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
        for lane in lanes(part.mask) {
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
                (Kind::Uninitialised, "shared memory that the block never wrote", checks.uninitialised)
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
            let touching = Touching { offset: address - region.address, address, bytes, block: self.block, access, reading };
            match races.note(touching, &|other| self.is_ordered(other)) {
                Ok(()) => Ok(()),
                Err(conflict) => self.race(part, conflict.address, conflict.other),
            }
        })
    }

    fn race(&self, part: &Part, address: u64, other: Option<u32>) -> Outcome {
        use std::sync::atomic::Ordering::Relaxed;
        match self.grid.on_race {
            OnRace::Note => {
                self.grid.raced.fetch_min(address, Relaxed);
                return Ok(());
            }
            OnRace::Watch(watched) if watched != address => return Ok(()),
            _ => {}
        }
        let nearest = lanes(part.mask).filter(|&lane| part.addresses[lane] <= address).max_by_key(|&lane| part.addresses[lane]);
        let what = "touched by two blocks, one of them writing, with nothing that orders them";
        let mut trouble: Box<Trouble> = self.trouble(nearest.unwrap_or(0) as u32, Fault::at(Kind::GlobalRace, address, what));
        trouble.other = other.map(|block| Party { block, thread: None, pc: None });
        Err(trouble)
    }
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
