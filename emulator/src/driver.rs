//! The functions of the CUDA driver API that programs (cudarc's, above all) call, over the emulated device.
//!
//! Work is done when it is submitted, on the calling thread: one of the orders that streams allow, and the one in
//! which a fault is returned by the very call that launched the kernel, as a driver does under
//! `CUDA_LAUNCH_BLOCKING=1`.

mod allocation;
mod capture;
mod context;
mod copy;
mod device;
mod entry;
mod event;
mod extension;
mod function;
mod graph;
mod guard;
mod handle;
mod history;
mod launch;
mod library;
mod module;
mod occupancy;
mod operation;
mod status;
mod stream;
mod unsupported;

pub use history::{Launched, Shape};
