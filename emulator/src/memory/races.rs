//! Races between blocks on the bytes of one allocation.
//!
//! A word of state per granule; a granule is as wide as the kernel's narrowest access, so that every access covers whole ones.
//! The state is a join: who (nobody, one block, several) and how (read, written, updated atomically). Whether it ends up in
//! conflict does not depend on the order of the accesses, and so not on the number of threads.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Region;

const KINDS: u32 = 0b111;
const SEVERAL: u32 = (1 << 29) - 1;

/// How a granule is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read = 0b001,
    Write = 0b010,
    Update = 0b100,
}

/// Two blocks at odds over a granule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    /// Address of the granule.
    pub address: u64,
    /// The other block, if it is known.
    pub other: Option<u32>,
}

/// The state of an allocation's granules.
pub(crate) struct Races {
    states: Box<[AtomicU32]>,
    shift: u32,
}

impl Races {
    pub fn new(region: &Region, granule: u32) -> Self {
        let shift = granule.trailing_zeros();
        let count = (region.bytes >> shift) as usize + 1;
        let plain = vec![0u32; count].into_boxed_slice();
        // SAFETY: AtomicU32 has the size, alignment and validity of u32.
        let states = unsafe { Box::from_raw(Box::into_raw(plain) as *mut [AtomicU32]) };
        Self { states, shift }
    }

    /// Notes an access by `block`. `ordered` says whether everything that another block did (none: several others did) is known
    /// to have happened before; a conflict with the rest is returned. Plain reads beside atomic updates are let pass if `lenient`.
    #[inline]
    pub fn note(&self, at: Touching, ordered: &dyn Fn(Option<u32>) -> bool) -> Result<(), Conflict> {
        let me = (at.block + 1) << 3;
        let mine = me | at.access as u32;
        let first = (at.offset >> self.shift) as usize;
        let count = (at.bytes >> self.shift).max(1) as usize;
        for (i, cell) in self.states[first..first + count].iter().enumerate() {
            let old = cell.load(Relaxed);
            // Whoever has been here alone, and as now, need not say so again.
            if old | mine == old && old >> 3 == at.block + 1 {
                continue;
            }
            // Nor need anybody where several have done the same already, and nothing that is at odds with it.
            let same = old >> 3 == SEVERAL && old & at.access as u32 != 0;
            if same && !at.is_conflict(old & KINDS) {
                continue;
            }
            if let Some(other) = join(cell, old, (me, mine, at.company), ordered)
                && at.is_conflict(cell.load(Relaxed) & KINDS)
            {
                let address = at.address + ((i as u64) << self.shift);
                return Err(Conflict { address, other: (other != SEVERAL).then(|| other - 1) });
            }
        }
        Ok(())
    }
}

/// Adds an access to a granule's state. Who else was there, if anybody was: a block's number plus 1, or several.
fn join(
    cell: &AtomicU32,
    mut old: u32,
    (me, mine, company): (u32, u32, Company),
    ordered: &dyn Fn(Option<u32>) -> bool,
) -> Option<u32> {
    loop {
        let who = old >> 3;
        let is_other = who != 0 && who != me >> 3 && !ordered((who != SEVERAL).then(|| who - 1));
        let new = match who {
            0 => mine,
            _ if who == me >> 3 => old | mine,
            _ if is_other => (SEVERAL << 3) | ((old | mine) & KINDS),
            _ => mine,
        };
        if company == Company::Alone {
            cell.store(new, Relaxed);
            return is_other.then_some(who);
        }
        match cell.compare_exchange_weak(old, new, Relaxed, Relaxed) {
            Ok(_) => return is_other.then_some(who),
            Err(now) => old = now,
        }
    }
}

/// An access to be noted.
#[derive(Clone, Copy)]
pub(crate) struct Touching {
    /// Offset in the allocation.
    pub offset: u64,
    /// The same place as an address.
    pub address: u64,
    pub bytes: u64,
    pub block: u32,
    pub access: Access,
    pub reading: Reading,
    pub company: Company,
}

/// Whether other threads of this machine note accesses at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    Alone,
    Others,
}

/// What becomes of a plain read beside atomic updates by other blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is a race.
    Strict,
    /// It is how a compare-and-swap loop begins.
    BesideUpdates,
}

impl Touching {
    fn is_conflict(&self, kinds: u32) -> bool {
        let (read, write, update) = (Access::Read as u32, Access::Write as u32, Access::Update as u32);
        kinds & write != 0 || (kinds & (read | update) == read | update && self.reading == Reading::Strict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(order: &[(u32, Access)], reading: Reading) -> bool {
        let races = Races::new(&Region::new(0, 64), 4);
        let mut bad = false;
        for &(block, access) in order {
            let at = Touching { offset: 8, address: 8, bytes: 4, block, access, reading, company: Company::Others };
            bad |= races.note(at, &|_| false).is_err();
        }
        bad
    }

    #[test]
    fn a_conflict_does_not_depend_on_the_order() {
        use Access::{Read, Update, Write};
        for (pair, strict, lenient) in [
            ([Read, Read], false, false),
            ([Read, Write], true, true),
            ([Write, Write], true, true),
            ([Write, Update], true, true),
            ([Update, Update], false, false),
            ([Read, Update], true, false),
        ] {
            for [a, b] in [pair, [pair[1], pair[0]]] {
                assert_eq!(run(&[(0, a), (1, b)], Reading::Strict), strict, "{a:?} {b:?}");
                assert_eq!(run(&[(0, a), (1, b)], Reading::BesideUpdates), lenient, "{a:?} {b:?}");
                assert!(!run(&[(3, a), (3, b)], Reading::Strict));
            }
        }
    }

    #[test]
    fn neighbours_do_not_disturb_each_other() {
        let races = Races::new(&Region::new(0, 64), 2);
        for block in 0..8 {
            let at = Touching {
                offset: u64::from(block) * 2,
                address: u64::from(block) * 2,
                bytes: 2,
                block,
                access: Access::Write,
                reading: Reading::Strict,
                company: Company::Alone,
            };
            races.note(at, &|_| false).unwrap();
        }
        let at = Touching {
            offset: 0,
            address: 0,
            bytes: 16,
            block: 9,
            access: Access::Read,
            reading: Reading::Strict,
            company: Company::Others,
        };
        assert_eq!(races.note(at, &|_| false).unwrap_err().other, Some(0));
        races.note(at, &|_| true).unwrap();
    }
}
