//! f16 and bf16 arithmetic, alone and in pairs.
//!
//! Values are computed in f64, where a sum or product of two halves is exact or rounded to odd, and then rounded once.

use super::float::{maximum, minimum, round_to_odd};
use super::lanes::{Alu, alu, rare};
use super::narrow::{Format, widen};

/// A half of one of the two formats.
pub(crate) trait Half: Copy {
    const FORMAT: Format;
}

/// IEEE half precision.
#[derive(Clone, Copy)]
pub(crate) struct F16;

/// The upper half of an f32.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Half for F16 {
    const FORMAT: Format = Format::F16;
}

impl Half for Bf16 {
    const FORMAT: Format = Format::BF16;
}

/// The operation of an opcode, if it is one of halves.
pub(crate) fn select(name: &str, modifiers: &[&str], kind: &str) -> Option<Alu> {
    match kind {
        "f16" | "f16x2" => operation_f16(name, modifiers),
        "bf16" | "bf16x2" => operation_bf16(name, modifiers),
        _ => None,
    }
}

/// What is done to a result before it is rounded or after.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    /// Below zero, and what is no number: zero.
    Relu,
    /// Into [0, 1].
    Saturate,
    /// A subnormal becomes zero, in operands and results.
    Flush,
}

fn after(modifiers: &[&str]) -> Option<After> {
    let has = |m| modifiers.contains(&m);
    match (has("relu"), has("ftz"), has("sat")) {
        (true, false, false) => Some(After::Relu),
        (false, true, false) => Some(After::Flush),
        (false, false, true) => Some(After::Saturate),
        (false, false, false) => Some(After::Nothing),
        _ => None,
    }
}

#[inline(always)]
fn flush<H: Half>(x: f64) -> f64 {
    if x.abs() < H::FORMAT.smallest_normal() { 0f64.copysign(x) } else { x }
}

#[inline(always)]
fn load<H: Half>(bits: u32, after: After) -> f64 {
    let x = widen(bits, H::FORMAT);
    if after == After::Flush { flush::<H>(x) } else { x }
}

#[inline(always)]
fn store<H: Half>(x: f64, after: After) -> u32 {
    let x = match after {
        After::Nothing | After::Flush => x,
        After::Relu => {
            if x > 0.0 || x.is_nan() {
                x
            } else {
                0.0
            }
        }
        After::Saturate => {
            if x > 0.0 {
                x.min(1.0)
            } else {
                0.0
            }
        }
    };
    let bits = H::FORMAT.nearest(x);
    if after == After::Flush { H::FORMAT.nearest(flush::<H>(widen(bits, H::FORMAT))) } else { bits }
}

#[inline(always)]
fn fused(a: f64, b: f64, c: f64) -> f64 {
    let product = a * b;
    round_to_odd(product, c, product + c)
}

/// An operation on both halves of a word; of a single half the upper one is nobody's business. What follows a plain operation
/// is known when it is compiled, the rarer kinds are told by the immediate.
macro_rules! halves {
    ($half:ty, $after:expr, |$($x:ident),+| $body:expr) => {
        match $after {
            After::Nothing => halves!(@alu alu $($x),+; |$($x: u32),+| {
                halves!(@both $half, After::Nothing, |$($x),+| $body)
            }),
            After::Relu => halves!(@alu rare $($x),+; |$($x: u32),+| {
                halves!(@both $half, After::Relu, |$($x),+| $body)
            }),
            After::Saturate => halves!(@alu rare $($x),+; |$($x: u32),+| {
                halves!(@both $half, After::Saturate, |$($x),+| $body)
            }),
            _ => halves!(@alu rare $($x),+; |$($x: u32),+| halves!(@both $half, After::Flush, |$($x),+| $body)),
        }
    };
    (@both $half:ty, $after:expr, |$($x:ident),+| $body:expr) => {{
        let low = { $(let $x = load::<$half>($x & 0xffff, $after);)+ store::<$half>($body, $after) };
        let high = { $(let $x = load::<$half>($x >> 16, $after);)+ store::<$half>($body, $after) };
        high << 16 | low
    }};
    (@alu $how:ident $x:ident; $f:expr) => { $how!(u32 => u32, $f) };
    (@alu $how:ident $x:ident, $y:ident; $f:expr) => { $how!(u32, u32 => u32, $f) };
    (@alu $how:ident $x:ident, $y:ident, $z:ident; $f:expr) => { $how!(u32, u32, u32 => u32, $f) };
}

/// Stamps the operations out for a format: functions inside a macro's function cannot be generic.
macro_rules! operations {
    ($function:ident, $half:ty) => {
        fn $function(name: &str, modifiers: &[&str]) -> Option<Alu> {
            let after = after(modifiers)?;
            let fits = match after {
                After::Relu => name == "fma",
                After::Saturate => matches!(name, "add" | "sub" | "mul" | "fma"),
                After::Nothing | After::Flush => true,
            };
            if !fits {
                return None;
            }
            let rest: Vec<&str> =
                modifiers.iter().copied().filter(|m| !matches!(*m, "rn" | "ftz" | "sat" | "relu")).collect();
            Some(match (name, rest.as_slice()) {
                ("add", []) => halves!($half, after, |a, b| round_to_odd(a, b, a + b)),
                ("sub", []) => halves!($half, after, |a, b| round_to_odd(a, -b, a - b)),
                ("mul", []) => halves!($half, after, |a, b| a * b),
                ("fma", []) => halves!($half, after, |a, b, c| fused(a, b, c)),
                ("neg", []) => halves!($half, after, |a| -a),
                ("abs", []) => halves!($half, after, |a| a.abs()),
                ("min", []) => halves!($half, after, |a, b| f64::from(minimum(a as f32, b as f32))),
                ("max", []) => halves!($half, after, |a, b| f64::from(maximum(a as f32, b as f32))),
                ("min", ["NaN"]) => halves!($half, after, |a, b| {
                    if a.is_nan() || b.is_nan() { f64::NAN } else { f64::from(minimum(a as f32, b as f32)) }
                }),
                ("max", ["NaN"]) => halves!($half, after, |a, b| {
                    if a.is_nan() || b.is_nan() { f64::NAN } else { f64::from(maximum(a as f32, b as f32)) }
                }),
                ("ex2", ["approx"]) => halves!($half, after, |a| a.exp2()),
                ("tanh", ["approx"]) => halves!($half, after, |a| a.tanh()),
                _ => return None,
            })
        }
    };
}

operations!(operation_f16, F16);
operations!(operation_bf16, Bf16);
