//! `cp.async`: copies that are there once they are waited for, and not before.

use super::access::Part;
use super::scene::{Outcome, Scene, lanes};
use crate::check::{Fault, Kind};
use crate::decode::Copy;
use crate::memory::{Access, Touch};
use crate::ptx::Space;

/// The copies of a warp that are on their way.
#[derive(Default)]
pub(crate) struct Copies {
    queue: Vec<Flying>,
    /// Groups that each lane has committed.
    committed: [u32; 32],
}

/// One instruction's copies.
struct Flying {
    pc: u32,
    /// Lanes whose copy has not landed.
    mask: u32,
    /// The group that each lane's copy belongs to.
    group: [u32; 32],
    to: [u32; 32],
    bytes: u32,
    data: [[u64; 2]; 32],
}

impl Copies {
    pub fn begin(&mut self) {
        self.queue.clear();
        self.committed = [0; 32];
    }

    /// `cp.async.commit_group`.
    pub fn commit(&mut self, mask: u32) {
        lanes(mask).for_each(|lane| self.committed[lane] += 1);
    }
}

impl Scene<'_, '_> {
    /// `cp.async`. What it copies is read now, the latest at which a kernel may rely on it.
    pub fn copy(&mut self, copy: &Copy) -> Outcome {
        let to = Part { space: Space::Shared, mask: self.mask, addresses: self.addresses(&copy.to) };
        let mut from = Part { space: Space::Global, mask: self.mask, addresses: self.addresses(&copy.from) };
        self.check_alignment(&to, copy.bytes)?;
        self.check_shared(&to, copy.bytes)?;
        self.count_shared(&to, copy.bytes);
        let lengths = self.lengths(copy)?;
        let reading = lanes(self.mask).filter(|&lane| lengths[lane] > 0).fold(0, |all, lane| all | 1 << lane);
        from.mask = reading;
        let data = if reading == 0 { [[0; 2]; 32] } else { self.fetch(copy, &from, &lengths)? };
        for lane in lanes(self.mask) {
            let touch = self.touch(lane, to.addresses[lane], copy.bytes);
            if let Err(clash) = self.shared.note_copy_begun(touch) {
                self.clash(lane, clash)?;
            }
        }
        let group = self.warp.copies.committed;
        let to = to.addresses.map(|address| address as u32);
        self.warp.copies.queue.push(Flying { pc: self.pc, mask: self.mask, group, to, bytes: copy.bytes, data });
        Ok(())
    }

    /// Bytes that each lane reads; the others of its copy are zero.
    fn lengths(&self, copy: &Copy) -> Outcome<[u32; 32]> {
        let mut lengths = [copy.bytes; 32];
        if let Some(row) = copy.valid {
            lengths = self.warp.registers.narrow[row as usize];
            if let Some(lane) = lanes(self.mask).find(|&lane| lengths[lane] > copy.bytes) {
                let what = format!("{} of {} bytes are to be read", lengths[lane], copy.bytes);
                return Err(self.trouble(lane as u32, Fault::new(Kind::InvalidOperation, what)));
            }
        }
        if let Some((row, flip)) = copy.ignore {
            let ignored = self.warp.registers.predicates[row as usize] ^ flip;
            lanes(self.mask & ignored).for_each(|lane| lengths[lane] = 0);
        }
        Ok(lengths)
    }

    fn fetch(&mut self, copy: &Copy, from: &Part, lengths: &[u32; 32]) -> Outcome<[[u64; 2]; 32]> {
        self.check_alignment(from, copy.bytes)?;
        let whole = lanes(from.mask).all(|lane| lengths[lane] == copy.bytes);
        let mut data = [[0; 2]; 32];
        if whole {
            self.fetch_equal(from, copy.bytes, &mut data)?;
            return Ok(data);
        }
        // Lanes that read fewer bytes are few: the last of a row. Each length is a matter of its own.
        let mut rest = from.mask;
        while rest != 0 {
            let length = lengths[rest.trailing_zeros() as usize];
            let same = lanes(rest).filter(|&lane| lengths[lane] == length).fold(0, |all, lane| all | 1 << lane);
            let part = Part { space: Space::Global, mask: same, addresses: from.addresses };
            self.fetch_equal(&part, length, &mut data)?;
            rest &= !same;
        }
        Ok(data)
    }

    fn fetch_equal(&mut self, part: &Part, length: u32, data: &mut [[u64; 2]; 32]) -> Outcome {
        let regions = self.locate(part, length)?;
        self.count_global(part, length);
        self.check_written(part, &regions, length)?;
        self.note_global(part, &regions, (length, Access::Read))?;
        for lane in lanes(part.mask) {
            let region = &self.grid.view.regions[regions.of(lane)];
            let offset = part.addresses[lane] - region.address;
            match length {
                16 => data[lane] = [region.load(offset, 8), region.load(offset + 8, 8)],
                _ => {
                    let mut bytes = [0; 16];
                    region.read(offset, &mut bytes[..length as usize]);
                    let word = |i: usize| u64::from_le_bytes(bytes[i..i + 8].try_into().expect("eight bytes"));
                    data[lane] = [word(0), word(8)];
                }
            }
        }
        Ok(())
    }

    /// `cp.async.wait_group`.
    pub fn wait_copies(&mut self, groups: u32) {
        let committed = self.warp.copies.committed;
        self.land(|lane, group| group + groups < committed[lane]);
    }

    /// `cp.async.wait_all`.
    pub fn wait_all_copies(&mut self) {
        self.land(|_, _| true);
    }

    /// Ends those copies of the lanes that `lands` names by lane and group.
    fn land(&mut self, lands: impl Fn(usize, u32) -> bool) {
        let mut queue = std::mem::take(&mut self.warp.copies.queue);
        for flying in &mut queue {
            for lane in lanes(flying.mask & self.mask) {
                if !lands(lane, flying.group[lane]) {
                    continue;
                }
                let (offset, bytes) = (flying.to[lane], flying.bytes);
                let at = offset as usize;
                self.shared.store(at, bytes.min(8) as usize, flying.data[lane][0]);
                if bytes == 16 {
                    self.shared.store(at + 8, 8, flying.data[lane][1]);
                }
                self.shared.note_copy_ended(Touch { warp: self.warp_index, lane, pc: flying.pc, offset, bytes });
                flying.mask &= !(1 << lane);
            }
        }
        queue.retain(|flying| flying.mask != 0);
        self.warp.copies.queue = queue;
    }
}
