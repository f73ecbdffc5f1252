//! The device's memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, RwLock};

use super::{Races, Region};
use crate::check::{Fault, Kind};

/// The lowest address handed out. Small numbers, which are offsets gone astray, are then never addresses.
const FIRST_ADDRESS: u64 = 0x1000_0000_0000;
/// Alignment of an allocation, as the driver's.
const ALIGN: u64 = 512;
/// Addresses left unused behind each allocation, so that an overrun meets nothing.
const GAP: u64 = 1 << 20;
/// Freed ranges remembered for the reports.
const FREED: usize = 1 << 16;

/// A live allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Its first byte's address.
    pub addr: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// The device's memory: allocations at 64-bit addresses, which are not handed out a second time.
pub struct Memory {
    capacity: u64,
    state: RwLock<State>,
}

struct State {
    live: BTreeMap<u64, Arc<Region>>,
    freed: VecDeque<Allocation>,
    next: u64,
    in_use: u64,
    peak: u64,
}

impl Memory {
    /// Memory of `capacity` bytes. Nothing is taken of this machine's before it is allocated and touched.
    pub fn new(capacity: u64) -> Self {
        let state = State { live: BTreeMap::new(), freed: VecDeque::new(), next: FIRST_ADDRESS, in_use: 0, peak: 0 };
        Self { capacity, state: RwLock::new(state) }
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Allocates, or not if the capacity does not allow it.
    pub fn alloc(&self, bytes: u64) -> Option<u64> {
        let mut state = self.state_mut();
        if bytes == 0 || bytes > self.capacity - state.in_use {
            return None;
        }
        let addr = state.next;
        self.insert(&mut state, addr, bytes);
        Some(addr)
    }

    /// Allocates at an address of the caller's choice, as a replay must. None if something is in the way.
    pub fn alloc_at(&self, addr: u64, bytes: u64) -> Option<u64> {
        let mut state = self.state_mut();
        let before = state.live.range(..addr.checked_add(bytes)?).next_back();
        if bytes == 0 || before.is_some_and(|(_, region)| region.address + region.bytes > addr) {
            return None;
        }
        self.insert(&mut state, addr, bytes);
        Some(addr)
    }

    fn insert(&self, state: &mut State, addr: u64, bytes: u64) {
        state.live.insert(addr, Arc::new(Region::new(addr, bytes)));
        state.next = state.next.max((addr + bytes + GAP).next_multiple_of(ALIGN));
        state.in_use += bytes;
        state.peak = state.peak.max(state.in_use);
    }

    /// Frees what `alloc` returned.
    pub fn free(&self, addr: u64) -> Result<(), Fault> {
        let mut state = self.state_mut();
        let Some(region) = state.live.remove(&addr) else {
            let what = if state.freed.iter().any(|f| f.addr == addr) {
                "freed twice".into()
            } else {
                format!("freed, but not the start of an allocation: {}", describe(&state, addr, 1).1)
            };
            return Err(Fault::at(Kind::InvalidFree, addr, what));
        };
        state.in_use -= region.bytes;
        if state.freed.len() == FREED {
            state.freed.pop_front();
        }
        state.freed.push_back(Allocation { addr, bytes: region.bytes });
        Ok(())
    }

    fn region(&self, addr: u64, bytes: u64) -> Result<Arc<Region>, Fault> {
        let state = self.state();
        let found = state.live.range(..=addr).next_back().map(|(_, region)| region);
        match found {
            Some(region)
                if addr - region.address <= region.bytes && bytes <= region.bytes - (addr - region.address) =>
            {
                Ok(region.clone())
            }
            _ => {
                let (kind, what) = describe(&state, addr, bytes);
                Err(Fault::at(kind, addr, what))
            }
        }
    }

    /// Why no `bytes` bytes are accessible at an address.
    pub(crate) fn explain(&self, addr: u64, bytes: u64) -> Fault {
        let (kind, what) = describe(&self.state(), addr, bytes);
        Fault::at(kind, addr, what)
    }

    /// Copies from the host.
    pub fn write(&self, addr: u64, data: &[u8]) -> Result<(), Fault> {
        if !data.is_empty() {
            let region = self.region(addr, data.len() as u64)?;
            region.write(addr - region.address, data);
        }
        Ok(())
    }

    /// Copies to the host. Bytes never written are zero; [`Memory::first_uninitialised`] says where.
    pub fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), Fault> {
        if !out.is_empty() {
            let region = self.region(addr, out.len() as u64)?;
            region.read(addr - region.address, out);
        }
        Ok(())
    }

    /// The first address of the range that nobody ever wrote.
    pub fn first_uninitialised(&self, addr: u64, bytes: u64) -> Result<Option<u64>, Fault> {
        if bytes == 0 {
            return Ok(None);
        }
        let region = self.region(addr, bytes)?;
        Ok(region.first_unwritten(addr - region.address, bytes).map(|offset| region.address + offset))
    }

