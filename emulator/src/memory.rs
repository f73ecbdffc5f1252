//! Memory: the device's (allocations, each byte with a bit that says whether it was ever written), a block's and a thread's.

mod global;
mod local;
mod races;
mod region;
mod shared;

pub(crate) use global::View;
pub use global::{Allocation, Memory};
pub(crate) use local::Local;
pub(crate) use races::{Access, Company, Races, Reading, Touching};
pub(crate) use region::Region;
pub(crate) use shared::{Clash, ClashKind, Shared, Touch};

/// Where a block's shared memory appears among generic addresses.
pub(crate) const SHARED_WINDOW: u64 = 0x7d00_0000_0000;
/// Where a thread's local memory appears among generic addresses.
pub(crate) const LOCAL_WINDOW: u64 = 0x7e00_0000_0000;
/// Where a kernel's parameters appear among generic addresses.
pub(crate) const PARAM_WINDOW: u64 = 0x7f00_0000_0000;
/// Bytes of each window.
pub(crate) const WINDOW_BYTES: u64 = 1 << 32;
