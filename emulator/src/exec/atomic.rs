//! Atomic updates and reductions.

use super::access::Part;
use super::float::flush;
use super::lanes::put;
use super::narrow::{Format, widen};
use super::notes::Regions;
use super::scene::{Outcome, Scene, lanes};
use crate::check::{Fault, Kind};
use crate::decode::{Atomic, Update};
use crate::memory::Access;
use crate::ptx::Space;

/// What an update makes of the value that is there. `swap` is the new value of a compare-and-swap.
pub(super) fn apply(update: Update, old: u64, operand: u64, swap: u64, bytes: u32) -> u64 {
    let signed = |x: u64| if bytes == 8 { x as i64 } else { i64::from(x as u32 as i32) };
    let (low, high) = (|x: u64| f32::from_bits(x as u32), f64::from_bits);
    match update {
        Update::Exchange => operand,
        Update::Swap => {
            if old == operand {
                swap
            } else {
                old
            }
        }
        Update::Add => old.wrapping_add(operand),
        Update::AddF32 => u64::from((low(old) + low(operand)).to_bits()),
        Update::AddF64 => (high(old) + high(operand)).to_bits(),
        Update::AddF16 => add_halves(old, operand, Format::F16) & 0xffff,
        Update::AddBf16 => add_halves(old, operand, Format::BF16) & 0xffff,
        Update::AddF16x2 => add_halves(old, operand, Format::F16),
        Update::AddBf16x2 => add_halves(old, operand, Format::BF16),
        Update::Increment => {
            if old >= operand {
                0
            } else {
                old + 1
            }
        }
        Update::Decrement => {
            if old == 0 || old > operand {
                operand
            } else {
                old - 1
            }
        }
        Update::And => old & operand,
        Update::Or => old | operand,
        Update::Xor => old ^ operand,
        Update::MinU => old.min(operand),
        Update::MaxU => old.max(operand),
        Update::MinS => {
            if signed(old) <= signed(operand) {
                old
            } else {
                operand
            }
        }
        Update::MaxS => {
            if signed(old) >= signed(operand) {
                old
            } else {
                operand
            }
        }
    }
}

fn add_halves(a: u64, b: u64, format: Format) -> u64 {
    let one = |shift: u32| {
        let half = |x: u64| widen((x >> shift) as u32 & 0xffff, format);
        u64::from(format.nearest(half(a) + half(b))) << shift
    };
    one(0) | one(16)
}

impl Scene<'_, '_> {
    /// `atom` and `red`.
    pub fn atomic(&mut self, atomic: &Atomic) -> Outcome {
        let addresses = self.addresses(&atomic.address);
        for part in self.parts(atomic.address.space, addresses) {
            self.check_alignment(&part, atomic.element)?;
            let before = match part.space {
                Space::Shared => self.update_shared(atomic, &part)?,
                Space::Global => self.update_global(atomic, &part)?,
                _ => {
                    let fault = Fault::at(
                        Kind::InvalidOperation,
                        part.addresses[0],
                        "atomics work on global and shared memory",
                    );
                    return Err(self.trouble(Self::first(part.mask), fault));
                }
            };
            match atomic.to {
                None => {}
                Some(to) if atomic.wide => put(&mut self.warp.registers, to, before, part.mask),
                Some(to) => put(&mut self.warp.registers, to, before.map(|bits| bits as u32), part.mask),
            }
        }
        Ok(())
    }

    fn operands(&self, atomic: &Atomic) -> ([u64; 32], [u64; 32]) {
        let registers = &self.warp.registers;
        // A short value's register may hold anything above it.
        let short = if atomic.element == 2 { 0xffff } else { u32::MAX };
        let row = |index: u32| {
            if atomic.wide {
                registers.wide[index as usize]
            } else {
                registers.narrow[index as usize].map(|bits| u64::from(bits & short))
            }
        };
        let swap = if atomic.update == Update::Swap { row(atomic.swap) } else { [0; 32] };
        (row(atomic.operand), swap)
    }

    fn update_shared(&mut self, atomic: &Atomic, part: &Part) -> Outcome<[u64; 32]> {
        self.check_shared(part, atomic.element)?;
        self.count_shared(part, atomic.element);
        let (operand, swap) = self.operands(atomic);
        let lenient = self.grid.kernel.program.order.swaps_shared;
        let mut before = [0; 32];
        for lane in lanes(part.mask) {
            let touch = self.touch(lane, part.addresses[lane], atomic.element);
            if let Err(clash) = self.shared.note_update(touch, lenient) {
                self.clash(lane, clash)?;
            }
            let at = part.addresses[lane] as usize;
            before[lane] = self.shared.load(at, atomic.element as usize);
            let after = apply(atomic.update, before[lane], operand[lane], swap[lane], atomic.element);
            self.shared.store(at, atomic.element as usize, after);
        }
        Ok(before)
    }

    fn update_global(&mut self, atomic: &Atomic, part: &Part) -> Outcome<[u64; 32]> {
        let regions: Regions = self.locate(part, atomic.element)?;
        self.count_global(part, atomic.element);
        // An exchange does not look at what it replaces, unless the kernel does.
        if atomic.update != Update::Exchange || atomic.to.is_some() {
            self.check_written(part, &regions, atomic.element)?;
        }
        self.note_global(part, &regions, (atomic.element, Access::Update))?;
        self.release_global(part, atomic.releases);
        let (operand, swap) = self.operands(atomic);
        let mut before = [0; 32];
        for lane in lanes(part.mask) {
            let region = &self.grid.view.regions[regions.of(lane)];
            let (offset, bytes) = (part.addresses[lane] - region.address, u64::from(atomic.element));
            before[lane] = region.update(offset, bytes, |old| match atomic.update {
                // On global memory, and there alone, this one flushes subnormals.
                Update::AddF32 => {
                    let single = |bits: u64| flush(f32::from_bits(bits as u32));
                    u64::from(flush(single(old) + single(operand[lane])).to_bits())
                }
                update => apply(update, old, operand[lane], swap[lane], atomic.element),
            });
            region.mark(offset, bytes);
        }
        self.acquire_global(part);
        Ok(before)
    }
}
