//! A block's shared memory, and who touched what since which synchronisation.
//!
//! Each granule (as wide as the kernel's narrowest access) has the stamp of its last write, and for each warp that of its last
//! read. A stamp is the block's time, which ticks at every synchronisation. `known[w][v]` is the time up to which warp `w` knows
//! of warp `v`'s doings: an access by `v` happened before what `w` does now if its stamp is below that. This is exact for warps;
//! a lane that arrives at an mbarrier is taken to speak for its whole warp.

mod clock;

pub(crate) use clock::Clock;

const STAMP: u32 = 32;
const UPDATE: u64 = 1 << 10;
const LANE_MANY: u64 = 32;

/// How the granules are touched, by whom, and where in the program.
#[derive(Clone, Copy)]
pub(crate) struct Touch {
    pub warp: usize,
    pub lane: usize,
    pub pc: u32,
    pub offset: u32,
    pub bytes: u32,
}

/// What an access found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    pub what: ClashKind,
    /// Offset of the byte.
    pub offset: u32,
    /// The other thread of the block, if there is one and it is known.
    pub thread: Option<u32>,
    /// The other instruction.
    pub pc: u32,
}

/// The kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClashKind {
    Unwritten,
    /// A `cp.async` into it has not been waited for.
    Pending,
    ReadAfterWrite,
    WriteAfterRead,
    WriteAfterWrite,
}

/// Who has read since the lanes of a warp met, at `full`: a lane, or more than one.
#[inline(always)]
fn reader(read: u64, lane: usize, full: u32) -> u64 {
    let other_lane = (read >> STAMP) as u32 >= full && read & 0x3f != lane as u64;
    if other_lane { LANE_MANY } else { lane as u64 }
}

/// Shared memory of one block.
#[derive(Default)]
pub(crate) struct Shared {
    pub data: Vec<u8>,
    pub clock: Clock,
    shift: u32,
    granules: usize,
    /// stamp 32 | pc 21 | update 1 | thread 10
    writes: Vec<u64>,
    /// A plane per warp: stamp 32 | pc 26 | lane 6
    reads: Vec<u64>,
    /// Copies on their way into a granule.
    pending: Vec<u8>,
    in_flight: usize,
}

impl Shared {
    /// Makes ready for a block. What earlier blocks left is older than the block's first stamp, and so need not be cleared.
    pub fn begin(&mut self, bytes: usize, granule: u32, warps: usize) {
        let granules = (bytes >> granule.trailing_zeros()) + 1;
        let same = self.data.len() == bytes && self.granules == granules && self.reads.len() == granules * warps;
        if !same || self.in_flight > 0 || self.clock.is_late() {
            self.shift = granule.trailing_zeros();
            self.granules = granules;
            self.data = vec![0; bytes];
            self.writes = vec![0; granules];
            self.reads = vec![0; granules * warps];
            self.pending = vec![0; granules];
            self.in_flight = 0;
            self.clock = Clock::default();
        }
        // Only where unwritten bytes may be read does it matter what they are; it is to be the same every time.
        self.data.fill(0);
        self.clock.begin(warps);
    }

    fn granules(&self, touch: &Touch) -> std::ops::Range<usize> {
        let first = (touch.offset >> self.shift) as usize;
        first..first + ((touch.bytes >> self.shift) as usize).max(1)
    }

    /// The bytes at an offset, at most eight. The caller has checked that they are there.
    #[inline(always)]
    pub fn load(&self, offset: usize, bytes: usize) -> u64 {
        match bytes {
            1 => u64::from(self.data[offset]),
            2 => u64::from(u16::from_le_bytes(self.data[offset..offset + 2].try_into().expect("two"))),
            4 => u64::from(u32::from_le_bytes(self.data[offset..offset + 4].try_into().expect("four"))),
            _ => u64::from_le_bytes(self.data[offset..offset + 8].try_into().expect("eight")),
        }
    }

    /// The same for each lane of a mask, `offset` behind its address.
    pub fn load_row(&self, addresses: &[u64; 32], mask: u32, offset: usize, bytes: usize) -> [u64; 32] {
        match bytes {
            1 => self.load_row_of::<1>(addresses, mask, offset),
            2 => self.load_row_of::<2>(addresses, mask, offset),
            4 => self.load_row_of::<4>(addresses, mask, offset),
            _ => self.load_row_of::<8>(addresses, mask, offset),
        }
    }

    #[inline(always)]
    fn load_row_of<const BYTES: usize>(&self, addresses: &[u64; 32], mask: u32, offset: usize) -> [u64; 32] {
        let mut row = [0; 32];
        for (lane, word) in row.iter_mut().enumerate() {
            if mask >> lane & 1 == 1 {
                *word = self.load(addresses[lane] as usize + offset, BYTES);
            }
        }
        row
    }

