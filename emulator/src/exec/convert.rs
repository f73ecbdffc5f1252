//! `cvt`: between all types, with every rounding.
//!
//! The common conversions have loops of their own. The others go through one function that is told by a code what to do.

use super::float::flush;
use super::lanes::{Args, Registers, Run, binary, each, put, unary, versions};
use super::narrow::{Format, Rounding, nearest_bf16, widen};
use crate::ptx::Width;

/// A type of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F16,
    BF16,
    TF32,
    F32,
    F64,
}

const KINDS: [(&str, Kind); 13] = [
    ("u8", Kind::U8),
    ("s8", Kind::S8),
    ("u16", Kind::U16),
    ("s16", Kind::S16),
    ("u32", Kind::U32),
    ("s32", Kind::S32),
    ("u64", Kind::U64),
    ("s64", Kind::S64),
    ("f16", Kind::F16),
    ("bf16", Kind::BF16),
    ("tf32", Kind::TF32),
    ("f32", Kind::F32),
    ("f64", Kind::F64),
];

const ROUNDINGS: [Rounding; 5] =
    [Rounding::Nearest, Rounding::NearestAway, Rounding::Zero, Rounding::Down, Rounding::Up];

impl Kind {
    fn of(word: &str) -> Option<Self> {
        KINDS.iter().find(|(name, _)| *name == word).map(|&(_, kind)| kind)
    }

    /// Bits of an integer, and whether it has a sign.
    fn integer(self) -> Option<(u32, bool)> {
        Some(match self {
            Kind::U8 => (8, false),
            Kind::S8 => (8, true),
            Kind::U16 => (16, false),
            Kind::S16 => (16, true),
            Kind::U32 => (32, false),
            Kind::S32 => (32, true),
            Kind::U64 => (64, false),
            Kind::S64 => (64, true),
            _ => return None,
        })
    }

    fn width(self) -> Width {
        match self {
            Kind::U64 | Kind::S64 | Kind::F64 => Width::Bits64,
            Kind::U32 | Kind::S32 | Kind::F32 | Kind::TF32 => Width::Bits32,
            _ => Width::Bits16,
        }
    }
}

/// A conversion, decoded.
pub(crate) struct Conversion {
    /// Width of the source.
    pub from: Width,
    /// What the immediate must be.
    pub code: u32,
    own: Option<(Run, Width)>,
    pair: bool,
}

/// How a conversion ends, besides its rounding.
#[derive(Clone, Copy, Default)]
struct Extras {
    saturate: bool,
    relu: bool,
    flush: bool,
    /// Too large becomes the largest number.
    finite: bool,
}

/// The conversion of an opcode's words behind `cvt`.
pub(crate) fn select(words: &[&str]) -> Option<Conversion> {
    let [modifiers @ .., to, from] = words else { return None };
    let mut rounding = None;
    let mut whole = false;
    let mut extras = Extras::default();
    for modifier in modifiers {
        match *modifier {
            "rn" => rounding = Some(Rounding::Nearest),
            "rna" => rounding = Some(Rounding::NearestAway),
            "rz" => rounding = Some(Rounding::Zero),
            "rm" => rounding = Some(Rounding::Down),
            "rp" => rounding = Some(Rounding::Up),
            "rni" => (rounding, whole) = (Some(Rounding::Nearest), true),
            "rzi" => (rounding, whole) = (Some(Rounding::Zero), true),
            "rmi" => (rounding, whole) = (Some(Rounding::Down), true),
            "rpi" => (rounding, whole) = (Some(Rounding::Up), true),
            "sat" => extras.saturate = true,
            "relu" => extras.relu = true,
            "ftz" => extras.flush = true,
            "satfinite" => extras.finite = true,
            _ => return None,
        }
    }
    if let Some(element) = to.strip_suffix("x2") {
        return pair(element, from, rounding?, extras);
    }
    let (to, from) = (Kind::of(to)?, Kind::of(from)?);
    if extras.finite && !matches!(to, Kind::F16 | Kind::BF16 | Kind::TF32) {
        return None;
    }
    let rounding_code = ROUNDINGS.iter().position(|&r| Some(r) == rounding).unwrap_or(0) as u32;
    let flags = [extras.saturate, extras.relu, extras.flush, extras.finite];
    let flags = flags.iter().enumerate().fold(0, |flags, (bit, &set)| flags | u32::from(set) << bit);
    let code = to as u32 | (from as u32) << 8 | rounding_code << 16 | flags << 20 | u32::from(whole) << 24;
    let plain = flags == 0 && !whole;
    let own = if plain { common(to, from, rounding) } else { None };
    Some(Conversion { from: from.width(), code, own: own.map(|run| (run, to.width())), pair: false })
}

