//! What can be submitted to a stream, and therefore become a node of a graph.

use std::ffi::c_void;
use std::sync::Arc;

use super::context::Context;
use super::launch::Prepared;
use super::status::{Failure, Outcome, Status};
use crate::check::Fault;

/// An address of the program's own memory.
#[derive(Clone, Copy, Debug)]
pub struct HostPointer(pub usize);

/// A piece of work. Addresses without further words are the device's.
#[derive(Clone)]
pub enum Operation {
    /// A kernel.
    Launch(Arc<Prepared>),
    /// `count` copies of a pattern.
    Fill { to: u64, pattern: Vec<u8>, count: u64 },
    /// From the host to the device.
    Upload { to: u64, from: HostPointer, bytes: usize },
    /// From the device to the host.
    Download { to: HostPointer, from: u64, bytes: usize },
    /// From device memory to device memory.
    Copy { to: u64, from: u64, bytes: u64 },
    /// From one context's memory to another's.
    PeerCopy { to: (Arc<Context>, u64), from: (Arc<Context>, u64), bytes: usize },
    /// A function of the program.
    Host { function: unsafe extern "C" fn(*mut c_void), argument: HostPointer },
    /// Memory that a graph takes or gives back; it has it throughout.
    GraphMemory,
    /// Memory that a graph frees and did not allocate.
    Free(u64),
}

impl Operation {
    /// What failures call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Launch(_) => "kernel",
            Self::Fill { .. } => "memset",
            Self::Upload { .. } | Self::Download { .. } | Self::Copy { .. } | Self::PeerCopy { .. } => "copy",
            Self::Host { .. } => "host function",
            Self::GraphMemory => "allocation",
            Self::Free(_) => "free",
        }
    }

    /// Does the work.
    pub fn run(&self, context: &Context) -> Outcome {
        let memory = &context.memory;
        match self {
            Self::Launch(prepared) => prepared.run(context),
            Self::Fill { to, pattern, count } => memory.fill(*to, pattern, *count).map_err(refusal),
            Self::Upload { to, from, bytes } => {
                // SAFETY: the C caller promised that the host memory is there until the work is done.
                let data = unsafe { std::slice::from_raw_parts(from.0 as *const u8, *bytes) };
                memory.write(*to, data).map_err(refusal)
            }
            Self::Download { to, from, bytes } => {
                // SAFETY: as above, and nobody else may touch it meanwhile.
                let out = unsafe { std::slice::from_raw_parts_mut(to.0 as *mut u8, *bytes) };
                memory.read(*from, out).map_err(refusal)
            }
            Self::Copy { to, from, bytes } => memory.copy(*to, *from, *bytes).map_err(refusal),
            Self::PeerCopy { to, from, bytes } => {
                let mut staged = vec![0; *bytes];
                from.0.memory.read(from.1, &mut staged).map_err(refusal)?;
                to.0.memory.write(to.1, &staged).map_err(refusal)
            }
            Self::Host { function, argument } => {
                // SAFETY: the C caller's promise: the function takes this argument.
                unsafe { function(argument.0 as *mut c_void) };
                Ok(())
            }
            Self::GraphMemory => Ok(()),
            Self::Free(address) => super::allocation::free(context, *address),
        }
    }
}

/// A driver refuses a copy or a fill that leaves its allocation; no context is corrupted by it.
pub fn refusal(fault: Fault) -> Failure {
    Status::InvalidValue.because(fault.to_string())
}
