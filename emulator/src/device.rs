//! The devices that the emulator can pose as: what a driver says of them, and what an estimate of time needs.

use serde::{Deserialize, Serialize};

/// Lanes of a warp, on every device there is.
pub const WARP: u32 = 32;
/// Threads that a block may have at most.
pub const THREADS_PER_BLOCK: u32 = 1024;
/// Threads that a block may have along each axis.
pub const BLOCK_LIMIT: [u32; 3] = [1024, 1024, 64];
/// Blocks that a grid may have along each axis.
pub const GRID_LIMIT: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
/// Shared bytes that a block may have without opting in.
pub const SHARED_PER_BLOCK: u32 = 48 * 1024;
/// Shared bytes that the system takes of every block's allocation.
pub const SHARED_RESERVED: u32 = 1024;
/// Registers that a thread may have at most.
pub const REGISTERS_PER_THREAD: u32 = 255;
/// Bytes that a kernel's parameters may take.
pub const PARAMETER_BYTES: usize = 4096;

const SHARED_UNIT: u32 = 128;
const REGISTER_UNIT: u32 = 256;
const WARP_UNIT: u32 = 4;

/// A device: the facts that a program can ask a driver for, and the rates that a roofline needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceSpec {
    /// What the driver calls it.
    pub name: String,
    /// Compute capability: major and minor.
    pub compute: [u32; 2],
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Device memory in bytes. Only what a program allocates takes memory of this machine.
    pub memory_bytes: u64,
    /// Shared bytes that a block may have after opting in.
    pub shared_per_block_optin: u32,
    /// Shared bytes of a multiprocessor.
    pub shared_per_multiprocessor: u32,
    /// 32-bit registers of a multiprocessor.
    pub registers_per_multiprocessor: u32,
    /// Resident threads of a multiprocessor.
    pub threads_per_multiprocessor: u32,
    /// Resident blocks of a multiprocessor.
    pub blocks_per_multiprocessor: u32,
    /// Bytes of the second-level cache.
    pub l2_bytes: u64,
    /// Clock in hertz, boosted as the vendor's peak figures assume.
    pub clock_hz: u64,
    /// Bytes a second between device memory and the chip.
    pub memory_bytes_per_second: u64,
    /// f32 multiply-adds per clock and multiprocessor.
    pub fma_f32_per_clock: u32,
    /// bf16 or f16 multiply-adds of the tensor cores, f32 sums, per clock and multiprocessor.
    pub mma_half_per_clock: u32,
    /// tf32 multiply-adds of the tensor cores per clock and multiprocessor.
    pub mma_tf32_per_clock: u32,
    /// int8 multiply-adds of the tensor cores per clock and multiprocessor.
    pub mma_int8_per_clock: u32,
}

impl Default for DeviceSpec {
    fn default() -> Self {
        Self::a100()
    }
}

impl DeviceSpec {
    /// NVIDIA A100 SXM4 80 GB (sm_80).
    pub fn a100() -> Self {
        Self {
            name: "NVIDIA A100-SXM4-80GB".into(),
            compute: [8, 0],
            multiprocessors: 108,
            memory_bytes: 80 << 30,
            shared_per_block_optin: 163 * 1024,
            shared_per_multiprocessor: 164 * 1024,
            registers_per_multiprocessor: 65_536,
            threads_per_multiprocessor: 2048,
            blocks_per_multiprocessor: 32,
            l2_bytes: 40 << 20,
            clock_hz: 1_410_000_000,
            memory_bytes_per_second: 2_039_000_000_000,
            fma_f32_per_clock: 64,
            mma_half_per_clock: 1024,
            mma_tf32_per_clock: 512,
            mma_int8_per_clock: 2048,
        }
    }

    /// NVIDIA H100 SXM5 80 GB (sm_90). The tensor rates are those of wgmma; mma.sync reaches about two thirds of them.
    pub fn h100() -> Self {
        Self {
            name: "NVIDIA H100 80GB HBM3".into(),
            compute: [9, 0],
            multiprocessors: 132,
            shared_per_block_optin: 227 * 1024,
            shared_per_multiprocessor: 228 * 1024,
            l2_bytes: 50 << 20,
            clock_hz: 1_830_000_000,
            memory_bytes_per_second: 3_350_000_000_000,
            fma_f32_per_clock: 128,
            mma_half_per_clock: 2048,
            mma_tf32_per_clock: 1024,
            mma_int8_per_clock: 4096,
            ..Self::a100()
        }
    }

