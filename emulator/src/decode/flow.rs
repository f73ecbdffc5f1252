//! The flow of control: basic blocks, and where the two sides of a branch meet again.

use super::lives::is_dead_end;
use super::program::{NOWHERE, Operation, Program};

/// Basic blocks: runs of steps that are entered at the first alone and left at the last.
pub(super) struct Blocks {
    /// First step of each, and the number of steps at the end.
    starts: Vec<usize>,
    /// The block of each step.
    of: Vec<usize>,
}

impl Blocks {
    pub fn of(program: &Program) -> Self {
        let count = program.steps.len();
        let mut leads = vec![false; count + 1];
        leads[0] = true;
        for (at, step) in program.steps.iter().enumerate() {
            match step.operation {
                Operation::Branch { target, .. } => {
                    leads[target as usize] = true;
                    leads[at + 1] = true;
                }
                Operation::Exit | Operation::Trap | Operation::AssertFail { .. } => leads[at + 1] = true,
                _ => {}
            }
        }
        let mut starts: Vec<usize> = (0..count).filter(|&at| leads[at]).collect();
        let of = (0..count).map(|at| starts.partition_point(|&start| start <= at) - 1).collect();
        starts.push(count);
        Self { starts, of }
    }

    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn range(&self, block: usize) -> std::ops::Range<usize> {
        self.starts[block]..self.starts[block + 1]
    }

    pub fn at(&self, step: usize) -> usize {
        self.of[step]
    }
}

/// The steps that may follow one.
pub(super) fn successors(program: &Program, at: usize) -> [Option<usize>; 2] {
    let step = &program.steps[at];
    let next = (at + 1 < program.steps.len()).then_some(at + 1);
    let otherwise = next.filter(|_| step.guard != 0);
    match &step.operation {
        Operation::Branch { target, .. } => [Some(*target as usize), otherwise],
        Operation::Exit => [None, otherwise],
        operation if is_dead_end(operation) => [None, otherwise],
        _ => [None, next],
    }
}

/// Puts into every branch where its sides meet: the first block that lies on all ways from it to the end. Ways that end in a
/// trap are none.
pub(super) fn find_meets(program: &mut Program) {
    let blocks = Blocks::of(program);
    let count = blocks.len();
    let end = count;
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count + 1];
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); count + 1];
    for (block, next) in next.iter_mut().enumerate().take(count) {
        let last = blocks.range(block).end - 1;
        *next = successors(program, last).into_iter().flatten().map(|step| blocks.at(step)).collect();
        if matches!(program.steps[last].operation, Operation::Exit) {
            next.push(end);
        }
        for &to in next.iter() {
            before[to].push(block);
        }
    }
    let order = from_the_end(&before, end);
    let mut rank = vec![usize::MAX; count + 1];
    order.iter().enumerate().for_each(|(i, &block)| rank[block] = i);
    let mut meets: Vec<Option<usize>> = vec![None; count + 1];
    meets[end] = Some(end);
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().filter(|&&block| block != end) {
            let known = next[block].iter().copied().filter(|&to| meets[to].is_some());
            let meet = known.reduce(|a, b| common(&meets, &rank, a, b));
            if meet != meets[block] {
                meets[block] = meet;
                changed = true;
            }
        }
    }
    for (block, &met) in meets.iter().enumerate().take(count) {
        let last = blocks.range(block).end - 1;
        if let Operation::Branch { meet, .. } = &mut program.steps[last].operation {
            let found = met.filter(|&meet| meet != end);
            *meet = found.map_or(NOWHERE, |meet| blocks.range(meet).start as u32);
        }
    }
}

/// The nearest block on both ways to the end.
fn common(meets: &[Option<usize>], rank: &[usize], mut a: usize, mut b: usize) -> usize {
    while a != b {
        while rank[a] > rank[b] {
            a = meets[a].expect("ranked blocks lead to the end");
        }
        while rank[b] > rank[a] {
            b = meets[b].expect("ranked blocks lead to the end");
        }
    }
    a
}

/// Blocks in reverse postorder of a search backwards from the end.
fn from_the_end(before: &[Vec<usize>], end: usize) -> Vec<usize> {
    let mut seen = vec![false; before.len()];
    let mut order = Vec::new();
    let mut stack = vec![(end, 0)];
    seen[end] = true;
    while let Some((block, child)) = stack.pop() {
        match before[block].get(child) {
            Some(&next) => {
                stack.push((block, child + 1));
                if !seen[next] {
                    seen[next] = true;
                    stack.push((next, 0));
                }
            }
            None => order.push(block),
        }
    }
    order.reverse();
    order
}
