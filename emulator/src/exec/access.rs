//! Loads and stores.

use super::lanes::{each, put};
use super::notes::for_runs;
use super::scene::{Outcome, Scene, lanes, outside};
use crate::check::{Fault, Kind};
use crate::decode::{Load, Store};
use crate::memory::{Access, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
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
        let (shared, local, parameters) = (inside(SHARED_WINDOW), inside(LOCAL_WINDOW), inside(PARAM_WINDOW));
        let parts = [
            Part { space: Space::Global, mask: self.mask & !shared & !local & !parameters, addresses },
            Part { space: Space::Shared, mask: shared, addresses: addresses.map(|a| a.wrapping_sub(SHARED_WINDOW)) },
            Part { space: Space::Local, mask: local, addresses: addresses.map(|a| a.wrapping_sub(LOCAL_WINDOW)) },
            Part { space: Space::Param, mask: parameters, addresses: addresses.map(|a| a.wrapping_sub(PARAM_WINDOW)) },
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
                    let row = self.shared.load_row(&part.addresses, part.mask, offset, element);
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
        let row = if load.signed { each(&row, |bits| ((bits << unused) as i64 >> unused) as u64) } else { row };
        if wide {
            put(&mut self.warp.registers, to, row, mask);
        } else {
            put(&mut self.warp.registers, to, each(&row, |bits| bits as u32), mask);
        }
    }

    fn load_local(&mut self, load: &Load, total: u32, part: &Part) -> Outcome {
        self.check_local(part, total)?;
        if self.uninitialised_is_fault() {
            for lane in lanes(part.mask) {
                let at = part.addresses[lane] as usize;
                if let Some(offset) = self.warp.local.first_unwritten(lane, at, total as usize) {
                    let fault =
                        Fault::at(Kind::Uninitialised, offset as u64, "local memory that the thread never wrote");
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
                let fault =
                    Fault::at(Kind::ReadOnly, part.addresses[0], "constants and parameters cannot be stored to");
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
        if wide { registers.wide[row as usize] } else { each(&registers.narrow[row as usize], u64::from) }
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
        let most = (0..32)
            .fold(0, |most, lane| if part.mask >> lane & 1 == 1 { part.addresses[lane].max(most) } else { most });
        if most.saturating_add(u64::from(bytes)) <= size {
            return Ok(());
        }
        let lane =
            lanes(part.mask).find(|&lane| part.addresses[lane].saturating_add(u64::from(bytes)) > size).unwrap_or(0);
        Err(self.trouble(lane as u32, outside("shared memory that the block has", part.addresses[lane], bytes, size)))
    }

    fn check_local(&self, part: &Part, bytes: u32) -> Outcome {
        let size = self.warp.local.bytes_per_lane() as u64;
        match lanes(part.mask).find(|&lane| part.addresses[lane].saturating_add(u64::from(bytes)) > size) {
            None => Ok(()),
            Some(lane) => Err(self
                .trouble(lane as u32, outside("local memory that the thread has", part.addresses[lane], bytes, size))),
        }
    }
}