    /// NVIDIA GeForce RTX 4090 (sm_89).
    pub fn rtx_4090() -> Self {
        Self {
            name: "NVIDIA GeForce RTX 4090".into(),
            compute: [8, 9],
            multiprocessors: 128,
            memory_bytes: 24 << 30,
            shared_per_block_optin: 99 * 1024,
            shared_per_multiprocessor: 100 * 1024,
            threads_per_multiprocessor: 1536,
            blocks_per_multiprocessor: 24,
            l2_bytes: 72 << 20,
            clock_hz: 2_520_000_000,
            memory_bytes_per_second: 1_008_000_000_000,
            fma_f32_per_clock: 128,
            mma_half_per_clock: 256,
            mma_tf32_per_clock: 128,
            mma_int8_per_clock: 1024,
            ..Self::a100()
        }
    }

    /// The device of a short name: `a100`, `h100` or `rtx4090`.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().replace(['-', '_', ' '], "").as_str() {
            "a100" => Some(Self::a100()),
            "h100" => Some(Self::h100()),
            "rtx4090" | "4090" => Some(Self::rtx_4090()),
            _ => None,
        }
    }

    /// How many blocks of this footprint a multiprocessor holds at once, and what keeps it from holding more.
    pub fn occupancy(&self, footprint: Footprint) -> Occupancy {
        let warps = footprint.threads.div_ceil(WARP).max(1);
        let warps_held = self.threads_per_multiprocessor / WARP;
        let shared = (footprint.shared_bytes + SHARED_RESERVED).next_multiple_of(SHARED_UNIT);
        let registers = (footprint.registers.max(1) * WARP).next_multiple_of(REGISTER_UNIT);
        // Registers are handed out by the four schedulers, each of which serves a quarter of the warps.
        let register_warps = self.registers_per_multiprocessor / registers / WARP_UNIT * WARP_UNIT;
        let (blocks, limit) = [
            (self.blocks_per_multiprocessor, Limit::Blocks),
            (warps_held / warps, Limit::Warps),
            (register_warps / warps, Limit::Registers),
            (self.shared_per_multiprocessor / shared, Limit::Shared),
        ]
        .into_iter()
        .min_by_key(|&(blocks, _)| blocks)
        .expect("the list is not empty");
        Occupancy { blocks, warps: blocks * warps, warps_held, limit }
    }
}

/// What a block takes of a multiprocessor.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Threads of a block.
    pub threads: u32,
    /// 32-bit registers of a thread.
    pub registers: u32,
    /// Shared bytes of a block, static and dynamic.
    pub shared_bytes: u32,
}

/// How full a multiprocessor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// Resident blocks.
    pub blocks: u32,
    /// Resident warps.
    pub warps: u32,
    /// Warps that the multiprocessor could hold.
    pub warps_held: u32,
    /// What keeps further blocks out.
    pub limit: Limit,
}

/// The resource that runs out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The number of resident blocks.
    Blocks,
    /// The number of resident warps.
    Warps,
    /// The register file.
    Registers,
    /// Shared memory.
    Shared,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occupancy_is_what_the_vendors_calculator_says() {
        let a100 = DeviceSpec::a100();
        let full = a100.occupancy(Footprint { threads: 256, registers: 32, shared_bytes: 0 });
        assert_eq!((full.blocks, full.warps, full.limit), (8, 64, Limit::Warps));
        // 128 registers a thread: 4096 a warp, 16 warps.
        let heavy = a100.occupancy(Footprint { threads: 256, registers: 128, shared_bytes: 0 });
        assert_eq!((heavy.blocks, heavy.warps, heavy.limit), (2, 16, Limit::Registers));
        // 48 KiB and the reserved 1 KiB: three times into 164 KiB.
        let shared = a100.occupancy(Footprint { threads: 128, registers: 32, shared_bytes: 48 * 1024 });
        assert_eq!((shared.blocks, shared.limit), (3, Limit::Shared));
        let tiny = a100.occupancy(Footprint { threads: 32, registers: 16, shared_bytes: 0 });
        assert_eq!((tiny.blocks, tiny.limit), (32, Limit::Blocks));
    }

    #[test]
    fn peak_rates_are_the_published_ones() {
        let tera = |spec: &DeviceSpec, per_clock: u32| {
            2.0 * f64::from(spec.multiprocessors) * f64::from(per_clock) * spec.clock_hz as f64 / 1e12
        };
        let (a100, h100, ada) = (DeviceSpec::a100(), DeviceSpec::h100(), DeviceSpec::rtx_4090());
        for (got, published) in [
            (tera(&a100, a100.mma_half_per_clock), 312.0),
            (tera(&a100, a100.fma_f32_per_clock), 19.5),
            (tera(&h100, h100.mma_half_per_clock), 989.0),
            (tera(&ada, ada.mma_half_per_clock), 165.2),
            (tera(&ada, ada.fma_f32_per_clock), 82.6),
        ] {
            assert!((got - published).abs() <= 0.01 * published, "{got} TFLOP/s, published {published}");
        }
    }
}
