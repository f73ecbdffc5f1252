//! The form that executes.

use super::class::Class;
use crate::exec::lanes::{Args, Run};
use crate::exec::mma::Mma;
use crate::ptx::{Space, Special, Text, Width};

/// A position that is not there: where paths meet that meet only at the end.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// A decoded kernel.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub steps: Vec<Step>,
    /// What each step was in the PTX.
    pub infos: Vec<Info>,
    /// Rows of each kind.
    pub narrow: u32,
    pub wide: u32,
    pub predicates: u32,
    /// Rows whose content is known before a warp begins.
    pub fixed: Vec<Fixed>,
    /// Rows of registers that may be read before anything is written to them: zero at first, so that every run is the same.
    pub zeroed: Vec<(Width, u32)>,
    /// The narrowest accesses to global and to shared memory.
    pub granules: Granules,
    pub order: Order,
}

/// Widths in bytes of the narrowest accesses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granules {
    pub global: u32,
    pub shared: u32,
}

impl Default for Granules {
    fn default() -> Self {
        Self { global: 16, shared: 16 }
    }
}

/// What of a kernel depends on the order in which blocks run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    /// Some: blocks must run one after the other for the result to be the same every time.
    pub sensitive: bool,
    /// It has compare-and-swap loops on global or shared memory, which begin with a plain read.
    pub swaps_global: bool,
    pub swaps_shared: bool,
}

/// What a step was.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub line: u32,
    pub text: Option<Text>,
    pub opcode: String,
    pub class: Class,
}

/// A row whose content is known before a warp begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    pub width: Width,
    pub row: u32,
    pub source: Source,
}

/// Where the content of a fixed row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Bits(u64),
    Special(Special),
    /// The address of a variable of the module.
    Global {
        index: u32,
        offset: i64,
    },
    /// A kernel parameter's bytes.
    Parameter {
        offset: u32,
        bytes: u32,
        signed: bool,
    },
}

/// One instruction.
#[derive(Debug)]
pub(crate) struct Step {
    /// The guard's predicate (0, which is always true, if there is none), and what it is xored with.
    pub guard: u32,
    pub flip: u32,
    pub args: Args,
    pub operation: Operation,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Every lane for itself.
    Lanes(Run),
    /// A comparison whose outcome is combined with another predicate, or wanted twice.
    Compare(Run, Box<Combine>),
    /// To `target` where the guard holds; the sides meet again at `meet`.
    Branch {
        target: u32,
        meet: u32,
    },
    Exit,
    Load(Box<Load>),
    Store(Box<Store>),
    Atomic(Box<Atomic>),
    Barrier(Box<BarrierKind>),
    WarpBarrier(Member),
    Shuffle(Box<Shuffle>),
    Vote(Box<Vote>),
    /// Lanes that hold the same value.
    Match {
        member: Member,
        all: Option<u32>,
        wide: bool,
    },
    Reduce {
        member: Member,
        update: Update,
    },
    Elect(Member),
    ActiveMask,
    Clock {
        wide: bool,
    },
    Mma(Box<Mma>),
    LoadMatrix(Box<MatrixMove>),
    StoreMatrix(Box<MatrixMove>),
    Copy(Box<Copy>),
    CommitCopies,
    /// Waits until at most so many of the latest groups are on their way.
    WaitCopies(u32),
    WaitAllCopies,
    Mbarrier(Box<Mbarrier>),
    Fence(Level),
    Trap,
    Print {
        format: Address,
        arguments: Address,
        result: Option<Address>,
    },
    AssertFail {
        arguments: Box<[Address; 5]>,
    },
    Nothing,
}

/// How far a fence reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Block,
    Device,
}

/// The lanes that an instruction names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Member {
    /// A row with the mask.
    Row(u32),
    /// All lanes there are.
    All,
}

/// The second half of `setp`.
#[derive(Debug)]
pub(crate) struct Combine {
    /// Where the bare comparison is found.
    pub scratch: u32,
    pub with: u32,
    pub with_flip: u32,
    pub how: Logic,
    pub to: Option<u32>,
    pub to_negated: Option<u32>,
}