    /// Stores at most eight bytes.
    #[inline(always)]
    pub fn store(&mut self, offset: usize, bytes: usize, value: u64) {
        match bytes {
            1 => self.data[offset] = value as u8,
            2 => self.data[offset..offset + 2].copy_from_slice(&(value as u16).to_le_bytes()),
            4 => self.data[offset..offset + 4].copy_from_slice(&(value as u32).to_le_bytes()),
            _ => self.data[offset..offset + 8].copy_from_slice(&value.to_le_bytes()),
        }
    }

    fn clash(&self, what: ClashKind, granule: usize) -> Clash {
        let word = self.writes[granule];
        let thread = (what != ClashKind::Unwritten).then_some((word & 0x3ff) as u32);
        Clash { what, offset: (granule << self.shift) as u32, thread, pc: (word >> 11) as u32 & 0x1f_ffff }
    }

    /// Notes the reads of a mask's lanes, except where there is something to examine: of those lanes, which it returns,
    /// `note_read` has to be told.
    pub fn note_reads(&mut self, (warp, pc): (usize, u32), mask: u32, offsets: &[u64; 32], bytes: u32) -> u32 {
        let (start, safe, full) = (self.clock.start, self.clock.safe(warp), self.clock.full(warp));
        let count = ((bytes >> self.shift) as usize).max(1);
        let reads = &mut self.reads[warp * self.granules..][..self.granules];
        let stamp = u64::from(self.clock.now) << STAMP | u64::from(pc) << 6;
        let (mut doubtful, mut last) = (0, None);
        for (lane, &offset) in offsets.iter().enumerate() {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let first = (offset >> self.shift) as usize;
            if last == Some(offset) {
                reads[first..][..count].fill(stamp | LANE_MANY);
                continue;
            }
            let is_past = |&write: &u64| (start..safe).contains(&((write >> STAMP) as u32));
            let is_plain = self.writes[first..][..count].iter().all(is_past)
                && (self.in_flight == 0 || self.pending[first..][..count].iter().all(|&copies| copies == 0));
            if is_plain {
                reads[first..][..count].iter_mut().for_each(|read| *read = stamp | reader(*read, lane, full));
                last = Some(offset);
            } else {
                doubtful |= 1 << lane;
            }
        }
        doubtful
    }

    /// Notes a read. A read beside an unordered atomic update is let pass if `lenient`.
    #[inline]
    pub fn note_read(&mut self, touch: Touch, lenient: bool) -> Result<(), Clash> {
        let range = self.granules(&touch);
        let (start, safe) = (self.clock.start, self.clock.safe(touch.warp));
        let plane = touch.warp * self.granules;
        let stamp = u64::from(self.clock.now) << STAMP | u64::from(touch.pc) << 6;
        let full = self.clock.full(touch.warp);
        for granule in range {
            let when = (self.writes[granule] >> STAMP) as u32;
            if when < start || when >= safe || self.pending[granule] > 0 {
                self.examine_read(&touch, granule, lenient)?;
            }
            let read = &mut self.reads[plane + granule];
            *read = stamp | reader(*read, touch.lane, full);
        }
        Ok(())
    }

    fn examine_read(&self, touch: &Touch, granule: usize, lenient: bool) -> Result<(), Clash> {
        if self.pending[granule] > 0 {
            return Err(self.clash(ClashKind::Pending, granule));
        }
        let word = self.writes[granule];
        if ((word >> STAMP) as u32) < self.clock.start {
            return Err(self.clash(ClashKind::Unwritten, granule));
        }
        let update = word & UPDATE != 0;
        if self.clock.is_before(word, touch.warp, touch.lane) || (update && lenient) {
            return Ok(());
        }
        Err(self.clash(ClashKind::ReadAfterWrite, granule))
    }

    /// Notes a write.
    #[inline]
    pub fn note_write(&mut self, touch: Touch) -> Result<(), Clash> {
        self.note_store(touch, 0, false)
    }

    /// Notes an atomic update, which is no race with other updates. Plain reads beside it are let pass if `lenient`.
    pub fn note_update(&mut self, touch: Touch, lenient: bool) -> Result<(), Clash> {
        for granule in self.granules(&touch) {
            self.examine_read_by_update(&touch, granule)?;
        }
        self.note_store(touch, UPDATE, lenient)
    }

    fn examine_read_by_update(&self, touch: &Touch, granule: usize) -> Result<(), Clash> {
        self.examine_read(touch, granule, true)
    }

