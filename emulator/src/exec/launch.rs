//! Launches: what is refused, how blocks are spread over threads, and what is reported.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::block::{Block, Progress};
use super::scene::{Grid, OnRace, Trouble};
use super::tally::Tally;
use crate::check::{Checks, Kind, Other, Place, Report, Strictness};
use crate::count::Counters;
use crate::decode::Kernel;
use crate::device::{BLOCK_LIMIT, DeviceSpec, GRID_LIMIT, SHARED_PER_BLOCK, THREADS_PER_BLOCK};
use crate::memory::{Company, Memory};

/// Whether the blocks of a grid may wait for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cooperation {
    /// They may not: nobody says that they run at the same time.
    #[default]
    None,
    /// They may: a cooperative launch.
    Grid,
}

/// A launch.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// What runs.
    pub kernel: &'a Kernel,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Dynamic shared bytes of a block.
    pub dynamic_shared: u32,
    /// The parameters' bytes, laid out as [`Kernel::parameters`] says.
    pub params: &'a [u8],
    /// Whether blocks may wait for each other.
    pub cooperative: Cooperation,
}

/// How a launch is run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The order of blocks and warps: 0 is the natural one, any other number another one.
    pub seed: u64,
    /// What is checked.
    pub checks: Checks,
    /// Threads of this machine to use; 0 for all of them. Results and reports do not depend on it.
    pub threads: usize,
    /// The device that is posed as.
    pub device: DeviceSpec,
}

/// Rounds that a block is given before the next one is begun beside it, where blocks wait for each other.
const PATIENCE: u64 = 64;
/// Bytes of a cooperative grid's workspace: its size and a counter, and room to spare.
const WORKSPACE_BYTES: u64 = 64;
/// Blocks that are under way at once where only one should be needed.
const BLOCKS_AT_ONCE: usize = 64;

/// Runs a kernel. Device memory holds its results, or what it had written before the fault that is reported.
#[allow(clippy::result_large_err, reason = "a launch fails once")]
pub fn launch(launch: &Launch, memory: &Memory, settings: &Settings) -> Result<Counters, Report> {
    refuse(launch, settings).map_or(Ok(()), |what| Err(Report::refused(launch.kernel.name(), what)))?;
    if launch.cooperative == Cooperation::None {
        return run(launch, memory, settings, 0);
    }
    // Grids that wait for themselves count their blocks in memory that the driver provides.
    let full = || Report::refused(launch.kernel.name(), "no memory left for the grid's barrier");
    let workspace = memory.alloc(WORKSPACE_BYTES).ok_or_else(full)?;
    let filled = memory.fill(workspace, &[0], WORKSPACE_BYTES);
    let outcome = filled.map_err(|_| full()).and_then(|()| run(launch, memory, settings, workspace));
    // It is there: nobody else knows of it.
    let _ = memory.free(workspace);
    outcome
}

#[allow(clippy::result_large_err, reason = "a launch fails once")]
fn run(launch: &Launch, memory: &Memory, settings: &Settings, workspace: u64) -> Result<Counters, Report> {
    let together = launch.cooperative == Cooperation::Grid;
    let in_order = together || launch.kernel.program.order.sensitive;
    let on_race = if in_order { OnRace::Report } else { OnRace::Note };
    let grid = Grid { workspace, ..grid(launch, memory, settings, (in_order, on_race)) };
    let blocks = Blocks::new(launch.grid.iter().product(), settings.seed);
    let done =
        if in_order { run_in_order(&grid, &blocks, together) } else { run_beside(&grid, &blocks, settings.threads) };
    print(done.printed);
    if let Some((block, trouble)) = done.trouble {
        return Err(report(&grid, block, &trouble));
    }
    let raced = grid.raced.load(Relaxed);
    if raced != u64::MAX {
        return Err(diagnose(launch, memory, settings, raced));
    }
    Ok(Counters::new(launch, &done.tally, &settings.device))
}

/// Why a launch is refused.
fn refuse(launch: &Launch, settings: &Settings) -> Option<String> {
    let (kernel, device) = (launch.kernel, &settings.device);
    let threads = launch.block.iter().try_fold(1u32, |all, &axis| all.checked_mul(axis)).unwrap_or(u32::MAX);
    let blocks = launch.grid.iter().try_fold(1u32, |all, &axis| all.checked_mul(axis));
    let limit = kernel.max_threads().unwrap_or(THREADS_PER_BLOCK).min(THREADS_PER_BLOCK);
    let beyond = |of: [u32; 3], limits: [u32; 3]| of.iter().zip(limits).any(|(&axis, limit)| axis == 0 || axis > limit);
    if beyond(launch.block, BLOCK_LIMIT) || threads > limit {
        return Some(format!("a block of {:?} threads: at most {limit} in all", launch.block));
    }
    if beyond(launch.grid, GRID_LIMIT) || blocks.is_none_or(|blocks| blocks >= 1 << 28) {
        return Some(format!("a grid of {:?} blocks", launch.grid));
    }
    if kernel.required_block().is_some_and(|block| block != launch.block) {
        return Some(format!(
            "a block of {:?} threads: the kernel requires {:?}",
            launch.block,
            kernel.required_block()
        ));
    }
    let shared = shared_bytes(launch);
    if shared > device.shared_per_block_optin.max(SHARED_PER_BLOCK) {
        return Some(format!("{shared} shared bytes: at most {} on this device", device.shared_per_block_optin));
    }
    let wanted = kernel.parameters().last().map_or(0, |last| last.offset + last.bytes) as usize;
    (launch.params.len() != wanted).then(|| format!("{} bytes of parameters, {wanted} are due", launch.params.len()))
}

