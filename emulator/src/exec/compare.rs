//! Comparisons.

use super::float::flush;
use super::lanes::{Args, Registers, Run, compare, comparison, put, row};
use super::narrow::{Format, widen};

/// The relations, in the order of their codes.
const RELATIONS: [(&str, Relation); 14] = [
    ("eq", Relation::Eq),
    ("ne", Relation::Ne),
    ("lt", Relation::Lt),
    ("le", Relation::Le),
    ("gt", Relation::Gt),
    ("ge", Relation::Ge),
    ("equ", Relation::Equ),
    ("neu", Relation::Neu),
    ("ltu", Relation::Ltu),
    ("leu", Relation::Leu),
    ("gtu", Relation::Gtu),
    ("geu", Relation::Geu),
    ("num", Relation::Num),
    ("nan", Relation::Nan),
];

/// How two numbers stand to each other; those that end in u hold as well where one is none.
#[derive(Clone, Copy)]
enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

impl Relation {
    fn of(args: &Args) -> Self {
        RELATIONS[args.immediate as usize].1
    }

    fn holds<T: PartialOrd>(self, a: T, b: T) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = a.partial_cmp(&b);
        match self {
            Relation::Eq => order == Some(Equal),
            Relation::Ne => matches!(order, Some(Less | Greater)),
            Relation::Lt => order == Some(Less),
            Relation::Le => matches!(order, Some(Less | Equal)),
            Relation::Gt => order == Some(Greater),
            Relation::Ge => matches!(order, Some(Greater | Equal)),
            Relation::Equ => matches!(order, None | Some(Equal)),
            Relation::Neu => order != Some(Equal),
            Relation::Ltu => matches!(order, None | Some(Less)),
            Relation::Leu => order != Some(Greater),
            Relation::Gtu => matches!(order, None | Some(Greater)),
            Relation::Geu => order != Some(Less),
            Relation::Num => order.is_some(),
            Relation::Nan => order.is_none(),
        }
    }
}

/// The code of a relation: what the immediate of a comparison must be.
pub(crate) fn code(relation: &str) -> u32 {
    // Of integers, the unsigned relations have names of their own.
    let plain = match relation {
        "lo" => "lt",
        "ls" => "le",
        "hi" => "gt",
        "hs" => "ge",
        other => other,
    };
    RELATIONS.iter().position(|&(name, _)| name == plain).unwrap_or(0) as u32
}

fn is_unsigned(relation: &str) -> bool {
    matches!(relation, "lo" | "ls" | "hi" | "hs")
}

fn is_known(relation: &str) -> bool {
    is_unsigned(relation) || RELATIONS.iter().any(|&(name, _)| name == relation)
}

/// A comparison that sets the predicate `d`; of pairs, `d` for the low half and `e` for the high one.
pub(crate) fn select(relation: &str, kind: &str, ftz: bool) -> Option<Run> {
    if !is_known(relation) {
        return None;
    }
    let unsigned = is_unsigned(relation);
    match (kind, unsigned) {
        ("u32" | "b32", _) | ("s32", true) => words(relation),
        ("s32", false) => signed_words(relation),
        ("u64" | "b64", _) | ("s64", true) => long_words(relation),
        ("s64", false) => signed_long_words(relation),
        ("f32", false) if !ftz => floats(relation),
        _ => told(kind, unsigned, ftz),
    }
}

macro_rules! relations {
    ($relation:expr, $kind:ty) => {
        Some(match $relation {
            "eq" => comparison!($kind, |a, b| a == b),
            "ne" => comparison!($kind, |a, b| a != b),
            "lt" | "lo" => comparison!($kind, |a, b| a < b),
            "le" | "ls" => comparison!($kind, |a, b| a <= b),
            "gt" | "hi" => comparison!($kind, |a, b| a > b),
            "ge" | "hs" => comparison!($kind, |a, b| a >= b),
            _ => return None,
        })
    };
}

fn words(relation: &str) -> Option<Run> {
    relations!(relation, u32)
}

fn signed_words(relation: &str) -> Option<Run> {
    relations!(relation, i32)
}

fn long_words(relation: &str) -> Option<Run> {
    relations!(relation, u64)
}

