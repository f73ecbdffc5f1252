//! Runs PTX on the CPU, checked and counted, and poses as the CUDA driver.
#![deny(missing_docs)]

pub mod bundle;
pub mod check;
pub mod count;
pub mod decode;
pub mod device;
pub mod driver;
pub mod exec;
pub mod loader;
pub mod memory;
pub mod ptx;