fn shared_bytes(launch: &Launch) -> u32 {
    let fixed = launch.kernel.shared_bytes;
    match launch.dynamic_shared {
        0 => fixed,
        dynamic => fixed.next_multiple_of(launch.kernel.dynamic_align).saturating_add(dynamic),
    }
}

fn grid<'a>(
    launch: &Launch<'a>,
    memory: &'a Memory,
    settings: &Settings,
    (in_order, on_race): (bool, OnRace),
) -> Grid<'a> {
    Grid {
        kernel: launch.kernel,
        params: launch.params,
        grid: launch.grid,
        block: launch.block,
        shared_bytes: shared_bytes(launch),
        dynamic_shared: launch.dynamic_shared,
        memory,
        view: memory.view(),
        checks: settings.checks,
        seed: settings.seed,
        multiprocessors: settings.device.multiprocessors,
        workspace: 0,
        meetings: in_order.then(Mutex::default),
        raced: AtomicU64::new(u64::MAX),
        on_race,
        company: if in_order || settings.threads == 1 { Company::Alone } else { Company::Others },
        watched: Mutex::default(),
    }
}

/// The order of blocks.
struct Blocks {
    count: u32,
    seed: u64,
    /// A multiplier that shares no factor with the count.
    step: u64,
}

impl Blocks {
    fn new(count: u32, seed: u64) -> Self {
        let gcd = |mut a: u64, mut b: u64| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let mut step = mix(seed) % u64::from(count).max(1);
        while gcd(step, u64::from(count)) != 1 {
            step += 1;
        }
        Self { count, seed, step }
    }

    /// The block whose turn is `turn`.
    fn at(&self, turn: u32) -> u32 {
        if self.seed == 0 {
            return turn;
        }
        ((u64::from(turn) * self.step + mix(self.seed + 1)) % u64::from(self.count)) as u32
    }
}

/// A number that looks nothing like its neighbour's.
pub(super) fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A thread of this machine that runs blocks.
pub(crate) struct Worker<'g> {
    pub grid: &'g Grid<'g>,
    pub tally: Tally,
    /// Text printed, by block.
    pub printed: Vec<(u32, String)>,
    /// Something happened that others may have waited for.
    pub stirred: bool,
    /// No other block can do anything for this one.
    pub is_last: bool,
}

/// What became of the blocks.
struct Done {
    tally: Tally,
    printed: Vec<(u32, String)>,
    trouble: Option<(u32, Box<Trouble>)>,
}

impl<'g> Worker<'g> {
    fn new(grid: &'g Grid<'g>) -> Self {
        let tally = Tally::new(grid.kernel.program.steps.len());
        Self { grid, tally, printed: Vec::new(), stirred: false, is_last: false }
    }
}

/// Blocks side by side, on all threads. Of several faults, the one of the earliest block is reported.
fn run_beside(grid: &Grid, blocks: &Blocks, threads: usize) -> Done {
    let threads = if threads == 0 { rayon::current_num_threads() } else { threads };
    let (next, failed) = (AtomicU32::new(0), AtomicU32::new(u32::MAX));
    let done =
        Mutex::new(Done { tally: Tally::new(grid.kernel.program.steps.len()), printed: Vec::new(), trouble: None });
    let troubles = Mutex::new(Vec::new());
    let work = || {
        let mut worker = Worker::new(grid);
        let mut block = Block::default();
        loop {
            let turn = next.fetch_add(1, Relaxed);
            // Blocks before the first that fails are run to their end, whoever finds the failure first.
            if turn >= blocks.count || turn > failed.load(Relaxed) {
                break;
            }
            worker.begin(&mut block, blocks.at(turn));
            if let Err(trouble) = worker.run_block(&mut block, u64::MAX) {
                failed.fetch_min(turn, Relaxed);
                troubles.lock().unwrap_or_else(|e| e.into_inner()).push((turn, blocks.at(turn), trouble));
            }
        }
        let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
        done.tally.add(&worker.tally);
        done.printed.append(&mut worker.printed);
    };
    let threads = threads.min(blocks.count as usize).max(1);
    if threads == 1 {
        work();
    } else {
        rayon::scope(|scope| (0..threads).for_each(|_| scope.spawn(|_| work())));
    }
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    let first = troubles.into_inner().unwrap_or_else(|e| e.into_inner()).into_iter().min_by_key(|&(turn, ..)| turn);
    done.trouble = first.map(|(_, block, trouble)| (block, trouble));
    done
}

