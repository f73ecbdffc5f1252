//! `mma.sync`: matrix multiply-adds of a warp.
//!
//! Fragments are unpacked once into dense matrices, and multiplied there. A product of two short floats is exact in f32; sums
//! are rounded to f32 after each product, in the order of k. Devices round elsewhere, and do not say where.

use super::lanes::{Registers, put, row};
use super::narrow::{Format, widen_f16};
use super::scene::{Outcome, Scene};
use crate::check::{Fault, Kind};

/// A multiply-add: its shape, and the rows of its fragments.
#[derive(Debug)]
pub(crate) struct Mma {
    pub shape: Shape,
    pub d: Vec<u32>,
    pub a: Vec<u32>,
    pub b: Vec<u32>,
    pub c: Vec<u32>,
}

/// Types and the length of the sum; all are 16 × 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub k: usize,
    pub a: Factor,
    pub b: Factor,
    pub sum: Sum,
}

/// Type of the factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    F16,
    Bf16,
    Tf32,
    S8,
    U8,
}

/// Type of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    F32,
    F16,
    S32,
    /// Stopped at the ends of its range.
    SaturatedS32,
}

const ROWS: usize = 16;
const COLUMNS: usize = 8;

impl Factor {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "f16" => Factor::F16,
            "bf16" => Factor::Bf16,
            "tf32" => Factor::Tf32,
            "s8" => Factor::S8,
            "u8" => Factor::U8,
            _ => return None,
        })
    }

    /// Values in a register.
    fn per_register(self) -> usize {
        match self {
            Factor::F16 | Factor::Bf16 => 2,
            Factor::Tf32 => 1,
            Factor::S8 | Factor::U8 => 4,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Factor::F16 => "f16",
            Factor::Bf16 => "bf16",
            Factor::Tf32 => "tf32",
            Factor::S8 => "s8",
            Factor::U8 => "u8",
        }
    }
}

impl Shape {
    /// The shape of an opcode's words behind `mma`.
    pub fn of(words: &[&str]) -> Option<Self> {
        let ["sync", "aligned", shape, "row", "col", types @ ..] = words else { return None };
        let (saturates, types) = match types {
            ["satfinite", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let [d, a, b, c] = types else { return None };
        let k: usize = shape.strip_prefix("m16n8k")?.parse().ok()?;
        let (a, b) = (Factor::of(a)?, Factor::of(b)?);
        let whole = matches!(a, Factor::S8 | Factor::U8) && matches!(b, Factor::S8 | Factor::U8);
        let sum = match (*d, *c, saturates) {
            ("f32", "f32", false) if !whole => Sum::F32,
            ("f16", "f16", false) if a == Factor::F16 => Sum::F16,
            ("s32", "s32", false) if whole => Sum::S32,
            ("s32", "s32", true) if whole => Sum::SaturatedS32,
            _ => return None,
        };
        let known = match a {
            Factor::F16 | Factor::Bf16 => k == 8 || k == 16,
            Factor::Tf32 => k == 4 || k == 8,
            Factor::S8 | Factor::U8 => k == 16 || k == 32,
        };
        (known && (a == b || whole)).then_some(Self { k, a, b, sum })
    }

    /// Registers of d, a, b and c.
    pub fn registers(&self) -> [usize; 4] {
        let values = self.a.per_register();
        let sums = if self.sum == Sum::F16 { 2 } else { 4 };
        [sums, ROWS * self.k / 32 / values, COLUMNS * self.k / 32 / values, sums]
    }

    /// Multiply-adds of one instruction.
    pub fn multiply_adds(&self) -> u64 {
        (ROWS * COLUMNS * self.k) as u64
    }
}

/// The dense factors: `a [16, k]` and `b [k, 8]`.
struct Dense<T, const K: usize> {
    a: [[T; K]; ROWS],
    b: [[T; COLUMNS]; K],
}

impl Scene<'_, '_> {
    /// `mma.sync`.
    pub fn mma(&mut self, mma: &Mma) -> Outcome {
        if self.mask != !0 {
            let missing = (!self.mask).trailing_zeros();
            let what = format!("all 32 lanes are due, lane {missing} is not here");
            return Err(self.trouble(Self::first(self.mask), Fault::new(Kind::MissingLanes, what)));
        }
        run(&mut self.warp.registers, mma);
        Ok(())
    }
}

/// Multiplies, in the version that this machine runs best.
fn run(registers: &mut Registers, mma: &Mma) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
        fn wide(registers: &mut Registers, mma: &Mma) {
            multiply(registers, mma);
        }
        if super::lanes::has_wide() {
            // SAFETY: the features were just asked for.
            return unsafe { wide(registers, mma) };
        }
    }
    multiply(registers, mma);
}

