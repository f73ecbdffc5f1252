//! How long registers are alive, and the rows that they can share.
//!
//! PTX gives every value a register of its own. A warp's rows should fit the processor's cache, so registers that are never
//! alive at the same time share a row. Lanes write under their mask, so what holds for one thread's registers holds for a row.

use std::collections::HashSet;

use super::flow::{Blocks, successors};
use super::lower::Uses;
use super::program::{Operation, Program};
use crate::ptx::Width;

/// Where the registers of one kind went.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// Row of each register; each its own if there are none.
    to: Vec<u32>,
    /// How many rows there are.
    pub rows: u32,
}

impl Placement {
    pub fn row(&self, register: u32) -> u32 {
        self.to.get(register as usize).copied().unwrap_or(register)
    }
}

/// What is known of the registers' lives.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub narrow: Placement,
    pub wide: Placement,
    /// Rows that may be read before they are written.
    pub unset: Vec<(Width, u32)>,
    /// Steps whose results nobody reads.
    pub dead: HashSet<u32>,
    /// The most registers, of 32 bits, that are alive at once.
    pub most_alive: u32,
}

/// A set of registers.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn insert(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn remove(&mut self, i: usize) {
        self.0[i / 64] &= !(1 << (i % 64));
    }

    fn has(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(word, &bits)| (0..64).filter(move |b| bits >> b & 1 == 1).map(move |b| word * 64 + b))
    }
}

/// Registers of both kinds in one numbering: the narrow ones first.
struct Numbering {
    narrow: usize,
    all: usize,
}

impl Numbering {
    fn of(&self, (width, row): (Width, u32)) -> Option<usize> {
        match width {
            Width::Predicate => None,
            Width::Bits64 => Some(self.narrow + row as usize),
            _ => Some(row as usize),
        }
    }

    fn weight(&self, register: usize) -> u32 {
        if register < self.narrow { 1 } else { 2 }
    }
}

/// Finds them out.
pub(super) fn find(program: &Program, uses: &[Uses]) -> Lives {
    let numbering = Numbering { narrow: program.narrow as usize, all: (program.narrow + program.wide) as usize };
    let blocks = Blocks::of(program);
    let alive_out = alive_at_ends(program, uses, &blocks, &numbering);
    let constants: HashSet<usize> = program.fixed.iter().filter_map(|f| numbering.of((f.width, f.row))).collect();
    let mut lives = Lives::default();
    // First and last step at which each is alive.
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; numbering.all];
    let mut note = |register: usize, step: usize| {
        let span = spans[register].get_or_insert((step, step));
        *span = (span.0.min(step), span.1.max(step));
    };
    for (block, mut alive) in alive_out.into_iter().enumerate() {
        for step in blocks.range(block).rev() {
            let written: Vec<usize> = uses[step].writes.iter().filter_map(|&w| numbering.of(w)).collect();
            if !written.is_empty() && written.iter().all(|&register| !alive.has(register)) {
                lives.dead.insert(step as u32);
            }
            written.iter().for_each(|&register| note(register, step));
            alive.iter().for_each(|register| note(register, step));
            apply(program, &uses[step], step, &numbering, &mut alive);
            alive.iter().for_each(|register| note(register, step));
            let weight = alive.iter().filter(|r| !constants.contains(r)).map(|r| numbering.weight(r)).sum();
            lives.most_alive = lives.most_alive.max(weight);
        }
        if block == 0 {
            lives.unset = alive
                .iter()
                .map(|r| {
                    if r < numbering.narrow {
                        (Width::Bits32, r as u32)
                    } else {
                        (Width::Bits64, (r - numbering.narrow) as u32)
                    }
                })
                .collect();
            alive.iter().for_each(|register| note(register, 0));
        }
    }
    for register in constants {
        spans[register] = Some((0, usize::MAX));
    }
    lives.narrow = place(&spans[..numbering.narrow]);
    lives.wide = place(&spans[numbering.narrow..]);
    for (width, row) in &mut lives.unset {
        *row = if *width == Width::Bits64 { lives.wide.row(*row) } else { lives.narrow.row(*row) };
    }
    lives
}

/// What is alive before a step, from what is alive behind it.
fn apply(program: &Program, uses: &Uses, step: usize, numbering: &Numbering, alive: &mut Set) {
    // Under a guard some lanes keep what they had.
    if program.steps[step].guard == 0 {
        uses.writes.iter().filter_map(|&w| numbering.of(w)).for_each(|register| alive.remove(register));
    }
    uses.reads.iter().filter_map(|&r| numbering.of(r)).for_each(|register| alive.insert(register));
}

fn alive_at_ends(program: &Program, uses: &[Uses], blocks: &Blocks, numbering: &Numbering) -> Vec<Set> {
    let count = blocks.len();
    let mut at_start = vec![Set::new(numbering.all); count];
    let mut at_end = at_start.clone();
    let mut changed = true;
    while changed {
        changed = false;
        for block in (0..count).rev() {
            let range = blocks.range(block);
            let mut alive = Set::new(numbering.all);
            for next in successors(program, range.end - 1).into_iter().flatten() {
                let next = blocks.at(next);
                alive.0.iter_mut().zip(&at_start[next].0).for_each(|(to, from)| *to |= from);
            }
            if alive != at_end[block] {
                at_end[block] = alive.clone();
                changed = true;
            }
            for step in range.rev() {
                apply(program, &uses[step], step, numbering, &mut alive);
            }
            if alive != at_start[block] {
                at_start[block] = alive;
                changed = true;
            }
        }
    }
    at_end
}

/// Gives each span a row that no other span has at the time.
fn place(spans: &[Option<(usize, usize)>]) -> Placement {
    let mut order: Vec<usize> = (0..spans.len()).filter(|&i| spans[i].is_some()).collect();
    order.sort_by_key(|&i| spans[i]);
    let mut placement = Placement { to: vec![0; spans.len()], rows: 1 };
    // Rows by the step from which they are free.
    let mut busy = std::collections::BTreeSet::new();
    let mut free = vec![0];
    for register in order {
        let Some((first, last)) = spans[register] else { continue };
        while let Some(&(until, row)) = busy.first().filter(|&&(until, _)| until < first) {
            busy.remove(&(until, row));
            free.push(row);
        }
        let row = free.pop().unwrap_or_else(|| {
            placement.rows += 1;
            placement.rows - 1
        });
        placement.to[register] = row;
        busy.insert((last, row));
    }
    placement
}

/// Whether a step ends a path without an end of the kernel.
pub(super) fn is_dead_end(operation: &Operation) -> bool {
    matches!(operation, Operation::Trap | Operation::AssertFail { .. })
}
