//! Kernels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::program::Program;

/// A kernel, decoded.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) parameters: Vec<Parameter>,
    /// Static shared bytes, and the alignment at which the dynamic ones begin behind them.
    pub(crate) shared_bytes: u32,
    pub(crate) dynamic_align: u32,
    pub(crate) local_bytes: u32,
    pub(crate) registers: u32,
    pub(crate) bounds: crate::ptx::Bounds,
    pub(crate) program: Program,
    pub(crate) symbols: Arc<Symbols>,
    /// Names of source files by their numbers.
    pub(crate) files: Arc<std::collections::BTreeMap<u32, String>>,
}

/// Where a parameter lies among the parameters' bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Offset of its first byte.
    pub offset: u32,
    /// How many bytes it has.
    pub bytes: u32,
}

/// Addresses of a module's variables, once they are placed.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    pub names: Vec<String>,
    pub addresses: Vec<AtomicU64>,
    /// Bytes in constant memory.
    pub const_bytes: u32,
}

impl Symbols {
    pub fn address(&self, index: u32) -> u64 {
        self.addresses[index as usize].load(Relaxed)
    }
}

impl Kernel {
    /// Its name, as the compiler mangled it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its parameters in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Static shared bytes.
    pub fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    /// Bytes of a thread's own memory.
    pub fn local_bytes(&self) -> u32 {
        self.local_bytes
    }

    /// Bytes of constant memory in its module.
    pub fn const_bytes(&self) -> u32 {
        self.symbols.const_bytes
    }

    /// An estimate of the registers that a thread takes: the most that are alive at once.
    pub fn registers(&self) -> u32 {
        self.registers
    }

    /// The most threads that a block may have, if the kernel says so.
    pub fn max_threads(&self) -> Option<u32> {
        self.bounds.max_threads
    }

    /// The block that it must be launched with, if the kernel says so.
    pub fn required_block(&self) -> Option<[u32; 3]> {
        self.bounds.required_block
    }
}
