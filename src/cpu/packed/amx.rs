//! Products by the matrix instructions of Intel's server processors (AMX): 32 rows with 32 outputs at a time, a slab a
//! step.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::marker::PhantomData;

use super::{Block, SIDE, Slab, WORDS};
use crate::cpu::linear::Into;

/// Whether the processor has the instructions and the kernel lets this process use them, which has to be asked for.
pub(super) fn is_permitted() -> bool {
    /// Of leaf 7, register edx: tiles, bf16 and 8-bit integers in them.
    const NEEDED: u32 = 1 << 24 | 1 << 22 | 1 << 25;
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    // SAFETY: every processor of this architecture has the instruction.
    #[allow(unused_unsafe, reason = "safe only in Rust newer than the oldest that this crate is for")]
    let (highest, features) = unsafe { (__cpuid(0).eax, __cpuid_count(7, 0).edx) };
    if highest < 7 || features & NEEDED != NEEDED {
        return false;
    }
    let mut answer = ARCH_PRCTL;
    // SAFETY: the system call takes two numbers, and changes no memory of this process; the two registers that any
    // call overwrites are named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// The shapes of the tile registers.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight are whole: 16 rows of 64 bytes.
static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// A thread's tile registers, in use until this is dropped. Threads that use none are cheaper to switch between.
pub(in crate::cpu) struct Tiles {
    /// They are the thread's.
    own: PhantomData<*const ()>,
}

impl Tiles {
    /// # Safety
    /// [`is_permitted`] has to have said so.
    pub unsafe fn new() -> Self {
        // SAFETY: the instruction reads the 64 bytes of `SHAPES`, which are a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) };
        Self { own: PhantomData }
    }

    /// The sums of 8-bit products of 32 rows with a panel.
    pub fn sums(&self, x: &[Slab], w: &[Slab], starts: &[i32; SIDE], y: &mut Block<i32>) {
        assert!(x.len() == w.len() && !w.is_empty(), "as many slabs of rows as of outputs");
        // SAFETY: the tiles are configured, as `self` says. Of both operands the loop reads `w.len()` slabs of 2 KiB.
        // The sums begin with 64 bytes of `starts` for every row (a stride of 0), and end in the 32 rows of `y`.
        unsafe {
            asm!(
                "tileloadd tmm0, [{starts} + {stride}*1]",
                "tileloadd tmm1, [{starts} + {stride}*1 + 64]",
                "tileloadd tmm2, [{starts} + {stride}*1]",
                "tileloadd tmm3, [{starts} + {stride}*1 + 64]",
                "mov {stride:e}, 64",
                "2:",
                "tileloadd tmm4, [{x} + {stride}*1]",
                "tileloadd tmm6, [{w} + {stride}*1]",
                "tileloadd tmm7, [{w} + {stride}*1 + 1024]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {stride}*1 + 1024]",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "add {x}, 2048",
                "add {w}, 2048",
                "dec {steps}",
                "jnz 2b",
                "mov {stride:e}, 128",
                "tilestored [{y} + {stride}*1], tmm0",
                "tilestored [{y} + {stride}*1 + 64], tmm1",
                "tilestored [{y} + {stride}*1 + 2048], tmm2",
                "tilestored [{y} + {stride}*1 + 2112], tmm3",
                starts = in(reg) starts.as_ptr(),
                stride = inout(reg) 0u64 => _,
                x = inout(reg) x.as_ptr() => _,
                w = inout(reg) w.as_ptr() => _,
                steps = inout(reg) w.len() => _,
                y = in(reg) y.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    /// The products in bf16 of 32 rows, each in three parts, with a panel, added in f32.
    pub fn products(&self, x: &[[Slab; 3]], w: &[Slab], y: &mut Block<f32>) {
        assert!(x.len() == w.len() && !w.is_empty(), "as many slabs of rows as of outputs");
        // SAFETY: as for `sums`, but three slabs of rows for each of outputs, and tiles that begin as zeros.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm6, [{w} + {stride}*1]",
                "tileloadd tmm7, [{w} + {stride}*1 + 1024]",
                "tileloadd tmm4, [{x} + {stride}*1 + 4096]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {stride}*1 + 5120]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{x} + {stride}*1 + 2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {stride}*1 + 3072]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{x} + {stride}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {stride}*1 + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {x}, 6144",
                "add {w}, 2048",
                "dec {steps}",
                "jnz 2b",
                "mov {stride:e}, 128",
                "tilestored [{y} + {stride}*1], tmm0",
                "tilestored [{y} + {stride}*1 + 64], tmm1",
                "tilestored [{y} + {stride}*1 + 2048], tmm2",
                "tilestored [{y} + {stride}*1 + 2112], tmm3",
                stride = inout(reg) 64u64 => _,
                x = inout(reg) x.as_ptr() => _,
                w = inout(reg) w.as_ptr() => _,
                steps = inout(reg) w.len() => _,
                y = in(reg) y.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Tiles {
    /// The products in bf16 of 32 rows with a panel, added in f32, to rows of `y` that are `stride` apart.
    pub fn rounded_products(&self, x: &[Slab], w: &[Slab], into: Into, (y, stride): (&mut [f32], usize)) {
        assert!(x.len() == w.len() && !w.is_empty(), "as many slabs of rows as of outputs");
        assert!(stride >= SIDE && (SIDE - 1) * stride + SIDE <= y.len());
        // SAFETY: the tiles are configured, as `self` says. Of both operands the loop reads `w.len()` slabs of 2 KiB. The
        // sums are 32 rows of 32 numbers, which lie within `y`, as asserted; `lower` is the 16th of these rows.
        unsafe {
            asm!(
                "mov {lower}, {y_stride}",
                "shl {lower}, 4",
                "add {lower}, {y}",
                "test {is_sum:e}, {is_sum:e}",
                "jz 2f",
                "tileloadd tmm0, [{y} + {y_stride}*1]",
                "tileloadd tmm1, [{y} + {y_stride}*1 + 64]",
                "tileloadd tmm2, [{lower} + {y_stride}*1]",
                "tileloadd tmm3, [{lower} + {y_stride}*1 + 64]",
                "jmp 3f",
                "2:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "3:",
                "tileloadd tmm6, [{w} + {stride}*1]",
                "tileloadd tmm4, [{x} + {stride}*1]",
                "tileloadd tmm7, [{w} + {stride}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {stride}*1 + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {x}, 2048",
                "add {w}, 2048",
                "dec {steps}",
                "jnz 3b",
                "tilestored [{y} + {y_stride}*1], tmm0",
                "tilestored [{y} + {y_stride}*1 + 64], tmm1",
                "tilestored [{lower} + {y_stride}*1], tmm2",
                "tilestored [{lower} + {y_stride}*1 + 64], tmm3",
                is_sum = in(reg) u64::from(into == Into::Sum),
                lower = out(reg) _,
                y = in(reg) y.as_mut_ptr(),
                y_stride = in(reg) stride * size_of::<f32>(),
                stride = in(reg) 64u64,
                x = inout(reg) x.as_ptr() => _,
                w = inout(reg) w.as_ptr() => _,
                steps = inout(reg) w.len() => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the registers that it clears are no one else's.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// What the offsets in the instructions above are made of.
const _: () = assert!(size_of::<Slab>() == 2048 && size_of::<Slab>() == 2 * WORDS * 64 && SIDE * 4 == 128);