fn pair(element: &str, from: &str, rounding: Rounding, extras: Extras) -> Option<Conversion> {
    if from != "f32" || extras.saturate || extras.finite || !matches!(rounding, Rounding::Nearest | Rounding::Zero) {
        return None;
    }
    let format = Kind::of(element)?;
    let run: Run = match (format, extras.relu, rounding) {
        (Kind::BF16, false, Rounding::Nearest) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| binary(r, g, m, |a: f32, b: f32| {
                nearest_bf16(a) << 16 | nearest_bf16(b)
            }))
        }
        (Kind::BF16, ..) => |r, g, m| pair_of(r, g, m, Format::BF16),
        (Kind::F16, ..) => |r, g, m| pair_of(r, g, m, Format::F16),
        _ => return None,
    };
    let code = u32::from(rounding == Rounding::Zero) | u32::from(extras.relu) << 1;
    Some(Conversion { from: Width::Bits32, code, own: Some((run, Width::Bits32)), pair: true })
}

fn pair_of(r: &mut Registers, g: &Args, m: u32, format: Format) {
    let rounding = if g.immediate & 1 == 1 { Rounding::Zero } else { Rounding::Nearest };
    let relu = g.immediate & 2 == 2;
    binary(r, g, m, |a: f32, b: f32| {
        let one = |x: f32| {
            let x = if relu && x <= 0.0 { 0.0 } else { x };
            format.round(f64::from(x), rounding)
        };
        one(a) << 16 | one(b)
    });
}

/// The conversions that kernels are full of.
fn common(to: Kind, from: Kind, rounding: Option<Rounding>) -> Option<Run> {
    use Kind::{BF16, F16, F32, F64, S16, S32, S64, U8, U16, U32, U64};
    Some(match (to, from, rounding) {
        (U64 | S64, U32, None) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u32| u64::from(a)))
        }
        (U64 | S64, S32, None) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: i32| i64::from(a)))
        }
        (U32 | S32, U64 | S64, None) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u64| a as u32))
        }
        (U32 | S32, U16, None) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u16| u32::from(a)))
        }
        (U32 | S32, S16, None) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: i16| i32::from(a)))
        }
        (U16 | S16, U32 | S32, None) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u32| a as u16))
        }
        (U16 | S16, U8, None) => versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u8| u16::from(a))),
        (F32, S32, Some(Rounding::Nearest)) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: i32| a as f32))
        }
        (F32, U32, Some(Rounding::Nearest)) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u32| a as f32))
        }
        (F32, BF16, None) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u32| f32::from_bits(a << 16)))
        }
        (F32, F16, None) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, super::narrow::widen_f16))
        }
        (BF16, F32, Some(Rounding::Nearest)) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, nearest_bf16))
        }
        (F64, F32, None) => versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: f32| f64::from(a))),
        (F32, F64, Some(Rounding::Nearest)) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: f64| a as f32))
        }
        _ => return None,
    })
}

impl Conversion {
    /// What runs it, for a destination of this width and a source that is wide or not.
    pub fn run(&self, to: Width, from_wide: bool) -> Option<Run> {
        let narrow = |width| width != Width::Bits64;
        if let Some((run, width)) = self.own
            && narrow(width) == narrow(to)
            && from_wide == (self.from == Width::Bits64)
        {
            return Some(run);
        }
        if self.pair || to == Width::Predicate {
            return None;
        }
        Some(match (narrow(to), from_wide) {
            (true, false) => |r, g, m| {
                let row = each(&r.narrow[g.a as usize], |bits| convert(g.immediate, u64::from(bits)) as u32);
                put(r, g.d, row, m);
            },
            (true, true) => |r, g, m| {
                let row = each(&r.wide[g.a as usize], |bits| convert(g.immediate, bits) as u32);
                put(r, g.d, row, m);
            },
            (false, false) => |r, g, m| {
                let row = each(&r.narrow[g.a as usize], |bits| convert(g.immediate, u64::from(bits)));
                put(r, g.d, row, m);
            },
            (false, true) => |r, g, m| {
                let row = each(&r.wide[g.a as usize], |bits| convert(g.immediate, bits));
                put(r, g.d, row, m);
            },
        })
    }
}

