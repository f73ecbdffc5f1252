//! f32 and f64 arithmetic.

use super::lanes::{Alu, alu, rare};

/// The operation of an opcode, if it is one of f32 or f64.
pub(crate) fn select(name: &str, modifiers: &[&str], kind: &str) -> Option<Alu> {
    match kind {
        "f64" => double(name, modifiers),
        "f32" => {
            // Rounding to nearest is what there is unless it is said; flushing and saturation are told apart from the rest.
            let mode = Mode::of(modifiers);
            let rest: Vec<&str> = modifiers.iter().copied().filter(|m| !matches!(*m, "rn" | "ftz" | "sat")).collect();
            let saturates = matches!(mode, Mode::Saturate | Mode::FlushSaturate);
            if saturates && !matches!(name, "add" | "sub" | "mul" | "fma" | "mad") {
                return None;
            }
            single(name, &rest, mode).or_else(|| approximate(name, &rest, mode))
        }
        _ => None,
    }
}

/// What is done to operands and results besides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Plain,
    Flush,
    Saturate,
    FlushSaturate,
}

impl Mode {
    fn of(modifiers: &[&str]) -> Self {
        match (modifiers.contains(&"ftz"), modifiers.contains(&"sat")) {
            (false, false) => Mode::Plain,
            (true, false) => Mode::Flush,
            (false, true) => Mode::Saturate,
            (true, true) => Mode::FlushSaturate,
        }
    }
}

/// A subnormal as the zero of its sign.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// The same of f64, where only approximations flush.
#[inline(always)]
fn flush_wide(x: f64) -> f64 {
    if x.abs() < f64::MIN_POSITIVE { 0f64.copysign(x) } else { x }
}

