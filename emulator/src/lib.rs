//! Runs PTX on the CPU, checked and counted, and poses as the CUDA driver: CUDA kernels, and the programs that launch them,
//! are tested on machines without a GPU.
//!
//! [`open`] loads the emulator as the process's driver; from then on cudarc finds it. The crate's README is the manual.
//!
//! | module | what it holds |
//! |---|---|
//! | [`loader`], [`options`] | [`open`], and what can be chosen |
//! | [`driver`] | the CUDA driver's functions |
//! | [`device`] | the devices that it poses as |
//! | [`ptx`], [`decode`] | PTX parsed, and made into what executes |
//! | [`exec`], [`memory`] | blocks, warps and lanes; memory that knows who wrote what |
//! | [`check`], [`count`] | reports and counters |
//! | [`bundle`] | launches written out and run again |
//!
//! It can be used without a driver, too:
//!
//! ```
//! use glimmer_emulator::{Cooperation, Launch, Memory, Module, Settings, launch};
//!
//! let ptx = include_str!("../tests/ptx/pipeline.ptx");
//! let memory = Memory::new(1 << 20);
//! let mut module = Module::parse(ptx).unwrap();
//! module.place_globals(&memory).unwrap();
//! let y = memory.alloc(10 * 4).unwrap();
//! let params: Vec<u8> = [&y.to_le_bytes()[..], &1.5f32.to_le_bytes(), &10i32.to_le_bytes()].concat();
//! let ramp = module.kernel("ramp").unwrap();
//! let counters = launch(
//!     &Launch {
//!         kernel: &ramp,
//!         grid: [1, 1, 1],
//!         block: [32, 1, 1],
//!         dynamic_shared: 0,
//!         params: &params,
//!         cooperative: Cooperation::None,
//!     },
//!     &memory,
//!     &Settings::default(),
//! )
//! .unwrap();
//! let mut last = [0; 4];
//! memory.read(y + 9 * 4, &mut last).unwrap();
//! assert_eq!(f32::from_le_bytes(last), 10.5);
//! assert_eq!(counters.global_stores.bytes, 40);
//! ```
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
pub mod options;
pub mod ptx;

pub use check::{Checks, Fault, Kind, Report};
pub use count::Counters;
pub use decode::{Global, Kernel, Module, Parameter};
pub use device::DeviceSpec;
pub use exec::{Cooperation, Launch, Settings, launch};
pub use loader::{Emulator, open};
pub use memory::{Allocation, Memory};
pub use options::Options;

/// The README's programs, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