    /// Marks a range as never written again, as a replay of a launch needs it.
    pub fn forget(&self, addr: u64, bytes: u64) -> Result<(), Fault> {
        let region = self.region(addr, bytes)?;
        region.unmark(addr - region.address, bytes);
        Ok(())
    }

    /// Writes `pattern` `count` times.
    pub fn fill(&self, addr: u64, pattern: &[u8], count: u64) -> Result<(), Fault> {
        let bytes = pattern.len() as u64 * count;
        if bytes == 0 {
            return Ok(());
        }
        let region = self.region(addr, bytes)?;
        let per_piece = (4096 / pattern.len() as u64).max(1);
        let piece = pattern.repeat(per_piece as usize);
        let mut at = addr - region.address;
        let end = at + bytes;
        while at < end {
            let len = (end - at).min(piece.len() as u64);
            region.write(at, &piece[..len as usize]);
            at += len;
        }
        Ok(())
    }

    /// Copies within the device; bytes never written stay so.
    pub fn copy(&self, dst: u64, src: u64, bytes: u64) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        let (from, to) = (self.region(src, bytes)?, self.region(dst, bytes)?);
        let (src, dst) = (src - from.address, dst - to.address);
        let mut data = vec![0; bytes as usize];
        from.read(src, &mut data);
        let holes: Vec<u64> = match from.first_unwritten(src, bytes) {
            None => Vec::new(),
            Some(first) => (first..src + bytes).filter(|&at| from.first_unwritten(at, 1).is_some()).collect(),
        };
        to.write(dst, &data);
        for at in holes {
            to.unmark(dst + (at - src), 1);
        }
        Ok(())
    }

    /// The live allocations, by address.
    pub fn allocations(&self) -> Vec<Allocation> {
        self.state().live.values().map(|region| Allocation { addr: region.address, bytes: region.bytes }).collect()
    }

    /// The allocation that an address lies in.
    pub fn allocation_of(&self, addr: u64) -> Option<Allocation> {
        let region = self.region(addr, 1).ok()?;
        Some(Allocation { addr: region.address, bytes: region.bytes })
    }

    /// Bytes allocated.
    pub fn in_use(&self) -> u64 {
        self.state().in_use
    }

    /// The most bytes that were ever allocated at once.
    pub fn peak(&self) -> u64 {
        self.state().peak
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The live allocations as a launch sees them.
    pub(crate) fn view(&self) -> View {
        let regions: Vec<Arc<Region>> = self.state().live.values().cloned().collect();
        View {
            starts: regions.iter().map(|region| region.address).collect(),
            written: regions.iter().map(|region| region.is_written()).collect(),
            races: regions.iter().map(|_| OnceLock::new()).collect(),
            regions,
        }
    }
}

/// What is wrong with `bytes` bytes at `addr`.
fn describe(state: &State, addr: u64, bytes: u64) -> (Kind, String) {
    let (first, last) = (addr, addr.saturating_add(bytes.max(1)));
    if let Some(freed) = state.freed.iter().rev().find(|f| first < f.addr + f.bytes && f.addr < last) {
        let offset = addr.wrapping_sub(freed.addr) as i64;
        let what =
            format!("byte {offset} of an allocation of {} bytes at {:#x}, which was freed", freed.bytes, freed.addr);
        return (Kind::UseAfterFree, what);
    }
    let before = state.live.range(..=addr).next_back().map(|(_, region)| region);
    let after = state.live.range(addr..).next().map(|(_, region)| region);
    let behind = before.map(|r| (last.saturating_sub(r.address + r.bytes), r));
    let ahead = after.map(|r| (r.address - addr, r));
    let what = match (behind, ahead) {
        (Some((distance, r)), near) if near.is_none_or(|(other, _)| distance <= other) => {
            format!("ends {distance} bytes past the end of the allocation of {} bytes at {:#x}", r.bytes, r.address)
        }
        (_, Some((distance, r))) => {
            format!("{distance} bytes before the start of the allocation of {} bytes at {:#x}", r.bytes, r.address)
        }
        _ => "there is no allocation".into(),
    };
    (Kind::OutOfBounds, what)
}

/// The allocations that a launch may touch.
pub(crate) struct View {
    starts: Vec<u64>,
    pub regions: Vec<Arc<Region>>,
    /// Allocations in which every byte was written before the launch.
    pub written: Vec<bool>,
    /// Who touched what during the launch; made once an allocation is touched.
    pub races: Vec<OnceLock<Races>>,
}

impl View {
    /// The allocation that holds all of `first .. end`, tried first at `hint`.
    #[inline]
    pub fn find(&self, first: u64, end: u64, hint: usize) -> Option<usize> {
        let holds = |i: usize| {
            let region = &self.regions[i];
            first >= region.address && end <= region.address + region.bytes
        };
        if hint < self.regions.len() && holds(hint) {
            return Some(hint);
        }
        let after = self.starts.partition_point(|&start| start <= first);
        let i = after.checked_sub(1)?;
        holds(i).then_some(i)
    }
}