/// Into [0, 1]; what is not a number becomes 0.
#[inline(always)]
pub(crate) fn saturate(x: f32) -> f32 {
    // The comparison is false for NaN, and -0 becomes +0.
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// An operation in each mode: operands flushed, result flushed, result saturated.
macro_rules! moded {
    ($mode:expr, |$($x:ident),+| $body:expr) => { moded!(@ alu, $mode, |$($x),+| $body) };
    (@ $how:ident, $mode:expr, |$($x:ident),+| $body:expr) => {
        match $mode {
            Mode::Plain => moded!(@ $how $($x),+; |$($x),+| $body),
            Mode::Flush => moded!(@ $how $($x),+; |$($x: f32),+| { $(let $x = flush($x);)+ flush($body) }),
            Mode::Saturate => moded!(@ rare $($x),+; |$($x),+| saturate($body)),
            Mode::FlushSaturate => moded!(@ rare $($x),+; |$($x: f32),+| { $(let $x = flush($x);)+ saturate(flush($body)) }),
        }
    };
    (@ $how:ident $x:ident; $f:expr) => { $how!(f32 => f32, $f) };
    (@ $how:ident $x:ident, $y:ident; $f:expr) => { $how!(f32, f32 => f32, $f) };
    (@ $how:ident $x:ident, $y:ident, $z:ident; $f:expr) => { $how!(f32, f32, f32 => f32, $f) };
}

pub(super) use moded;

fn single(name: &str, rest: &[&str], mode: Mode) -> Option<Alu> {
    Some(match (name, rest) {
        ("add", []) => moded!(mode, |a, b| a + b),
        ("sub", []) => moded!(mode, |a, b| a - b),
        ("mul", []) => moded!(mode, |a, b| a * b),
        ("fma" | "mad", []) => moded!(mode, |a, b, c| a.mul_add(b, c)),
        ("div", [] | ["full"] | ["approx"]) => moded!(mode, |a, b| a / b),
        ("rcp", [] | ["approx"]) => moded!(mode, |a| 1.0 / a),
        ("sqrt", [] | ["approx"]) => moded!(mode, |a| a.sqrt()),
        ("neg", []) => moded!(mode, |a| f32::from_bits(a.to_bits() ^ 0x8000_0000)),
        ("abs", []) => moded!(mode, |a| a.abs()),
        ("min", []) => moded!(mode, |a, b| minimum(a, b)),
        ("max", []) => moded!(mode, |a, b| maximum(a, b)),
        ("min", ["NaN"]) => moded!(mode, |a, b| if a.is_nan() || b.is_nan() { NAN } else { minimum(a, b) }),
        ("max", ["NaN"]) => moded!(mode, |a, b| if a.is_nan() || b.is_nan() { NAN } else { maximum(a, b) }),
        ("copysign", []) if mode == Mode::Plain => alu!(f32, f32 => f32, |a, b| b.copysign(a)),
        (_, [direction @ ("rz" | "rm" | "rp")]) => super::directed::single(name, direction, mode)?,
        _ => return None,
    })
}

/// The canonical NaN of the machine.
const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// The smaller; the number where one is not; -0 below +0.
#[inline(always)]
pub(crate) fn minimum(a: f32, b: f32) -> f32 {
    if a == b {
        f32::from_bits(a.to_bits() | b.to_bits())
    } else if a < b || b.is_nan() {
        a
    } else {
        b
    }
}

/// The larger; the number where one is not; +0 above -0.
#[inline(always)]
pub(crate) fn maximum(a: f32, b: f32) -> f32 {
    if a == b {
        f32::from_bits(a.to_bits() & b.to_bits())
    } else if a > b || b.is_nan() {
        a
    } else {
        b
    }
}

/// Functions that the device computes to within a few units in the last place. Ours are correctly rounded or nearly so, which
/// is within what is documented; a result that hangs on more than that is not portable either.
fn approximate(name: &str, rest: &[&str], mode: Mode) -> Option<Alu> {
    Some(match (name, rest) {
        ("rsqrt", ["approx"]) => moded!(mode, |a| (1.0 / f64::from(a).sqrt()) as f32),
        ("sin", ["approx"]) => moded!(mode, |a| f64::from(a).sin() as f32),
        ("cos", ["approx"]) => moded!(mode, |a| f64::from(a).cos() as f32),
        ("lg2", ["approx"]) => moded!(mode, |a| f64::from(a).log2() as f32),
        ("ex2", ["approx"]) => moded!(mode, |a| exp2(a)),
        ("tanh", ["approx"]) => moded!(mode, |a| f64::from(a).tanh() as f32),
        _ => return None,
    })
}

/// `2ˣ` to within one unit in the last place: a polynomial, because this is the inner loop of every softmax.
#[inline(always)]
pub(crate) fn exp2(x: f32) -> f32 {
    // Beyond these the result is infinity or zero anyway; NaN passes through.
    let clamped = x.clamp(-200.0, 200.0);
    let x = f64::from(clamped);
    let whole = (x + 0.5).floor();
    let t = (x - whole) * std::f64::consts::LN_2;
    // Taylor's series of eᵗ, |t| ≤ 0.35: the first term left out is below 1e-11.
    let series =
        [1.0 / 3_628_800.0, 1.0 / 362_880.0, 1.0 / 40_320.0, 1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0];
    let mut sum = 0.0;
    for term in series.into_iter().chain([1.0 / 6.0, 0.5, 1.0, 1.0]) {
        sum = sum * t + term;
    }
    let power = f64::from_bits(((whole as i64 + 1023) as u64) << 52);
    if x.is_nan() { f32::NAN } else { (sum * power) as f32 }
}

/// `x + y`, whose nearest f64 is `sum`, with the last bit set if anything was lost: rounding this once more, to far fewer bits,
/// is then as good as rounding the exact sum.
#[inline(always)]
pub(crate) fn round_to_odd(x: f64, y: f64, sum: f64) -> f64 {
    let back = sum - x;
    let lost = (x - (sum - back)) + (y - back);
    if lost == 0.0 || !lost.is_finite() || !sum.is_finite() || sum.to_bits() & 1 == 1 {
        return sum;
    }
    let away = (lost > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

fn double(name: &str, modifiers: &[&str]) -> Option<Alu> {
    Some(match (name, modifiers) {
        ("add", [] | ["rn"]) => alu!(f64, f64 => f64, |a, b| a + b),
        ("sub", [] | ["rn"]) => alu!(f64, f64 => f64, |a, b| a - b),
        ("mul", [] | ["rn"]) => alu!(f64, f64 => f64, |a, b| a * b),
        ("fma" | "mad", ["rn"]) => alu!(f64, f64, f64 => f64, |a, b, c| a.mul_add(b, c)),
        ("div", ["rn"]) => alu!(f64, f64 => f64, |a, b| a / b),
        ("rcp", ["rn"]) => alu!(f64 => f64, |a| 1.0 / a),
        ("rcp", ["approx", "ftz"]) => alu!(f64 => f64, |a| flush_wide(1.0 / flush_wide(a))),
        ("sqrt", ["rn"]) => alu!(f64 => f64, |a| a.sqrt()),
        ("rsqrt", ["approx"]) => alu!(f64 => f64, |a| 1.0 / a.sqrt()),
        ("rsqrt", ["approx", "ftz"]) => alu!(f64 => f64, |a| 1.0 / flush_wide(a).sqrt()),
        ("neg", []) => alu!(u64 => u64, |a| a ^ (1 << 63)),
        ("abs", []) => alu!(f64 => f64, |a| a.abs()),
        ("copysign", []) => alu!(f64, f64 => f64, |a, b| b.copysign(a)),
        ("min", []) => alu!(f64, f64 => f64, |a, b| {
            if a == b { f64::from_bits(a.to_bits() | b.to_bits()) } else if a < b || b.is_nan() { a } else { b }
        }),
        ("max", []) => alu!(f64, f64 => f64, |a, b| {
            if a == b { f64::from_bits(a.to_bits() & b.to_bits()) } else if a > b || b.is_nan() { a } else { b }
        }),
        (_, [direction @ ("rz" | "rm" | "rp")]) => super::directed::double(name, direction)?,
        _ => return None,
    })
}