fn signed_long_words(relation: &str) -> Option<Run> {
    relations!(relation, i64)
}

#[allow(
    clippy::neg_cmp_op_on_partial_ord,
    clippy::double_comparisons,
    reason = "that is what the relations with u mean"
)]
fn floats(relation: &str) -> Option<Run> {
    Some(match relation {
        "eq" => comparison!(f32, |a, b| a == b),
        "ne" => comparison!(f32, |a, b| a < b || a > b),
        "lt" => comparison!(f32, |a, b| a < b),
        "le" => comparison!(f32, |a, b| a <= b),
        "gt" => comparison!(f32, |a, b| a > b),
        "ge" => comparison!(f32, |a, b| a >= b),
        "neu" => comparison!(f32, |a, b| a != b),
        "ltu" => comparison!(f32, |a, b| !(a >= b)),
        "leu" => comparison!(f32, |a, b| !(a > b)),
        "gtu" => comparison!(f32, |a, b| !(a <= b)),
        "geu" => comparison!(f32, |a, b| !(a < b)),
        "equ" => comparison!(f32, |a, b| !(a < b || a > b)),
        "num" => comparison!(f32, |a, b| !a.is_nan() && !b.is_nan()),
        "nan" => comparison!(f32, |a, b| a.is_nan() || b.is_nan()),
        _ => return None,
    })
}

/// Comparisons whose relation is told by the immediate.
fn told(kind: &str, unsigned: bool, ftz: bool) -> Option<Run> {
    Some(match kind {
        "u16" | "b16" => |r, g, m| tell(r, g, m, |bits: u32| bits as u16),
        "s16" if unsigned => |r, g, m| tell(r, g, m, |bits: u32| bits as u16),
        "s16" => |r, g, m| tell(r, g, m, |bits: u32| bits as i16),
        "f32" => |r, g, m| tell(r, g, m, flushed),
        "f64" => |r, g, m| tell(r, g, m, |bits: u64| f64::from_bits(bits)),
        "f16" if ftz => |r, g, m| tell(r, g, m, flushed_f16),
        "f16x2" if ftz => |r, g, m| tell_pair(r, g, m, flushed_f16),
        "f16" => |r, g, m| tell(r, g, m, f16),
        "bf16" => |r, g, m| tell(r, g, m, bf16),
        "f16x2" => |r, g, m| tell_pair(r, g, m, f16),
        "bf16x2" => |r, g, m| tell_pair(r, g, m, bf16),
        _ => return None,
    })
}

fn tell<W: super::lanes::Lane, T: PartialOrd>(r: &mut Registers, g: &Args, m: u32, value: impl Fn(W) -> T) {
    let relation = Relation::of(g);
    compare(r, g, m, |a: W, b: W| relation.holds(value(a), value(b)));
}

fn tell_pair(r: &mut Registers, g: &Args, m: u32, value: impl Fn(u32) -> f64 + Copy) {
    tell(r, &Args { d: g.e, ..*g }, m, |bits: u32| value(bits >> 16));
    tell(r, g, m, value);
}

fn f16(bits: u32) -> f64 {
    widen(bits & 0xffff, Format::F16)
}

fn flushed_f16(bits: u32) -> f64 {
    let x = f16(bits);
    if x.abs() < Format::F16.smallest_normal() { 0.0 } else { x }
}

fn flushed(bits: u32) -> f32 {
    flush(f32::from_bits(bits))
}

fn bf16(bits: u32) -> f64 {
    widen(bits & 0xffff, Format::BF16)
}