/// How predicates are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// An address: a row and an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub space: Space,
    pub row: u32,
    pub wide: bool,
    pub offset: i64,
}

/// A load of one element or a vector.
#[derive(Debug)]
pub(crate) struct Load {
    pub address: Address,
    /// Bytes of an element.
    pub element: u32,
    pub signed: bool,
    /// Rows, and whether each is wide; none where the element is not wanted.
    pub to: Vec<Option<(u32, bool)>>,
    /// `volatile`, `relaxed`, `acquire`: it may see what other blocks do.
    pub strong: bool,
}

/// A store of one element or a vector.
#[derive(Debug)]
pub(crate) struct Store {
    pub address: Address,
    pub element: u32,
    pub from: Vec<(u32, bool)>,
    /// `volatile`, `relaxed`, `release`: other blocks may see it.
    pub strong: bool,
    /// `release`: they then see all that was done before.
    pub releases: bool,
}

/// An atomic operation or a reduction.
#[derive(Debug)]
pub(crate) struct Atomic {
    pub address: Address,
    pub element: u32,
    pub update: Update,
    /// None for a reduction.
    pub to: Option<u32>,
    pub wide: bool,
    pub operand: u32,
    /// The new value of a compare-and-swap.
    pub swap: u32,
    pub releases: bool,
}

/// What an atomic operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Update {
    Exchange,
    Swap,
    Add,
    AddF32,
    AddF64,
    AddF16,
    AddBf16,
    AddF16x2,
    AddBf16x2,
    Increment,
    Decrement,
    And,
    Or,
    Xor,
    MinU,
    MaxU,
    MinS,
    MaxS,
}

/// `bar` and `barrier`.
#[derive(Debug)]
pub(crate) struct BarrierKind {
    /// Row with the number, and with the count of threads if there is one.
    pub id: u32,
    pub count: Option<u32>,
    pub waits: bool,
    /// All lanes come at the same instruction.
    pub aligned: bool,
    /// A reduction over the block's predicates: the predicate, its flip, and the destination.
    pub reduce: Option<(BlockVote, u32, u32, u32)>,
}

/// `barrier.red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockVote {
    And,
    Or,
    Count,
}

/// `shfl.sync`.
#[derive(Debug)]
pub(crate) struct Shuffle {
    pub kind: ShuffleKind,
    pub member: Member,
    /// Predicate that says whether the source was in range.
    pub valid: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleKind {
    Up,
    Down,
    Butterfly,
    Index,
}

/// `vote.sync`.
#[derive(Debug)]
pub(crate) struct Vote {
    pub kind: VoteKind,
    pub member: Member,
    pub predicate: u32,
    pub flip: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteKind {
    All,
    Any,
    Uniform,
    Ballot,
}

/// `ldmatrix` and `stmatrix`.
#[derive(Debug)]
pub(crate) struct MatrixMove {
    pub address: Address,
    pub transposed: bool,
    pub rows: Vec<u32>,
}

/// `cp.async`.
#[derive(Debug)]
pub(crate) struct Copy {
    pub to: Address,
    pub from: Address,
    pub bytes: u32,
    /// Row with the bytes to read; the others are zero.
    pub valid: Option<u32>,
    /// Predicate under which nothing is read, and its flip.
    pub ignore: Option<(u32, u32)>,
}

/// An operation on an mbarrier.
#[derive(Debug)]
pub(crate) struct Mbarrier {
    pub address: Address,
    pub kind: MbarrierKind,
    /// Row with the count, the state or the parity.
    pub operand: Option<u32>,
    /// Wide row for the state, or the predicate that says whether the phase is over.
    pub to: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MbarrierKind {
    Initialise,
    Invalidate,
    Arrive,
    ArriveDrop,
    ExpectBytes,
    CompleteBytes,
    ArriveExpectBytes,
    TestState,
    TestParity,
    /// When the thread's copies so far are done; whether the count rises for it.
    ArriveOnCopies,
    ArriveOnCopiesCounted,
    PendingCount,
}