#[inline(always)]
fn multiply(registers: &mut Registers, mma: &Mma) {
    let bf16 = |bits: u32, i: usize| f32::from_bits(if i == 0 { bits << 16 } else { bits & 0xffff_0000 });
    let f16 = |bits: u32, i: usize| widen_f16((bits >> (16 * i)) as u16);
    let tf32 = |bits: u32, _: usize| f32::from_bits(bits & !0x1fff);
    match (mma.shape.a, mma.shape.k) {
        (Factor::Bf16, 16) => float_sums(registers, mma, &unpack::<f32, 2, 16>(registers, mma, (bf16, bf16))),
        (Factor::Bf16, _) => float_sums(registers, mma, &unpack::<f32, 2, 8>(registers, mma, (bf16, bf16))),
        (Factor::F16, 16) => float_sums(registers, mma, &unpack::<f32, 2, 16>(registers, mma, (f16, f16))),
        (Factor::F16, _) => float_sums(registers, mma, &unpack::<f32, 2, 8>(registers, mma, (f16, f16))),
        (Factor::Tf32, 8) => float_sums(registers, mma, &unpack::<f32, 1, 8>(registers, mma, (tf32, tf32))),
        (Factor::Tf32, _) => float_sums(registers, mma, &unpack::<f32, 1, 4>(registers, mma, (tf32, tf32))),
        (Factor::S8 | Factor::U8, k) => {
            let (a, b) = (byte(mma.shape.a), byte(mma.shape.b));
            if k == 32 {
                whole_sums(registers, mma, &unpack::<i32, 4, 32>(registers, mma, (a, b)));
            } else {
                whole_sums(registers, mma, &unpack::<i32, 4, 16>(registers, mma, (a, b)));
            }
        }
    }
}

#[inline(always)]
fn byte(factor: Factor) -> impl Fn(u32, usize) -> i32 {
    move |bits, i| {
        let byte = (bits >> (8 * i)) as u8;
        if factor == Factor::S8 { i32::from(byte as i8) } else { i32::from(byte) }
    }
}

/// The factors, of `EACH` values a register.
///
/// Register `r` of lane `4g + t` holds row `g + 8·(r mod 2)` of a, from column `e·t + 4e·(r div 2)`, and column `g` of b, from
/// row `e·t + 4e·r`.
#[inline(always)]
fn unpack<T: Copy + Default, const EACH: usize, const K: usize>(
    registers: &Registers,
    mma: &Mma,
    (in_a, in_b): (impl Fn(u32, usize) -> T, impl Fn(u32, usize) -> T),
) -> Dense<T, K> {
    let mut dense = Dense { a: [[T::default(); K]; ROWS], b: [[T::default(); COLUMNS]; K] };
    for register in 0..ROWS * K / 32 / EACH {
        let row = &registers.narrow[mma.a[register] as usize];
        let (down, right) = (8 * (register % 2), 4 * EACH * (register / 2));
        for group in 0..8 {
            let to = &mut dense.a[group + down][right..right + 4 * EACH];
            for t in 0..4 {
                for i in 0..EACH {
                    to[EACH * t + i] = in_a(row[4 * group + t], i);
                }
            }
        }
    }
    for register in 0..COLUMNS * K / 32 / EACH {
        let row = &registers.narrow[mma.b[register] as usize];
        for t in 0..4 {
            for i in 0..EACH {
                let to = &mut dense.b[4 * EACH * register + EACH * t + i];
                for (group, to) in to.iter_mut().enumerate() {
                    *to = in_b(row[4 * group + t], i);
                }
            }
        }
    }
    dense
}

