//! Runs PTX on the CPU, checked and counted, and poses as the CUDA driver.
#![deny(missing_docs)]

pub mod check;
pub mod count;
pub mod decode;
pub mod device;
pub mod exec;
pub mod memory;
pub mod options;
pub mod ptx;