/// `set`: the outcome as a number, 1 or all ones. The relation is told by the immediate.
pub(crate) fn select_set(relation: &str, (to, kind): (&str, &str), ftz: bool) -> Option<Run> {
    if !is_known(relation) {
        return None;
    }
    Some(match (to, kind) {
        ("u32" | "s32", "f32") if ftz => |r, g, m| set(r, g, m, |a, b, how| word(how.holds(flushed(a), flushed(b)))),
        ("f32", "f32") if ftz => |r, g, m| set(r, g, m, |a, b, how| one_f32(how.holds(flushed(a), flushed(b)))),
        ("f16x2", "f16x2") if ftz => |r, g, m| set_pair(r, g, m, (flushed_f16, 0x3c00)),
        ("u32" | "s32" | "b32", "f16x2") if ftz => |r, g, m| set_pair(r, g, m, (flushed_f16, 0xffff)),
        _ if ftz => return None,
        ("u32" | "s32", "s32") => |r, g, m| set(r, g, m, |a, b, how| word(how.holds(a as i32, b as i32))),
        ("u32" | "s32", "u32" | "b32") => |r, g, m| set(r, g, m, |a, b, how| word(how.holds(a, b))),
        ("u32" | "s32", "f32") => {
            |r, g, m| set(r, g, m, |a, b, how| word(how.holds(f32::from_bits(a), f32::from_bits(b))))
        }
        ("f32", "f32") => |r, g, m| set(r, g, m, |a, b, how| one_f32(how.holds(f32::from_bits(a), f32::from_bits(b)))),
        ("f16", "f16") => |r, g, m| set(r, g, m, |a, b, how| if how.holds(f16(a), f16(b)) { 0x3c00 } else { 0 }),
        ("bf16", "bf16") => |r, g, m| set(r, g, m, |a, b, how| if how.holds(bf16(a), bf16(b)) { 0x3f80 } else { 0 }),
        ("f16x2", "f16x2") => |r, g, m| set_pair(r, g, m, (f16, 0x3c00)),
        ("bf16x2", "bf16x2") => |r, g, m| set_pair(r, g, m, (bf16, 0x3f80)),
        ("u32" | "s32" | "b32", "f16x2") => |r, g, m| set_pair(r, g, m, (f16, 0xffff)),
        ("u32" | "s32" | "b32", "bf16x2") => |r, g, m| set_pair(r, g, m, (bf16, 0xffff)),
        _ => return None,
    })
}

fn one_f32(holds: bool) -> u32 {
    if holds { 1f32.to_bits() } else { 0 }
}

fn word(holds: bool) -> u32 {
    if holds { !0 } else { 0 }
}

fn set(r: &mut Registers, g: &Args, m: u32, f: impl Fn(u32, u32, Relation) -> u32) {
    let relation = Relation::of(g);
    let (a, b) = (&r.narrow[g.a as usize], &r.narrow[g.b as usize]);
    let row = row(|lane| f(a[lane], b[lane], relation));
    put(r, g.d, row, m);
}

fn set_pair(r: &mut Registers, g: &Args, m: u32, (value, one): (fn(u32) -> f64, u32)) {
    set(r, g, m, |a, b, how| {
        let half = |shift: u32| if how.holds(value(a >> shift), value(b >> shift)) { one << shift } else { 0 };
        half(0) | half(16)
    });
}

/// `testp`. Zero is normal.
pub(crate) fn select_test(what: &str, kind: &str) -> Option<Run> {
    Some(match (what, kind) {
        ("finite", "f32") => |r, g, m| compare(r, g, m, |a: f32, _| a.is_finite()),
        ("infinite", "f32") => |r, g, m| compare(r, g, m, |a: f32, _| a.is_infinite()),
        ("number", "f32") => |r, g, m| compare(r, g, m, |a: f32, _| !a.is_nan()),
        ("notanumber", "f32") => |r, g, m| compare(r, g, m, |a: f32, _| a.is_nan()),
        ("normal", "f32") => |r, g, m| compare(r, g, m, |a: f32, _| a.is_normal() || a == 0.0),
        ("subnormal", "f32") => |r, g, m| compare(r, g, m, |a: f32, _| a.is_subnormal()),
        ("finite", "f64") => |r, g, m| compare(r, g, m, |a: f64, _| a.is_finite()),
        ("infinite", "f64") => |r, g, m| compare(r, g, m, |a: f64, _| a.is_infinite()),
        ("number", "f64") => |r, g, m| compare(r, g, m, |a: f64, _| !a.is_nan()),
        ("notanumber", "f64") => |r, g, m| compare(r, g, m, |a: f64, _| a.is_nan()),
        ("normal", "f64") => |r, g, m| compare(r, g, m, |a: f64, _| a.is_normal() || a == 0.0),
        ("subnormal", "f64") => |r, g, m| compare(r, g, m, |a: f64, _| a.is_subnormal()),
        _ => return None,
    })
}
