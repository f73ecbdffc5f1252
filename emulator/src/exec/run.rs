//! The interpreter's loop.

use super::block::Block;
use super::lanes::put;
use super::launch::Worker;
use super::scene::{Outcome, Scene};
use super::warp::Wait;
use crate::check::{Fault, Kind};
use crate::decode::{Combine, Operation, Program};

/// What follows an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    /// The next one, but others first: it waits for what they do.
    Yield,
    /// This path waits at the instruction.
    Park(Wait),
    /// The paths were rearranged.
    Anew,
}

impl<'g> Worker<'g> {
    /// Runs a warp until it waits, ends, or has had its share of `steps`. Whether it stopped because it waits for what others do.
    pub fn run_warp(&mut self, block: &mut Block, index: usize, steps: u64) -> Outcome<bool> {
        let program: &'g Program = &self.grid.kernel.program;
        let end = block.warps[index].clock + steps;
        while let Some(path) = block.warps[index].ready() {
            match self.run_path(program, block, (index, path), end)? {
                Flow::Yield => return Ok(true),
                Flow::Next => return Ok(false),
                Flow::Park(_) | Flow::Anew => {}
            }
            if block.warps[index].ready().is_none() {
                self.release_parked(block, index)?;
            }
        }
        Ok(false)
    }

    /// Runs one path until it ends, parks or divides, or time is up (`Flow::Next`).
    fn run_path(
        &mut self,
        program: &'g Program,
        block: &mut Block,
        (index, path): (usize, usize),
        end: u64,
    ) -> Outcome<Flow> {
        let warp = &mut block.warps[index];
        let (mut pc, mut active, stop) = (warp.paths[path].pc, warp.paths[path].mask, warp.stop(path));
        loop {
            let warp = &mut block.warps[index];
            if pc == stop {
                warp.arrive(path);
                return Ok(Flow::Anew);
            }
            if warp.clock >= end {
                warp.paths[path].pc = pc;
                return Ok(Flow::Next);
            }
            warp.clock += 1;
            let step = &program.steps[pc as usize];
            let mask = (warp.registers.predicates[step.guard as usize] ^ step.flip) & active;
            let tick = &mut self.tally.ticks[pc as usize];
            tick.warps += 1;
            tick.lanes += u64::from(mask.count_ones());
            match &step.operation {
                Operation::Lanes(run) => {
                    // SAFETY: the table chose a version that this machine can run.
                    unsafe { run(&mut warp.registers, &step.args, mask) };
                    pc += 1;
                }
                Operation::Branch { .. } if mask == 0 => pc += 1,
                Operation::Branch { target, .. } if mask == active => pc = *target,
                Operation::Branch { target, meet } => {
                    warp.paths[path].pc = pc;
                    warp.divide(path, mask, *target, *meet);
                    return Ok(Flow::Anew);
                }
                Operation::Exit if mask == 0 => pc += 1,
                Operation::Exit => {
                    warp.paths[path].pc = pc + 1;
                    warp.leave(path, mask);
                    self.note_exit(block, index);
                    if mask == active {
                        return Ok(Flow::Anew);
                    }
                    active &= !mask;
                    pc += 1;
                }
                Operation::Compare(run, combine) => {
                    // SAFETY: as above.
                    unsafe { run(&mut warp.registers, &step.args, mask) };
                    warp.combine(combine, mask);
                    pc += 1;
                }
                _ if mask == 0 => pc += 1,
                _ => {
                    warp.paths[path].pc = pc;
                    match self.perform(block, (index, path), mask)? {
                        Flow::Next => pc += 1,
                        flow => return Ok(block.warps[index].pause(path, flow)),
                    }
                }
            }
        }
    }

