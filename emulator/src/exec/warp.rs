//! A warp: its registers, and the paths that its lanes are on.
//!
//! Where a branch divides the lanes, each side becomes a path, and both aim at the point where the branch's sides meet; there
//! they wait for each other and go on as one. Paths are not a stack: one that waits for lanes of another, at a shuffle say, lets
//! the other run, so that lanes which come to one instruction by different ways find each other, as on a device.

use super::copies::Copies;
use super::lanes::Registers;
use crate::decode::NOWHERE;
use crate::memory::Local;

/// Why a path does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Ready,
    /// At a warp-synchronous instruction, for lanes of other paths.
    Lanes,
    /// At a barrier, for the warp's other lanes or for other warps.
    Barrier,
}

/// Lanes that run together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub pc: u32,
    pub mask: u32,
    pub wait: Wait,
    /// The meeting that it aims at.
    pub aim: Option<usize>,
}

/// A point where paths meet.
#[derive(Clone, Copy, Debug)]
struct Meeting {
    pc: u32,
    /// Lanes that are to come, and those that have.
    expected: u32,
    arrived: u32,
    aim: Option<usize>,
    open: bool,
}

/// A warp.
#[derive(Default)]
pub(crate) struct Warp {
    pub registers: Registers,
    pub local: Local,
    pub copies: Copies,
    /// Lanes that there are: the last warp of a block may have fewer than 32.
    pub exists: u32,
    /// Lanes that have not returned.
    pub alive: u32,
    pub paths: Vec<Path>,
    meetings: Vec<Meeting>,
    /// The allocation that was touched last.
    pub hint: usize,
    /// Instructions executed.
    pub clock: u64,
    /// Barrier at which the whole warp waits.
    pub at_barrier: Option<u32>,
}

impl Warp {
    /// Makes ready for a block.
    pub fn begin(&mut self, exists: u32) {
        self.exists = exists;
        self.alive = exists;
        self.paths.clear();
        self.paths.push(Path { pc: 0, mask: exists, wait: Wait::Ready, aim: None });
        self.meetings.clear();
        self.clock = 0;
        self.at_barrier = None;
        self.copies.begin();
    }

    pub fn is_done(&self) -> bool {
        self.alive == 0
    }

    /// The path to run next.
    pub fn ready(&self) -> Option<usize> {
        self.paths.iter().rposition(|path| path.wait == Wait::Ready)
    }

    /// Where a path ends because others are to be met.
    pub fn stop(&self, path: usize) -> u32 {
        self.paths[path].aim.map_or(NOWHERE, |aim| self.meetings[aim].pc)
    }

    /// Divides a path: `taken` of its lanes go to `target`, the others to the next instruction.
    pub fn divide(&mut self, path: usize, taken: u32, target: u32, meet: u32) {
        let Path { pc, mask, aim, .. } = self.paths.swap_remove(path);
        let aim = match aim {
            _ if meet == NOWHERE => aim,
            // A loop's lanes leave one after the other for the same point: one meeting serves them all.
            Some(outer) if self.meetings[outer].pc == meet => Some(outer),
            _ => Some(self.open(Meeting { pc: meet, expected: mask, arrived: 0, aim, open: true })),
        };
        for (pc, mask) in [(target, taken), (pc + 1, mask & !taken)] {
            self.paths.push(Path { pc, mask, wait: Wait::Ready, aim });
        }
    }

    fn open(&mut self, meeting: Meeting) -> usize {
        match self.meetings.iter().position(|old| !old.open) {
            Some(free) => {
                self.meetings[free] = meeting;
                free
            }
            None => {
                self.meetings.push(meeting);
                self.meetings.len() - 1
            }
        }
    }

    /// A path has come to where it aimed.
    pub fn arrive(&mut self, path: usize) {
        let Path { mask, aim, .. } = self.paths.swap_remove(path);
        let Some(aim) = aim else { return };
        self.meetings[aim].arrived |= mask;
        self.settle(aim);
    }

    fn settle(&mut self, at: usize) {
        let meeting = self.meetings[at];
        if !meeting.open || meeting.arrived != meeting.expected {
            return;
        }
        self.meetings[at].open = false;
        if meeting.arrived != 0 {
            self.paths.push(Path { pc: meeting.pc, mask: meeting.arrived, wait: Wait::Ready, aim: meeting.aim });
        }
    }

    /// Lanes of a path return.
    pub fn leave(&mut self, path: usize, lanes: u32) {
        self.alive &= !lanes;
        self.paths[path].mask &= !lanes;
        if self.paths[path].mask == 0 {
            self.paths.swap_remove(path);
        }
        for at in 0..self.meetings.len() {
            if self.meetings[at].open {
                self.meetings[at].expected &= !lanes;
                self.settle(at);
            }
        }
    }

    /// Where a lane is: the instruction at which its path stands or which it waits to go on from.
    pub fn position(&self, lane: u32) -> Option<u32> {
        let path = self.paths.iter().find(|path| path.mask >> lane & 1 == 1).map(|path| path.pc);
        let waits = |m: &&Meeting| m.open && m.arrived >> lane & 1 == 1;
        path.or_else(|| self.meetings.iter().find(waits).map(|meeting| meeting.pc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warp() -> Warp {
        let mut warp = Warp::default();
        warp.begin(!0);
        warp
    }

    #[test]
    fn both_sides_meet() {
        let mut warp = warp();
        warp.divide(0, 0xff, 10, 20);
        assert_eq!(warp.paths.len(), 2);
        let second = warp.ready().unwrap();
        assert_eq!((warp.paths[second].pc, warp.paths[second].mask, warp.stop(second)), (1, !0xff, 20));
        warp.arrive(second);
        let first = warp.ready().unwrap();
        assert_eq!((warp.paths[first].pc, warp.paths[first].mask), (10, 0xff));
        warp.arrive(first);
        assert_eq!((warp.paths.len(), warp.paths[0].pc, warp.paths[0].mask), (1, 20, !0));
    }

    #[test]
    fn lanes_that_return_are_not_waited_for() {
        let mut warp = warp();
        warp.divide(0, 0xff, 10, 20);
        let second = warp.ready().unwrap();
        warp.arrive(second);
        let first = warp.ready().unwrap();
        warp.leave(first, 0xff);
        assert_eq!((warp.alive, warp.paths.len(), warp.paths[0].mask), (!0xff, 1, !0xff));
    }

    #[test]
    fn a_loop_with_lanes_leaving_one_by_one_needs_one_meeting() {
        let mut warp = warp();
        for lane in 0..31 {
            let at = warp.paths.iter().position(|path| path.pc != 20).unwrap();
            warp.paths[at].pc = 5;
            warp.divide(at, 1 << lane, 20, 20);
            let done = warp.paths.iter().position(|path| path.pc == 20).unwrap();
            warp.arrive(done);
        }
        assert_eq!(warp.meetings.len(), 1);
        let last = warp.ready().unwrap();
        warp.arrive(last);
        assert_eq!((warp.paths.len(), warp.paths[0].mask), (1, !0));
    }
}
