//! What the lanes of a warp do together: barriers, shuffles, votes, matches, reductions.

use super::atomic::apply;
use super::block::Block;
use super::lanes::put;
use super::launch::Worker;
use super::run::Flow;
use super::scene::{Outcome, Party, Scene, Trouble, lanes};
use super::warp::{Path, Wait, Warp};
use crate::check::{Fault, Kind, Strictness};
use crate::decode::{Member, Operation, Shuffle, ShuffleKind, Step, Update, Vote, VoteKind};

/// The lanes that an operation names.
fn member(operation: &Operation) -> Member {
    match operation {
        Operation::WarpBarrier(member) | Operation::Elect(member) => *member,
        Operation::Shuffle(shuffle) => shuffle.member,
        Operation::Vote(vote) => vote.member,
        Operation::Match { member, .. } | Operation::Reduce { member, .. } => *member,
        _ => Member::All,
    }
}

/// The lanes of a path that execute a step.
fn guarded(warp: &Warp, step: &Step, path: &Path) -> u32 {
    (warp.registers.predicates[step.guard as usize] ^ step.flip) & path.mask
}

impl<'g> Worker<'g> {
    /// A path is at an instruction that the lanes it names execute together. They may be on several paths.
    pub fn gather(&mut self, block: &mut Block, (index, running): (usize, usize), pc: u32) -> Outcome<Flow> {
        let step: &'g Step = &self.grid.kernel.program.steps[pc as usize];
        let warp = &block.warps[index];
        let here = |at: usize, path: &Path| at == running || (path.wait == Wait::Lanes && path.pc == pc);
        let present = warp.paths.iter().enumerate().filter(|(at, path)| here(*at, path));
        let present = present.fold(0, |all, (_, path)| all | guarded(warp, step, path));
        let mut groups = [(0u32, 0u32); 32];
        let mut count = 0;
        let mut rest = present;
        while rest != 0 {
            let leader = rest.trailing_zeros() as usize;
            let named = warp.named(member(&step.operation), leader);
            let group = match member(&step.operation) {
                Member::All => rest,
                Member::Row(row) => {
                    let masks = &warp.registers.narrow[row as usize];
                    lanes(rest).filter(|&lane| masks[lane] == named).fold(0, |all, lane| all | 1 << lane)
                }
            };
            let wanted = named & warp.exists;
            if group & !named != 0 {
                return Err(self.unnamed(block, (index, pc), group & !named, named));
            }
            if wanted & !group & warp.alive != 0 {
                return Ok(Flow::Park(Wait::Lanes));
            }
            if wanted & !group != 0 && self.grid.checks.returned_threads == Strictness::Report {
                return Err(self.missing_lanes(block, (index, pc), group, wanted & !group));
            }
            groups[count] = (named, group);
            count += 1;
            rest &= !group;
        }
        for &(_, group) in &groups[..count] {
            let mut scene = self.scene(block, (index, pc), group);
            scene.together()?;
        }
        for path in &mut block.warps[index].paths {
            if path.wait == Wait::Lanes && path.pc == pc {
                path.wait = Wait::Ready;
                path.pc += 1;
            }
        }
        Ok(Flow::Next)
    }

    fn unnamed(&mut self, block: &mut Block, (index, pc): (usize, u32), lanes: u32, named: u32) -> Box<Trouble> {
        let lane = lanes.trailing_zeros();
        let fault =
            Fault::new(Kind::MissingLanes, format!("lane {lane} is not among the lanes {named:#010x} that it names"));
        self.scene(block, (index, pc), lanes).trouble(lane, fault)
    }

    fn missing_lanes(
        &mut self,
        block: &mut Block,
        (index, pc): (usize, u32),
        group: u32,
        missing: u32,
    ) -> Box<Trouble> {
        let lane = missing.trailing_zeros();
        let place = block.warps[index].position(lane);
        let returned = block.warps[index].alive >> lane & 1 == 0;
        let fate = if returned { "has returned" } else { "does not come" };
        let what = format!("lanes {missing:#010x} are named, but not here: lane {lane} {fate}");
        let mut trouble =
            self.scene(block, (index, pc), group).trouble(Scene::first(group), Fault::new(Kind::MissingLanes, what));
        trouble.other = Some(Party { block: block.index, thread: Some(index as u32 * 32 + lane), pc: place });
        trouble
    }

    /// A path waits for lanes that will not come.
    pub fn missing(&mut self, block: &mut Block, index: usize, path: Path) -> Box<Trouble> {
        let step = &self.grid.kernel.program.steps[path.pc as usize];
        let warp = &block.warps[index];
        let here = warp.paths.iter().filter(|other| other.wait == Wait::Lanes && other.pc == path.pc);
        let present = here.fold(0, |all, other| all | guarded(warp, step, other));
        let named = lanes(present).find_map(|lane| {
            let named = warp.named(member(&step.operation), lane) & warp.exists;
            (named & !present != 0).then_some(named)
        });
        let missing = named.unwrap_or(warp.exists) & !present;
        self.missing_lanes(block, (index, path.pc), present, missing)
    }
}

impl Scene<'_, '_> {
    /// Executes an instruction whose lanes are all here.
    fn together(&mut self) -> Outcome {
        let step = self.step;
        match &step.operation {
            Operation::WarpBarrier(member) => {
                let named = self.warp.named(*member, Self::first(self.mask) as usize);
                self.shared.clock.sync_warp(self.warp_index, named & self.warp.exists, self.warp.exists);
            }
            Operation::Shuffle(shuffle) => return self.shuffle(shuffle),
            Operation::Vote(vote) => self.vote(vote),
            Operation::Match { all, wide, .. } => self.matching(*all, *wide),
            Operation::Reduce { update, .. } => self.reduce(*update),
            Operation::Elect(_) => self.elect(),
            Operation::Mma(mma) => return self.mma(mma),
            Operation::LoadMatrix(load) => return self.load_matrix(load),
            Operation::StoreMatrix(store) => return self.store_matrix(store),
            _ => {}
        }
        Ok(())
    }