/// Blocks one after the other, or all in turn if they may wait for each other.
fn run_in_order(grid: &Grid, blocks: &Blocks, together: bool) -> Done {
    let mut worker = Worker::new(grid);
    let mut under_way: Vec<Block> = Vec::new();
    let mut spare = Vec::new();
    let mut next = 0;
    let mut admitted = if together { blocks.count as usize } else { 1 };
    let patience = if together { 1 } else { PATIENCE };
    let mut trouble = None;
    'all: while next < blocks.count || !under_way.is_empty() {
        while next < blocks.count && under_way.len() < admitted {
            let mut block = spare.pop().unwrap_or_default();
            worker.begin(&mut block, blocks.at(next));
            grid.meet(|meetings| meetings.begin(block.index));
            under_way.push(block);
            next += 1;
        }
        worker.is_last = next == blocks.count && under_way.len() == 1;
        let mut at = 0;
        let mut waiting = true;
        while at < under_way.len() {
            let before: u64 = under_way[at].warps.iter().map(|warp| warp.clock).sum();
            match worker.run_block(&mut under_way[at], patience) {
                Err(found) => {
                    trouble = Some((under_way[at].index, found));
                    break 'all;
                }
                Ok(Progress::Done) => {
                    let block = under_way.remove(at);
                    grid.meet(|meetings| meetings.end(block.index));
                    spare.push(block);
                    waiting = false;
                }
                Ok(Progress::Waiting) => at += 1,
            }
            let _ = before;
        }
        // Whoever is waited for has not begun yet, it seems.
        if waiting && !together && admitted < BLOCKS_AT_ONCE {
            admitted += 1;
        }
    }
    Done { tally: worker.tally, printed: worker.printed, trouble }
}

fn print(mut printed: Vec<(u32, String)>) {
    // Each block's own text is in order already.
    printed.sort_by_key(|&(block, _)| block);
    printed.iter().for_each(|(_, text)| print!("{text}"));
}

/// A fault with its place in the program and the source.
fn report(grid: &Grid, block: u32, trouble: &Trouble) -> Report {
    let thread = |index: u32| {
        let [x, y, _] = grid.block;
        [index % x, index / x % y, index / x / y]
    };
    let place = |pc: u32| {
        let info = grid.kernel.program.infos.get(pc as usize)?;
        let named = |file: u32, line: u32| Some(format!("{}:{line}", grid.kernel.files.get(&file)?));
        let source = info.text.and_then(|text| named(text.file, text.line));
        let inlined_at = info.text.and_then(|text| text.inlined_at).and_then(|(file, line)| named(file, line));
        Some(Place { ptx_line: info.line, instruction: info.opcode.clone(), source, inlined_at })
    };
    let other = trouble.other.map(|other| Other {
        block: grid.block_id(other.block),
        thread: other.thread.map(thread),
        place: other.pc.and_then(place),
    });
    Report {
        kernel: grid.kernel.name().into(),
        fault: trouble.fault.clone(),
        place: place(trouble.pc),
        block: Some(grid.block_id(block)),
        thread: Some(thread(trouble.warp * 32 + trouble.lane)),
        other,
    }
}

/// Blocks raced on an address: who, and where? They are run once more, one after the other, with an eye on that address alone.
/// Memory is no longer what it was, but a kernel seldom computes its addresses from what it writes.
fn diagnose(launch: &Launch, memory: &Memory, settings: &Settings, address: u64) -> Report {
    let checks = Checks { uninitialised: Strictness::Ignore, ..settings.checks };
    let settings = Settings { checks, ..settings.clone() };
    let grid = grid(launch, memory, &settings, (false, OnRace::Watch(address)));
    let blocks = Blocks::new(launch.grid.iter().product(), settings.seed);
    let done = run_beside(&grid, &blocks, 1);
    match done.trouble {
        Some((block, trouble)) if trouble.fault.kind == Kind::GlobalRace => report(&grid, block, &trouble),
        _ => {
            let what = "touched by two blocks, one of them writing; they did not do it again when asked who";
            let fault = crate::check::Fault::at(Kind::GlobalRace, address, what);
            Report { kernel: grid.kernel.name().into(), fault, place: None, block: None, thread: None, other: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_visits_every_block_once() {
        for count in [1, 2, 7, 12, 256] {
            for seed in 0..20 {
                let blocks = Blocks::new(count, seed);
                let mut seen: Vec<u32> = (0..count).map(|turn| blocks.at(turn)).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..count).collect::<Vec<_>>(), "{count} blocks, seed {seed}");
            }
        }
    }
}