    /// Runs an instruction that is more than arithmetic. The path's position is up to date.
    fn perform(&mut self, block: &mut Block, (index, path): (usize, usize), mask: u32) -> Outcome<Flow> {
        let pc = block.warps[index].paths[path].pc;
        let program: &'g Program = &self.grid.kernel.program;
        let step = &program.steps[pc as usize];
        match &step.operation {
            Operation::Barrier(kind) => return self.barrier(block, (index, path), kind, mask),
            Operation::Mbarrier(what) => return self.mbarrier(block, (index, pc), what, mask),
            operation if operation.gathers() => return self.gather(block, (index, path), pc),
            _ => {}
        }
        let mut scene = self.scene(block, (index, pc), mask);
        match &step.operation {
            Operation::Load(load) => scene.load(load)?,
            Operation::Store(store) => scene.store(store)?,
            Operation::Atomic(atomic) => scene.atomic(atomic)?,
            Operation::Copy(copy) => scene.copy(copy)?,
            Operation::CommitCopies => scene.warp.copies.commit(mask),
            Operation::WaitCopies(groups) => scene.wait_copies(*groups),
            Operation::WaitAllCopies => scene.wait_all_copies(),
            Operation::Fence(level) => scene.fence(*level),
            Operation::ActiveMask => {
                let row = [mask; 32];
                put(&mut scene.warp.registers, step.args.d, row, mask);
            }
            Operation::Clock { wide } => scene.clock(step.args.d, *wide),
            Operation::Print { format, arguments, result } => {
                let text = scene.print(format, arguments, result.as_ref())?;
                self.printed.push((block.index, text));
            }
            Operation::AssertFail { arguments } => return Err(scene.assertion(arguments)),
            Operation::Trap => {
                return Err(scene.trouble(Scene::first(mask), Fault::new(Kind::Trap, "the kernel gave up")));
            }
            _ => {}
        }
        Ok(Flow::Next)
    }

    /// What an instruction of a warp has before it.
    pub fn scene<'a>(&'a mut self, block: &'a mut Block, (index, pc): (usize, u32), mask: u32) -> Scene<'a, 'g> {
        let program: &'g Program = &self.grid.kernel.program;
        Scene {
            grid: self.grid,
            tally: &mut self.tally,
            shared: &mut block.shared,
            warp: &mut block.warps[index],
            warp_index: index,
            block: block.index,
            step: &program.steps[pc as usize],
            pc,
            mask,
        }
    }
}

impl Operation {
    /// Whether the lanes that it names must come to it together.
    pub fn gathers(&self) -> bool {
        matches!(
            self,
            Operation::WarpBarrier(_)
                | Operation::Shuffle(_)
                | Operation::Vote(_)
                | Operation::Match { .. }
                | Operation::Reduce { .. }
                | Operation::Elect(_)
                | Operation::Mma(_)
                | Operation::LoadMatrix(_)
                | Operation::StoreMatrix(_)
        )
    }
}

impl super::warp::Warp {
    /// A path stops for now.
    fn pause(&mut self, path: usize, flow: Flow) -> Flow {
        match flow {
            Flow::Yield => self.paths[path].pc += 1,
            Flow::Park(wait) => self.paths[path].wait = wait,
            Flow::Next | Flow::Anew => {}
        }
        flow
    }

    /// The second half of `setp`.
    fn combine(&mut self, combine: &Combine, mask: u32) {
        use crate::decode::Logic;
        let predicates = &mut self.registers.predicates;
        let bare = predicates[combine.scratch as usize];
        let with = predicates[combine.with as usize] ^ combine.with_flip;
        let mut set = |to: Option<u32>, bare: u32| {
            let Some(to) = to else { return };
            let value = match combine.how {
                Logic::And => bare & with,
                Logic::Or => bare | with,
                Logic::Xor => bare ^ with,
            };
            let to = &mut predicates[to as usize];
            *to = (*to & !mask) | (value & mask);
        };
        set(combine.to, bare);
        set(combine.to_negated, !bare);
    }
}

impl Scene<'_, '_> {
    /// The clock: the warp's own instructions. Good enough to see that it moves on.
    fn clock(&mut self, d: u32, wide: bool) {
        let now = self.warp.clock;
        if wide {
            put(&mut self.warp.registers, d, [now; 32], self.mask);
        } else {
            put(&mut self.warp.registers, d, [now as u32; 32], self.mask);
        }
    }
}
