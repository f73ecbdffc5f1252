//! A block's time: what each warp knows of the others.

const STAMP: u32 = 32;
/// A new block starts from zero once the time has come this far.
const LATE: u32 = 1 << 31;

/// The time up to which somebody knows of each warp's doings.
pub(crate) type Times = [u32; 32];

/// What the warps of a block know of each other.
#[derive(Default)]
pub(crate) struct Clock {
    /// Ticks at every synchronisation.
    pub now: u32,
    /// Stamps below this are an earlier block's.
    pub start: u32,
    warps: Vec<Warp>,
}

#[derive(Clone)]
struct Warp {
    known: Times,
    /// When all its lanes last met.
    full: u32,
    /// Below this, everything by anybody is known.
    safe: u32,
    /// Since only some of its lanes met: the time up to which lane `m` knows of lane `l`, at `[m][l]`.
    lanes: Option<Box<[Times; 32]>>,
}

impl Clock {
    pub fn is_late(&self) -> bool {
        self.now > LATE
    }

    pub fn begin(&mut self, warps: usize) {
        self.now += 1;
        self.start = self.now;
        let first = Warp { known: [self.now; 32], full: self.now, safe: self.now, lanes: None };
        self.warps.clear();
        self.warps.resize(warps, first);
    }

    /// Accesses with a stamp below this happened before whatever the warp does now.
    #[inline(always)]
    pub fn safe(&self, warp: usize) -> u32 {
        self.warps[warp].safe
    }

    /// When the lanes of the warp last met.
    #[inline(always)]
    pub fn full(&self, warp: usize) -> u32 {
        self.warps[warp].full
    }

    /// A warp announces what it knows and did to whoever acquires `times`.
    pub fn release(&mut self, warp: usize, times: &mut Times) {
        self.now += 1;
        let here = &mut self.warps[warp];
        for (time, &known) in times.iter_mut().zip(&here.known) {
            *time = known.max(*time);
        }
        times[warp] = self.now;
    }

    /// A warp learns what was released into `times`.
    pub fn acquire(&mut self, warp: usize, times: &Times) {
        let here = &mut self.warps[warp];
        for (known, &time) in here.known.iter_mut().zip(times) {
            *known = time.max(*known);
        }
        self.settle(warp);
    }

    /// All warps meet.
    pub fn sync_block(&mut self) {
        self.now += 1;
        for warp in &mut self.warps {
            *warp = Warp { known: [self.now; 32], full: self.now, safe: self.now, lanes: None };
        }
    }

    /// Lanes `mask` of a warp meet, of those `alive`.
    pub fn sync_warp(&mut self, warp: usize, mask: u32, alive: u32) {
        self.now += 1;
        let now = self.now;
        let here = &mut self.warps[warp];
        if mask & alive == alive {
            here.full = now;
            here.lanes = None;
            self.settle(warp);
            return;
        }
        let lanes = here.lanes.get_or_insert_with(|| Box::new([[here.full; 32]; 32]));
        let members: Vec<usize> = (0..32).filter(|lane| mask >> lane & 1 == 1).collect();
        let mut joined = [0; 32];
        for &lane in &members {
            for (time, &known) in joined.iter_mut().zip(&lanes[lane]) {
                *time = known.max(*time);
            }
        }
        for &lane in &members {
            joined[lane] = now;
        }
        for &lane in &members {
            lanes[lane] = joined;
        }
    }

    fn settle(&mut self, warp: usize) {
        let count = self.warps.len();
        let here = &mut self.warps[warp];
        let others = here.known[..count].iter().enumerate().filter(|&(other, _)| other != warp);
        here.safe = others.map(|(_, &known)| known).fold(here.full, u32::min);
    }

    /// Whether the write that a word notes is over for the thread, or is its own.
    pub fn is_before(&self, word: u64, warp: usize, lane: usize) -> bool {
        let thread = (word & 0x3ff) as usize;
        let when = (word >> STAMP) as u32;
        when < self.start || self.is_read_before(when, (thread / 32, thread % 32), (warp, lane))
    }

    /// Whether an access by one thread at a time is over for another. Lane 32 stands for several lanes.
    pub fn is_read_before(&self, when: u32, (by_warp, by_lane): (usize, usize), (warp, lane): (usize, usize)) -> bool {
        let here = &self.warps[warp];
        if by_warp != warp {
            return when < here.known[by_warp];
        }
        if by_lane == lane || when < here.full {
            return true;
        }
        let Some(lanes) = &here.lanes else { return false };
        match by_lane {
            // Which lanes these were is not kept; any that the lane met since will do.
            32 => lanes[lane].iter().enumerate().any(|(other, &time)| other != lane && when < time),
            _ => when < lanes[lane][by_lane],
        }
    }
}