    #[inline]
    fn note_store(&mut self, touch: Touch, update: u64, lenient: bool) -> Result<(), Clash> {
        let safe = self.clock.safe(touch.warp);
        let thread = (touch.warp * 32 + touch.lane) as u64;
        let word = u64::from(self.clock.now) << STAMP | u64::from(touch.pc & 0x1f_ffff) << 11 | update | thread;
        for granule in self.granules(&touch) {
            let mut latest = self.writes[granule] >> STAMP;
            let mut plane = granule;
            while plane < self.reads.len() {
                latest = latest.max(self.reads[plane] >> STAMP);
                plane += self.granules;
            }
            if latest as u32 >= safe || self.pending[granule] > 0 {
                self.examine_write(&touch, granule, update != 0, lenient)?;
            }
            self.writes[granule] = word;
        }
        Ok(())
    }

    fn examine_write(&self, touch: &Touch, granule: usize, update: bool, lenient: bool) -> Result<(), Clash> {
        if self.pending[granule] > 0 {
            return Err(self.clash(ClashKind::WriteAfterWrite, granule));
        }
        let word = self.writes[granule];
        let both_update = update && word & UPDATE != 0;
        if !both_update && !self.clock.is_before(word, touch.warp, touch.lane) {
            return Err(self.clash(ClashKind::WriteAfterWrite, granule));
        }
        if update && lenient {
            return Ok(());
        }
        for (warp, &read) in self.reads[granule..].iter().step_by(self.granules).enumerate() {
            let lane = (read & 0x3f) as usize;
            let when = (read >> STAMP) as u32;
            if when >= self.clock.start && !self.clock.is_read_before(when, (warp, lane), (touch.warp, touch.lane)) {
                let thread = (lane < 32).then_some((warp * 32 + lane) as u32);
                let pc = (read >> 6) as u32 & 0x3ff_ffff;
                return Err(Clash {
                    what: ClashKind::WriteAfterRead,
                    offset: (granule << self.shift) as u32,
                    thread,
                    pc,
                });
            }
        }
        Ok(())
    }

    /// Notes that a copy into the bytes has begun: a write as far as others' earlier accesses are concerned.
    pub fn note_copy_begun(&mut self, touch: Touch) -> Result<(), Clash> {
        self.note_write(touch)?;
        for granule in self.granules(&touch) {
            self.pending[granule] = self.pending[granule].saturating_add(1);
            self.in_flight += 1;
        }
        Ok(())
    }