    fn shuffle(&mut self, shuffle: &Shuffle) -> Outcome {
        let args = self.step.args;
        let narrow = &self.warp.registers.narrow;
        let (values, by, control) = (&narrow[args.a as usize], &narrow[args.b as usize], &narrow[args.c as usize]);
        let (mut row, mut valid) = ([0; 32], 0);
        for lane in lanes(self.mask) {
            let (source, in_range) = source(shuffle.kind, lane as u32, by[lane], control[lane]);
            if self.mask >> source & 1 == 0 {
                let what = format!("lane {lane} takes from lane {source}, which takes no part");
                return Err(self.trouble(lane as u32, Fault::new(Kind::MissingLanes, what)));
            }
            row[lane] = values[source as usize];
            valid |= u32::from(in_range) << lane;
        }
        put(&mut self.warp.registers, args.d, row, self.mask);
        if let Some(to) = shuffle.valid {
            self.put_predicate(to, valid);
        }
        Ok(())
    }

    fn put_predicate(&mut self, to: u32, bits: u32) {
        let to = &mut self.warp.registers.predicates[to as usize];
        *to = (*to & !self.mask) | (bits & self.mask);
    }

    fn vote(&mut self, vote: &Vote) {
        let set = (self.warp.registers.predicates[vote.predicate as usize] ^ vote.flip) & self.mask;
        let outcome = match vote.kind {
            VoteKind::All => set == self.mask,
            VoteKind::Any => set != 0,
            VoteKind::Uniform => set == 0 || set == self.mask,
            VoteKind::Ballot => return put(&mut self.warp.registers, self.step.args.d, [set; 32], self.mask),
        };
        self.put_predicate(self.step.args.d, if outcome { !0 } else { 0 });
    }

    fn matching(&mut self, all: Option<u32>, wide: bool) {
        let args = self.step.args;
        let registers = &self.warp.registers;
        let value = |lane: usize| {
            if wide {
                registers.wide[args.a as usize][lane]
            } else {
                u64::from(registers.narrow[args.a as usize][lane])
            }
        };
        let mut row = [0; 32];
        for lane in lanes(self.mask) {
            row[lane] =
                lanes(self.mask).filter(|&other| value(other) == value(lane)).fold(0, |all, other| all | 1 << other);
        }
        if let Some(to) = all {
            let same = lanes(self.mask).all(|lane| row[lane] == self.mask);
            if !same {
                row = [0; 32];
            } else {
                row = [self.mask; 32];
            }
            self.put_predicate(to, if same { !0 } else { 0 });
        }
        put(&mut self.warp.registers, args.d, row, self.mask);
    }

    fn reduce(&mut self, update: Update) {
        let args = self.step.args;
        let values = self.warp.registers.narrow[args.a as usize];
        let all =
            lanes(self.mask).map(|lane| u64::from(values[lane])).reduce(|a, b| apply(update, a, b, 0, 4)).unwrap_or(0);
        put(&mut self.warp.registers, args.d, [all as u32; 32], self.mask);
    }

    fn elect(&mut self) {
        let (args, leader) = (self.step.args, Self::first(self.mask));
        put(&mut self.warp.registers, args.d, [leader; 32], self.mask);
        self.put_predicate(args.e, 1 << leader);
    }
}

/// The lane that a lane takes from, and whether that is in its segment; if not, it keeps its own.
fn source(kind: ShuffleKind, lane: u32, by: u32, control: u32) -> (u32, bool) {
    let (by, clamp, segment) = (by & 31, control & 31, control >> 8 & 31);
    let last = (lane & segment) | (clamp & !segment);
    let (wanted, in_range) = match kind {
        ShuffleKind::Up => (lane.wrapping_sub(by), lane as i32 - by as i32 >= last as i32),
        ShuffleKind::Down => (lane + by, lane + by <= last),
        ShuffleKind::Butterfly => (lane ^ by, lane ^ by <= last),
        ShuffleKind::Index => {
            let wanted = (lane & segment) | (by & !segment);
            (wanted, wanted <= last)
        }
    };
    if in_range { (wanted, true) } else { (lane, false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_stay_in_their_segments() {
        // What the compiler makes of width 32 and 8.
        let (whole, eighths) = (0x1f, 0x181f);
        assert_eq!(source(ShuffleKind::Down, 3, 16, whole), (19, true));
        assert_eq!(source(ShuffleKind::Down, 20, 16, whole), (20, false));
        assert_eq!(source(ShuffleKind::Butterfly, 5, 1, whole), (4, true));
        assert_eq!(source(ShuffleKind::Index, 13, 2, eighths), (10, true));
        assert_eq!(source(ShuffleKind::Down, 6, 1, eighths), (7, true));
        assert_eq!(source(ShuffleKind::Down, 7, 1, eighths), (7, false));
        assert_eq!(source(ShuffleKind::Up, 8, 1, 0x1800), (8, false));
        assert_eq!(source(ShuffleKind::Up, 9, 1, 0x1800), (8, true));
        assert_eq!(source(ShuffleKind::Up, 0, 1, 0), (0, false));
    }
}