/// One value, as the code says.
fn convert(code: u32, bits: u64) -> u64 {
    let (to, from) = (KINDS[(code & 0xff) as usize].1, KINDS[(code >> 8 & 0xff) as usize].1);
    let rounding = ROUNDINGS[(code >> 16 & 0xf) as usize];
    let flag = |bit: u32| code >> bit & 1 == 1;
    let extras = Extras { saturate: flag(20), relu: flag(21), flush: flag(22), finite: flag(23) };
    let whole = flag(24);
    let source = || {
        let value = float_value(bits, from);
        if extras.flush && from == Kind::F32 { f64::from(flush(value as f32)) } else { value }
    };
    match (to.integer(), from.integer()) {
        (Some(to), Some(from)) => integer_to_integer(integer_value(bits, from), to, extras),
        (None, Some(from)) => float_from_integer(integer_value(bits, from), to, rounding, extras),
        (Some(to), None) => integer_from_float(source(), from, to, rounding),
        (None, None) => {
            let value = if whole { to_whole(source(), rounding) } else { source() };
            float_bits(value, to, rounding, extras)
        }
    }
}

fn integer_value(bits: u64, (width, signed): (u32, bool)) -> i128 {
    let up = bits << (64 - width);
    if signed { i128::from(up as i64 >> (64 - width)) } else { i128::from(up >> (64 - width)) }
}

fn range((width, signed): (u32, bool)) -> (i128, i128) {
    if signed { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
}

/// The value in the destination's bits, its sign or zeros above: a wider register gets what the type says.
fn integer_to_integer(value: i128, to: (u32, bool), extras: Extras) -> u64 {
    let (low, high) = range(to);
    let value = if extras.saturate { value.clamp(low, high) } else { value };
    integer_value(value as u64, to) as u64
}

fn float_value(bits: u64, kind: Kind) -> f64 {
    match kind {
        Kind::F16 => widen(bits as u32 & 0xffff, Format::F16),
        Kind::BF16 => widen(bits as u32 & 0xffff, Format::BF16),
        Kind::F64 => f64::from_bits(bits),
        _ => f64::from(f32::from_bits(bits as u32)),
    }
}

fn to_whole(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::NearestAway => value.round(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// What is out of range goes to the nearer end; what is no number becomes 0, or the sign bit alone where either has 64 bits.
fn integer_from_float(value: f64, from: Kind, to: (u32, bool), rounding: Rounding) -> u64 {
    if value.is_nan() {
        return if to.0 == 64 || from == Kind::F64 { integer_value(1 << (to.0 - 1), to) as u64 } else { 0 };
    }
    let (low, high) = range(to);
    let whole = to_whole(value, rounding);
    integer_value((whole as i128).clamp(low, high) as u64, to) as u64
}

fn float_from_integer(value: i128, to: Kind, rounding: Rounding, extras: Extras) -> u64 {
    // f64 holds 53 bits: a longer integer is cut to fewer, with the last bit set for what is lost, which no rounding to at most
    // 53 bits notices.
    let magnitude = value.unsigned_abs();
    let excess =
        128u32.saturating_sub(magnitude.leading_zeros()).saturating_sub(if to == Kind::F64 { 127 } else { 52 });
    let kept = (magnitude >> excess) | u128::from(magnitude & ((1 << excess) - 1) != 0);
    let sign = if value < 0 { -1.0 } else { 1.0 };
    if to == Kind::F64 {
        return float_bits(integer_to_double(value, rounding), to, rounding, extras);
    }
    float_bits(sign * kept as f64 * 2f64.powi(excess as i32), to, rounding, extras)
}

fn integer_to_double(value: i128, rounding: Rounding) -> f64 {
    let near = value as f64;
    let error = value - near as i128;
    let down = error < 0;
    match rounding {
        Rounding::Zero if error != 0 && down == (value > 0) => {
            if value > 0 {
                near.next_down()
            } else {
                near.next_up()
            }
        }
        Rounding::Down if down => near.next_down(),
        Rounding::Up if error > 0 => near.next_up(),
        _ => near,
    }
}

fn float_bits(value: f64, to: Kind, rounding: Rounding, extras: Extras) -> u64 {
    let value = if extras.relu && value <= 0.0 { 0.0 } else { value };
    let value = if extras.saturate { saturate_wide(value) } else { value };
    let format = match to {
        Kind::F64 => return value.to_bits(),
        Kind::F16 => Format::F16,
        Kind::BF16 => Format::BF16,
        Kind::TF32 => Format::TF32,
        _ => Format::F32,
    };
    let value = if extras.finite { value.clamp(-format.largest(), format.largest()) } else { value };
    let bits = format.round(value, rounding);
    u64::from(if extras.flush && format == Format::F32 { flush(f32::from_bits(bits)).to_bits() } else { bits })
}

fn saturate_wide(value: f64) -> f64 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}