    /// Notes that a copy has ended and was waited for by the thread that began it: its write happens now.
    pub fn note_copy_ended(&mut self, touch: Touch) {
        let thread = (touch.warp * 32 + touch.lane) as u64;
        let word = u64::from(self.clock.now) << STAMP | u64::from(touch.pc & 0x1f_ffff) << 11 | thread;
        for granule in self.granules(&touch) {
            self.pending[granule] = self.pending[granule].saturating_sub(1);
            self.in_flight -= 1;
            self.writes[granule] = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(warp: usize, lane: usize, offset: u32) -> Touch {
        Touch { warp, lane, pc: 7, offset, bytes: 4 }
    }

    fn block() -> Shared {
        let mut shared = Shared::default();
        shared.begin(256, 4, 4);
        shared
    }

    fn barrier(shared: &mut Shared, warps: &[usize]) {
        let mut met = [0; 32];
        for &warp in warps {
            shared.clock.release(warp, &mut met);
        }
        for &warp in warps {
            shared.clock.acquire(warp, &met);
            shared.clock.sync_warp(warp, !0, !0);
        }
    }

    #[test]
    fn a_barrier_orders_and_its_absence_does_not() {
        let mut shared = block();
        shared.note_write(touch(0, 3, 8)).unwrap();
        shared.note_read(touch(0, 3, 8), false).unwrap();
        let clash = shared.note_read(touch(1, 0, 8), false).unwrap_err();
        assert_eq!((clash.what, clash.thread, clash.pc, clash.offset), (ClashKind::ReadAfterWrite, Some(3), 7, 8));
        barrier(&mut shared, &[0, 1, 2, 3]);
        shared.note_read(touch(1, 0, 8), false).unwrap();
        shared.note_read(touch(2, 0, 8), false).unwrap();
        assert_eq!(shared.note_write(touch(3, 0, 8)).unwrap_err().what, ClashKind::WriteAfterRead);
        barrier(&mut shared, &[1, 3]);
        assert_eq!(shared.note_write(touch(3, 0, 8)).unwrap_err().thread, Some(64));
        barrier(&mut shared, &[2, 3]);
        shared.note_write(touch(3, 0, 8)).unwrap();
        assert_eq!(shared.note_write(touch(3, 1, 8)).unwrap_err().what, ClashKind::WriteAfterWrite);
    }

    #[test]
    fn reads_noted_together_are_those_noted_one_by_one() {
        let blocks = || {
            let mut shared = block();
            (0..20).for_each(|lane| shared.note_write(touch(0, lane, 4 * lane as u32)).unwrap());
            barrier(&mut shared, &[0, 1, 2, 3]);
            shared.note_write(touch(1, 5, 12)).unwrap();
            shared.note_copy_begun(touch(2, 0, 16)).unwrap();
            shared
        };
        let patterns: [fn(u64) -> u64; 4] = [|_| 8, |lane| lane * 4, |lane| lane / 3 * 4, |lane| lane % 7 * 4];
        for (pattern, mask) in patterns.iter().zip([!0, 0x000f_ffff, 0x0ff0_0ff0, !0]) {
            for bytes in [4, 8] {
                let offsets = std::array::from_fn(|lane| pattern(lane as u64));
                let (mut together, mut single) = (blocks(), blocks());
                let read = |shared: &mut Shared, lane: u32| {
                    let touch = Touch { bytes, ..touch(2, lane as usize, offsets[lane as usize] as u32) };
                    shared.note_read(touch, false).err()
                };
                for warp_meets in [false, true] {
                    if warp_meets {
                        together.clock.sync_warp(2, !0, !0);
                        single.clock.sync_warp(2, !0, !0);
                    }
                    let doubtful = together.note_reads((2, 7), mask, &offsets, bytes);
                    for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
                        let found = if doubtful >> lane & 1 == 1 { read(&mut together, lane) } else { None };
                        assert_eq!(found, read(&mut single, lane), "lane {lane} of {bytes} bytes");
                    }
                    assert_eq!(together.reads, single.reads);
                }
            }
        }
    }

    #[test]
    fn several_readers_each_at_their_own_time() {
        // Two consumers hand a buffer back one after the other; the producer waits for both.
        let mut shared = block();
        shared.note_write(touch(0, 0, 0)).unwrap();
        barrier(&mut shared, &[0, 1, 2]);
        let mut empty = [0; 32];
        shared.note_read(touch(1, 0, 0), false).unwrap();
        shared.clock.release(1, &mut empty);
        shared.note_read(touch(2, 0, 0), false).unwrap();
        shared.clock.release(2, &mut empty);
        shared.clock.acquire(0, &empty);
        shared.note_write(touch(0, 0, 0)).unwrap();
    }

    #[test]
    fn lanes_of_a_warp_need_a_warp_barrier() {
        let mut shared = block();
        shared.note_write(touch(0, 0, 0)).unwrap();
        assert!(shared.note_read(touch(0, 1, 0), false).is_err());
        shared.clock.sync_warp(0, 0b11, !0);
        shared.note_read(touch(0, 1, 0), false).unwrap();
        assert!(shared.note_read(touch(0, 2, 0), false).is_err());
        shared.clock.sync_warp(0, !0, !0);
        shared.note_read(touch(0, 2, 0), false).unwrap();
        shared.note_read(touch(0, 3, 0), false).unwrap();
        assert!(shared.note_write(touch(0, 2, 0)).is_err());
        shared.clock.sync_warp(0, !0, !0);
        shared.note_write(touch(0, 2, 0)).unwrap();
    }

    #[test]
    fn what_a_block_wrote_is_not_there_for_the_next() {
        let mut shared = block();
        shared.note_write(touch(0, 0, 0)).unwrap();
        shared.begin(256, 4, 4);
        assert_eq!(shared.note_read(touch(0, 0, 0), false).unwrap_err().what, ClashKind::Unwritten);
        shared.note_write(touch(1, 0, 0)).unwrap();
    }

    #[test]
    fn a_copy_is_there_once_it_was_waited_for() {
        let mut shared = block();
        shared.note_copy_begun(touch(0, 0, 0)).unwrap();
        assert_eq!(shared.note_read(touch(0, 0, 0), false).unwrap_err().what, ClashKind::Pending);
        shared.note_copy_ended(touch(0, 0, 0));
        shared.note_read(touch(0, 0, 0), false).unwrap();
        assert_eq!(shared.note_read(touch(1, 0, 0), false).unwrap_err().what, ClashKind::ReadAfterWrite);
    }

    #[test]
    fn updates_are_no_races_among_themselves() {
        let mut shared = block();
        shared.note_write(touch(0, 0, 0)).unwrap();
        barrier(&mut shared, &[0, 1, 2, 3]);
        shared.note_update(touch(0, 0, 0), false).unwrap();
        shared.note_update(touch(1, 0, 0), false).unwrap();
        assert!(shared.note_read(touch(2, 0, 0), false).is_err());
        shared.note_read(touch(2, 0, 0), true).unwrap();
        assert!(shared.note_write(touch(3, 0, 0)).is_err());
    }
}
