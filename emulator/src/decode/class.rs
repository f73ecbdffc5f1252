//! The kinds of instruction that are counted apart.

use super::words::{space, split};
use crate::ptx::{Instruction, Space};

/// The kinds of instruction that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Integer arithmetic, logic and shifts.
    Integer,
    /// f32 arithmetic.
    Single,
    /// f64 arithmetic.
    Double,
    /// f16 and bf16 arithmetic.
    Half,
    /// Reciprocals, roots, exponentials and the like.
    Special,
    /// Conversions.
    Convert,
    /// Comparisons and logic of predicates.
    Compare,
    /// Moves and selections.
    Move,
    /// Branches and returns.
    Control,
    /// Reads of parameters and constants.
    Constant,
    /// Loads from global memory.
    GlobalLoad,
    /// Stores to global memory.
    GlobalStore,
    /// Loads from shared memory, `ldmatrix` among them.
    SharedLoad,
    /// Stores to shared memory, `stmatrix` among them.
    SharedStore,
    /// Loads and stores of local memory.
    Local,
    /// Atomics and reductions.
    Atomic,
    /// `cp.async` and its groups.
    Copy,
    /// Shuffles, votes and matches.
    Exchange,
    /// Barriers, fences and mbarriers.
    Barrier,
    /// Matrix multiply-adds.
    Matrix,
    /// Hints and what has no effect here.
    Other,
}

/// The kind that an instruction is counted as.
pub(super) fn class(instruction: &Instruction) -> Class {
    let (name, between, kind) = split(instruction);
    let space = between.iter().find_map(|word| space(word)).unwrap_or(Space::Generic);
    match name {
        "ld" | "ldu" => match space {
            Space::Shared => Class::SharedLoad,
            Space::Local => Class::Local,
            Space::Const | Space::Param => Class::Constant,
            Space::Global | Space::Generic => Class::GlobalLoad,
        },
        "st" => match space {
            Space::Shared => Class::SharedStore,
            Space::Local | Space::Param => Class::Local,
            _ => Class::GlobalStore,
        },
        "ldmatrix" => Class::SharedLoad,
        "stmatrix" => Class::SharedStore,
        "atom" | "red" => Class::Atomic,
        "cp" => Class::Copy,
        "bar" | "barrier" | "membar" | "fence" | "mbarrier" | "griddepcontrol" => Class::Barrier,
        "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" => Class::Exchange,
        "mma" | "wmma" => Class::Matrix,
        "bra" | "ret" | "exit" | "trap" | "call" | "brkpt" => Class::Control,
        "mov" | "selp" | "slct" | "cvta" | "isspacep" | "prmt" if kind != "pred" => Class::Move,
        "cvt" => Class::Convert,
        "setp" | "set" | "testp" => Class::Compare,
        "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" | "div" if kind.contains('f') => {
            Class::Special
        }
        "prefetch" | "prefetchu" | "applypriority" | "discard" | "createpolicy" | "nanosleep" | "pmevent" => {
            Class::Other
        }
        _ => match kind {
            "f32" => Class::Single,
            "f64" => Class::Double,
            "f16" | "f16x2" | "bf16" | "bf16x2" => Class::Half,
            "pred" => Class::Compare,
            _ => Class::Integer,
        },
    }
}