#[inline(always)]
fn float_sums<const K: usize>(registers: &mut Registers, mma: &Mma, dense: &Dense<f32, K>) {
    let mut sums = addends(registers, mma);
    for (a, sums) in dense.a.chunks_exact(4).zip(sums.chunks_exact_mut(4)) {
        let mut block = [sums[0], sums[1], sums[2], sums[3]];
        for (k, b) in dense.b.iter().enumerate() {
            for (row, sums) in block.iter_mut().enumerate() {
                let a = a[row][k];
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum = a.mul_add(b, *sum);
                }
            }
        }
        sums.copy_from_slice(&block);
    }
    for half in 0..2 {
        let value = |lane: usize, i: usize| sums[8 * half + lane / 4][2 * (lane % 4) + i];
        if mma.shape.sum == Sum::F16 {
            let short = |x: f32| Format::F16.nearest(f64::from(x));
            let pair = |lane| short(value(lane, 0)) | short(value(lane, 1)) << 16;
            put(registers, mma.d[half], row(pair), !0);
        } else {
            for i in 0..2 {
                put(registers, mma.d[2 * half + i], row(|lane| value(lane, i).to_bits()), !0);
            }
        }
    }
}

/// What the products are added to.
#[inline(always)]
fn addends(registers: &Registers, mma: &Mma) -> [[f32; COLUMNS]; ROWS] {
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    for (half, sums) in sums.chunks_exact_mut(8).enumerate() {
        if mma.shape.sum == Sum::F16 {
            let pairs = &registers.narrow[mma.c[half] as usize];
            for (lane, &pair) in pairs.iter().enumerate() {
                sums[lane / 4][2 * (lane % 4)] = widen_f16(pair as u16);
                sums[lane / 4][2 * (lane % 4) + 1] = widen_f16((pair >> 16) as u16);
            }
            continue;
        }
        let (even, odd) =
            (&registers.narrow[mma.c[2 * half] as usize], &registers.narrow[mma.c[2 * half + 1] as usize]);
        for (group, sums) in sums.iter_mut().enumerate() {
            for t in 0..4 {
                sums[2 * t] = f32::from_bits(even[4 * group + t]);
                sums[2 * t + 1] = f32::from_bits(odd[4 * group + t]);
            }
        }
    }
    sums
}

#[inline(always)]
fn whole_sums<const K: usize>(registers: &mut Registers, mma: &Mma, dense: &Dense<i32, K>) {
    let sums: [[u32; 32]; 4] = std::array::from_fn(|i| registers.narrow[mma.c[i] as usize]);
    for (at, c) in sums.iter().enumerate() {
        let row = row(|lane| {
            let (m, n) = (8 * (at / 2) + lane / 4, 2 * (lane % 4) + at % 2);
            let products = (0..K).map(|k| dense.a[m][k] * dense.b[k][n]);
            let sum = i64::from(products.sum::<i32>()) + i64::from(c[lane] as i32);
            if mma.shape.sum == Sum::SaturatedS32 {
                sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32
            } else {
                sum as u32
            }
        });
        put(registers, mma.d[at], row, !0);
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sum = match self.sum {
            Sum::F32 => "f32",
            Sum::F16 => "f16",
            Sum::S32 | Sum::SaturatedS32 => "s32",
        };
        write!(f, "m16n8k{}.{sum}.{}.{}", self.k, self.a.name(), self.b.name())
    }
}
