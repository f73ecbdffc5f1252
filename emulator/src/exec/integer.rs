//! Integer arithmetic.

use super::lanes::{Alu, alu, rare};

/// The operation of an opcode, if it is one of integers.
pub(crate) fn select(name: &str, modifiers: &[&str], kind: &str) -> Option<Alu> {
    match modifiers {
        [] => plain(name, kind).or_else(|| logic(name, kind)).or_else(|| bits(name, kind)),
        ["lo"] => low(name, kind),
        ["hi"] => high(name, kind),
        ["wide"] => wide(name, kind),
        ["sat"] => saturating(name, kind),
        ["shiftamt"] => shift_amount(name, kind),
        _ => funnel(name, modifiers, kind),
    }
}

/// What a device gives where there is no quotient: all ones, and the dividend as the remainder.
macro_rules! quotient {
    ($kind:ty) => {
        rare!($kind, $kind => $kind, |a, b| if b == 0 { !0 } else { a.wrapping_div(b) })
    };
}

macro_rules! remainder {
    ($kind:ty) => {
        rare!($kind, $kind => $kind, |a, b| if b == 0 { a } else { a.wrapping_rem(b) })
    };
}

fn plain(name: &str, kind: &str) -> Option<Alu> {
    Some(match (name, kind) {
        ("add", "u16" | "s16") => rare!(u16, u16 => u16, |a, b| a.wrapping_add(b)),
        ("add", "u32" | "s32") => alu!(u32, u32 => u32, |a, b| a.wrapping_add(b)),
        ("add", "u64" | "s64") => alu!(u64, u64 => u64, |a, b| a.wrapping_add(b)),
        ("sub", "u16" | "s16") => rare!(u16, u16 => u16, |a, b| a.wrapping_sub(b)),
        ("sub", "u32" | "s32") => alu!(u32, u32 => u32, |a, b| a.wrapping_sub(b)),
        ("sub", "u64" | "s64") => alu!(u64, u64 => u64, |a, b| a.wrapping_sub(b)),
        ("div", "u16") => quotient!(u16),
        ("div", "s16") => quotient!(i16),
        ("div", "u32") => quotient!(u32),
        ("div", "s32") => quotient!(i32),
        ("div", "u64") => quotient!(u64),
        ("div", "s64") => quotient!(i64),
        ("rem", "u16") => remainder!(u16),
        ("rem", "s16") => remainder!(i16),
        ("rem", "u32") => remainder!(u32),
        ("rem", "s32") => remainder!(i32),
        ("rem", "u64") => remainder!(u64),
        ("rem", "s64") => remainder!(i64),
        ("neg", "s16") => rare!(i16 => i16, |a| a.wrapping_neg()),
        ("neg", "s32") => rare!(i32 => i32, |a| a.wrapping_neg()),
        ("neg", "s64") => rare!(i64 => i64, |a| a.wrapping_neg()),
        ("abs", "s16") => rare!(i16 => i16, |a| a.wrapping_abs()),
        ("abs", "s32") => rare!(i32 => i32, |a| a.wrapping_abs()),
        ("abs", "s64") => rare!(i64 => i64, |a| a.wrapping_abs()),
        ("min", "u16") => rare!(u16, u16 => u16, |a, b| a.min(b)),
        ("min", "s16") => rare!(i16, i16 => i16, |a, b| a.min(b)),
        ("min", "u32") => alu!(u32, u32 => u32, |a, b| a.min(b)),
        ("min", "s32") => alu!(i32, i32 => i32, |a, b| a.min(b)),
        ("min", "u64") => alu!(u64, u64 => u64, |a, b| a.min(b)),
        ("min", "s64") => alu!(i64, i64 => i64, |a, b| a.min(b)),
        ("max", "u16") => rare!(u16, u16 => u16, |a, b| a.max(b)),
        ("max", "s16") => rare!(i16, i16 => i16, |a, b| a.max(b)),
        ("max", "u32") => alu!(u32, u32 => u32, |a, b| a.max(b)),
        ("max", "s32") => alu!(i32, i32 => i32, |a, b| a.max(b)),
        ("max", "u64") => alu!(u64, u64 => u64, |a, b| a.max(b)),
        ("max", "s64") => alu!(i64, i64 => i64, |a, b| a.max(b)),
        ("add", "u16x2" | "s16x2") => rare!(u32, u32 => u32, |a, b| pairs(a, b, |a, b| a.wrapping_add(b))),
        ("min", "u16x2") => rare!(u32, u32 => u32, |a, b| pairs(a, b, |a, b| a.min(b))),
        ("max", "u16x2") => rare!(u32, u32 => u32, |a, b| pairs(a, b, |a, b| a.max(b))),
        ("min", "s16x2") => rare!(u32, u32 => u32, |a, b| pairs(a, b, |a, b| (a as i16).min(b as i16) as u16)),
        ("max", "s16x2") => rare!(u32, u32 => u32, |a, b| pairs(a, b, |a, b| (a as i16).max(b as i16) as u16)),
        ("sad", "u32") => rare!(u32, u32, u32 => u32, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        ("sad", "s32") => rare!(i32, i32, u32 => u32, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        _ => return None,
    })
}

fn logic(name: &str, kind: &str) -> Option<Alu> {
    Some(match (name, kind) {
        ("and", "b16" | "b32") => alu!(u32, u32 => u32, |a, b| a & b),
        ("and", "b64") => alu!(u64, u64 => u64, |a, b| a & b),
        ("or", "b16" | "b32") => alu!(u32, u32 => u32, |a, b| a | b),
        ("or", "b64") => alu!(u64, u64 => u64, |a, b| a | b),
        ("xor", "b16" | "b32") => alu!(u32, u32 => u32, |a, b| a ^ b),
        ("xor", "b64") => alu!(u64, u64 => u64, |a, b| a ^ b),
        ("not", "b16" | "b32") => alu!(u32 => u32, |a| !a),
        ("not", "b64") => alu!(u64 => u64, |a| !a),
        ("cnot", "b16") => rare!(u16 => u16, |a| u16::from(a == 0)),
        ("cnot", "b32") => rare!(u32 => u32, |a| u32::from(a == 0)),
        ("cnot", "b64") => rare!(u64 => u64, |a| u64::from(a == 0)),
        ("shl", "b16") => rare!(u16, u32 => u16, |a, n| if n < 16 { a << n } else { 0 }),
        ("shl", "b32") => alu!(u32, u32 => u32, |a, n| if n < 32 { a << n } else { 0 }),
        ("shl", "b64") => alu!(u64, u32 => u64, |a, n| if n < 64 { a << n } else { 0 }),
        ("shr", "b16" | "u16") => rare!(u16, u32 => u16, |a, n| if n < 16 { a >> n } else { 0 }),
        ("shr", "b32" | "u32") => alu!(u32, u32 => u32, |a, n| if n < 32 { a >> n } else { 0 }),
        ("shr", "b64" | "u64") => alu!(u64, u32 => u64, |a, n| if n < 64 { a >> n } else { 0 }),
        ("shr", "s16") => rare!(i16, u32 => i16, |a, n| a >> n.min(15)),
        ("shr", "s32") => alu!(i32, u32 => i32, |a, n| a >> n.min(31)),
        ("shr", "s64") => alu!(i64, u32 => i64, |a, n| a >> n.min(63)),
        _ => return None,
    })
}

fn bits(name: &str, kind: &str) -> Option<Alu> {
    Some(match (name, kind) {
        ("popc", "b32") => rare!(u32 => u32, |a| a.count_ones()),
        ("popc", "b64") => rare!(u64 => u32, |a| a.count_ones()),
        ("clz", "b32") => rare!(u32 => u32, |a| a.leading_zeros()),
        ("clz", "b64") => rare!(u64 => u32, |a| a.leading_zeros()),
        ("brev", "b32") => rare!(u32 => u32, |a| a.reverse_bits()),
        ("brev", "b64") => rare!(u64 => u64, |a| a.reverse_bits()),
        ("bfind", "u32") => rare!(u32 => u32, |a| 31u32.wrapping_sub(a.leading_zeros())),
        ("bfind", "s32") => rare!(i32 => u32, |a| 31u32.wrapping_sub((a ^ a >> 31).leading_zeros())),
        ("bfind", "u64") => rare!(u64 => u32, |a| 63u32.wrapping_sub(a.leading_zeros())),
        ("bfind", "s64") => rare!(i64 => u32, |a| 63u32.wrapping_sub((a ^ a >> 63).leading_zeros())),
        ("bfe", "u32") => rare!(u32, u32, u32 => u32, |a, at, len| extract(a.into(), at, len, Sign::None(32)) as u32),
        ("bfe", "s32") => {
            rare!(i32, u32, u32 => u32, |a, at, len| extract(a as i64 as u64, at, len, Sign::Of(32)) as u32)
        }
        ("bfe", "u64") => rare!(u64, u32, u32 => u64, |a, at, len| extract(a, at, len, Sign::None(64))),
        ("bfe", "s64") => rare!(u64, u32, u32 => u64, |a, at, len| extract(a, at, len, Sign::Of(64))),
        ("bfi", "b32") => rare!(u32, u32, u32, u32 => u32, |a, b, at, len| {
            let (at, len) = (at & 255, len & 255);
            let mask = field(len) as u32;
            if at < 32 { (b & !(mask << at)) | ((a & mask) << at) } else { b }
        }),
        ("bfi", "b64") => rare!(u64, u64, u32, u32 => u64, |a, b, at, len| {
            let (at, len) = (at & 255, len & 255);
            let mask = field(len);
            if at < 64 { (b & !(mask << at)) | ((a & mask) << at) } else { b }
        }),
        ("prmt", "b32") => alu!(u32, u32, u32 => u32, permute),
        ("dp4a", "u32") => alu!(u32, u32, u32 => u32, |a, b, c| dot(a, b, c, |x| x as u8 as i32, |x| x as u8 as i32)),
        ("dp4a", "s32") => alu!(u32, u32, u32 => u32, |a, b, c| dot(a, b, c, |x| x as i8 as i32, |x| x as i8 as i32)),
        _ => return None,
    })
}

fn low(name: &str, kind: &str) -> Option<Alu> {
    Some(match (name, kind) {
        ("mul", "u16" | "s16") => rare!(u16, u16 => u16, |a, b| a.wrapping_mul(b)),
        ("mul", "u32" | "s32") => alu!(u32, u32 => u32, |a, b| a.wrapping_mul(b)),
        ("mul", "u64" | "s64") => alu!(u64, u64 => u64, |a, b| a.wrapping_mul(b)),
        ("mad", "u16" | "s16") => rare!(u16, u16, u16 => u16, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("mad", "u32" | "s32") => alu!(u32, u32, u32 => u32, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("mad", "u64" | "s64") => alu!(u64, u64, u64 => u64, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("mul24", "u32") => rare!(u32, u32 => u32, |a, b| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff)),
        ("mul24", "s32") => rare!(i32, i32 => i32, |a, b| (a << 8 >> 8).wrapping_mul(b << 8 >> 8)),
        _ => return None,
    })
}

fn high(name: &str, kind: &str) -> Option<Alu> {
    Some(match (name, kind) {
        ("mul", "u16") => rare!(u16, u16 => u16, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16),
        ("mul", "s16") => rare!(i16, i16 => i16, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16),
        ("mul", "u32") => alu!(u32, u32 => u32, high_u32),
        ("mul", "s32") => alu!(i32, i32 => i32, high_s32),
        ("mul", "u64") => rare!(u64, u64 => u64, |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        ("mul", "s64") => rare!(i64, i64 => i64, |a, b| ((i128::from(a) * i128::from(b)) >> 64) as i64),
        ("mad", "u32") => alu!(u32, u32, u32 => u32, |a, b, c| high_u32(a, b).wrapping_add(c)),
        ("mad", "s32") => alu!(i32, i32, i32 => i32, |a, b, c| high_s32(a, b).wrapping_add(c)),
        ("mad", "u64") => alu!(u64, u64, u64 => u64, |a, b, c| {
            (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)
        }),
        ("mad", "s64") => alu!(i64, i64, i64 => i64, |a, b, c| {
            (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c)
        }),
        _ => return None,
    })
}

#[inline(always)]
fn high_u32(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

#[inline(always)]
fn high_s32(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b)) >> 32) as i32
}

fn wide(name: &str, kind: &str) -> Option<Alu> {
    Some(match (name, kind) {
        ("mul", "u16") => rare!(u16, u16 => u32, |a, b| u32::from(a) * u32::from(b)),
        ("mul", "s16") => rare!(i16, i16 => i32, |a, b| i32::from(a) * i32::from(b)),
        ("mul", "u32") => alu!(u32, u32 => u64, |a, b| u64::from(a) * u64::from(b)),
        ("mul", "s32") => alu!(i32, i32 => i64, |a, b| i64::from(a) * i64::from(b)),
        ("mad", "u16") => rare!(u16, u16, u32 => u32, |a, b, c| (u32::from(a) * u32::from(b)).wrapping_add(c)),
        ("mad", "s16") => rare!(i16, i16, i32 => i32, |a, b, c| (i32::from(a) * i32::from(b)).wrapping_add(c)),
        ("mad", "u32") => alu!(u32, u32, u64 => u64, |a, b, c| (u64::from(a) * u64::from(b)).wrapping_add(c)),
        ("mad", "s32") => alu!(i32, i32, i64 => i64, |a, b, c| (i64::from(a) * i64::from(b)).wrapping_add(c)),
        _ => return None,
    })
}

fn saturating(name: &str, kind: &str) -> Option<Alu> {
    Some(match (name, kind) {
        ("add", "s32") => alu!(i32, i32 => i32, |a, b| a.saturating_add(b)),
        ("sub", "s32") => alu!(i32, i32 => i32, |a, b| a.saturating_sub(b)),
        _ => return None,
    })
}

fn shift_amount(name: &str, kind: &str) -> Option<Alu> {
    Some(match (name, kind) {
        ("bfind", "u32") => rare!(u32 => u32, |a| if a == 0 { !0 } else { a.leading_zeros() }),
        ("bfind", "s32") => rare!(i32 => u32, |a| {
            let magnitude = a ^ a >> 31;
            if magnitude == 0 { !0 } else { magnitude.leading_zeros() }
        }),
        ("bfind", "u64") => rare!(u64 => u32, |a| if a == 0 { !0 } else { a.leading_zeros() }),
        ("bfind", "s64") => rare!(i64 => u32, |a| {
            let magnitude = a ^ a >> 63;
            if magnitude == 0 { !0 } else { magnitude.leading_zeros() }
        }),
        _ => return None,
    })
}

fn funnel(name: &str, modifiers: &[&str], kind: &str) -> Option<Alu> {
    Some(match (name, modifiers, kind) {
        ("shf", ["l", "wrap"], "b32") => alu!(u32, u32, u32 => u32, |a, b, n| (join(a, b) << (n & 31) >> 32) as u32),
        ("shf", ["r", "wrap"], "b32") => alu!(u32, u32, u32 => u32, |a, b, n| (join(a, b) >> (n & 31)) as u32),
        ("shf", ["l", "clamp"], "b32") => alu!(u32, u32, u32 => u32, |a, b, n| (join(a, b) << n.min(32) >> 32) as u32),
        ("shf", ["r", "clamp"], "b32") => alu!(u32, u32, u32 => u32, |a, b, n| (join(a, b) >> n.min(32)) as u32),
        ("bmsk", ["clamp"], "b32") => rare!(u32, u32 => u32, mask_from),
        ("bmsk", ["wrap"], "b32") => rare!(u32, u32 => u32, |at, len| mask_from(at & 31, len & 31)),
        ("szext", ["clamp"], "u32") => rare!(u32, u32 => u32, |a, n| (u64::from(a) & field(n)) as u32),
        ("szext", ["wrap"], "u32") => rare!(u32, u32 => u32, |a, n| (u64::from(a) & field(n & 31)) as u32),
        ("szext", ["clamp"], "s32") => rare!(u32, u32 => u32, |a, n| signed_field(a, n.min(32))),
        ("szext", ["wrap"], "s32") => rare!(u32, u32 => u32, |a, n| signed_field(a, n & 31)),
        ("dp4a", ["u32"], "s32") => {
            alu!(u32, u32, u32 => u32, |a, b, c| dot(a, b, c, |x| x as u8 as i32, |x| x as i8 as i32))
        }
        ("dp4a", ["s32"], "u32") => {
            alu!(u32, u32, u32 => u32, |a, b, c| dot(a, b, c, |x| x as i8 as i32, |x| x as u8 as i32))
        }
        ("dp2a", [half, a], b) => return two_products(half, a, b),
        ("dp4a", ["u32"], "u32") => return bits("dp4a", "u32"),
        ("dp4a", ["s32"], "s32") => return bits("dp4a", "s32"),
        _ => return None,
    })
}

#[inline(always)]
fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// `len` ones from the bottom.
#[inline(always)]
fn field(len: u32) -> u64 {
    if len < 64 { (1 << len) - 1 } else { !0 }
}

#[inline(always)]
fn mask_from(at: u32, len: u32) -> u32 {
    if at < 32 { (field(len.min(32)) << at) as u32 } else { 0 }
}

/// How a field is widened, and the bits of what it is taken from.
#[derive(Clone, Copy)]
enum Sign {
    None(u32),
    Of(u32),
}

/// Bits `at .. at + len`; beyond the top, zeros or the sign.
#[inline(always)]
fn extract(a: u64, at: u32, len: u32, sign: Sign) -> u64 {
    let (at, len) = (at & 255, len & 255);
    match sign {
        Sign::None(bits) => {
            if at < bits {
                a >> at & field(len)
            } else {
                0
            }
        }
        Sign::Of(bits) => {
            if len == 0 {
                return 0;
            }
            let a = ((a << (64 - bits)) as i64) >> (64 - bits);
            let value = a >> at.min(63);
            let shift = 64 - len.min(64);
            (value << shift >> shift) as u64
        }
    }
}

fn signed_field(a: u32, len: u32) -> u32 {
    extract(u64::from(a), 0, len, Sign::Of(32)) as u32
}

#[inline(always)]
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let pick = |i: u32| {
        let control = selector >> (4 * i) & 15;
        let byte = (bytes >> (8 * (control & 7))) as u8;
        let byte = if control & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 };
        u32::from(byte) << (8 * i)
    };
    pick(0) | pick(1) | pick(2) | pick(3)
}

/// Both halves of a word, each for itself.
fn pairs(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16 | u32::from(f(a as u16, b as u16))
}

/// `dp2a`: the two halves of a with two bytes of b, the low ones or the high ones.
fn two_products(half: &str, a: &str, b: &str) -> Option<Alu> {
    fn sum(a: u32, b: u32, c: u32, x: impl Fn(u16) -> i32, y: impl Fn(u8) -> i32) -> u32 {
        let products = [(a as u16, b as u8), ((a >> 16) as u16, (b >> 8) as u8)];
        products.into_iter().fold(c, |sum, (a, b)| sum.wrapping_add(x(a).wrapping_mul(y(b)) as u32))
    }
    macro_rules! products {
        ($shift:expr, $x:ty, $y:ty) => {
            rare!(u32, u32, u32 => u32, |a, b, c| sum(a, b >> $shift, c, |x| x as $x as i32, |y| y as $y as i32))
        };
    }
    Some(match (half, a, b) {
        ("lo", "u32", "u32") => products!(0, u16, u8),
        ("lo", "u32", "s32") => products!(0, u16, i8),
        ("lo", "s32", "u32") => products!(0, i16, u8),
        ("lo", "s32", "s32") => products!(0, i16, i8),
        ("hi", "u32", "u32") => products!(16, u16, u8),
        ("hi", "u32", "s32") => products!(16, u16, i8),
        ("hi", "s32", "u32") => products!(16, i16, u8),
        ("hi", "s32", "s32") => products!(16, i16, i8),
        _ => return None,
    })
}

#[inline(always)]
fn dot(a: u32, b: u32, c: u32, x: impl Fn(u32) -> i32, y: impl Fn(u32) -> i32) -> u32 {
    (0..4).fold(c, |sum, i| sum.wrapping_add(x(a >> (8 * i)).wrapping_mul(y(b >> (8 * i))) as u32))
}
