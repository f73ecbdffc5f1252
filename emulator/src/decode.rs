//! PTX decoded once into the form that executes.
//!
//! Registers become rows of a warp's register file, immediates and special registers too; labels become positions; branches
//! learn where their two sides meet again.

mod calls;
mod class;
mod flow;
mod kernel;
mod layout;
mod lives;
mod lower;
mod memory;
mod module;
mod program;
mod synchronise;
mod words;

pub use class::Class;
pub use kernel::{Kernel, Parameter};
#[cfg(test)]
pub(crate) use memory::update;
pub use module::{Global, Module};
pub(crate) use program::{
    Address, Atomic, BarrierKind, BlockVote, Combine, Copy, Info, Level, Load, Logic, MatrixMove, Mbarrier,
    MbarrierKind, Member, NOWHERE, Operation, Program, Shuffle, ShuffleKind, Source, Step, Store, Update, Vote,
    VoteKind,
};
#[cfg(test)]
pub(crate) use words::NAMES;
