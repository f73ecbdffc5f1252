//! Arithmetic of more words than one: with a carry in, a carry out, or both.

use super::lanes::{Args, Registers, Run, Word, put};

/// What an instruction adds to, and with what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sum {
    Add,
    Subtract,
}

/// The operation of an opcode, and how many sources it has. The carry is the predicate `e`; it is set if the immediate is not 0.
pub(crate) fn select(name: &str, part: Option<&str>, kind: &str) -> Option<(Run, usize)> {
    let wide = matches!(kind, "u64" | "s64" | "b64");
    let signed = kind.starts_with('s');
    let run: Run = match (name, part, wide) {
        ("add", None, false) => |r, g, m| sum::<u32>(r, g, m, Sum::Add, false),
        ("add", None, true) => |r, g, m| sum::<u64>(r, g, m, Sum::Add, false),
        ("addc", None, false) => |r, g, m| sum::<u32>(r, g, m, Sum::Add, true),
        ("addc", None, true) => |r, g, m| sum::<u64>(r, g, m, Sum::Add, true),
        ("sub", None, false) => |r, g, m| sum::<u32>(r, g, m, Sum::Subtract, false),
        ("sub", None, true) => |r, g, m| sum::<u64>(r, g, m, Sum::Subtract, false),
        ("subc", None, false) => |r, g, m| sum::<u32>(r, g, m, Sum::Subtract, true),
        ("subc", None, true) => |r, g, m| sum::<u64>(r, g, m, Sum::Subtract, true),
        ("mad", Some("lo"), false) => |r, g, m| product::<u32>(r, g, m, low::<u32>, false),
        ("mad", Some("lo"), true) => |r, g, m| product::<u64>(r, g, m, low::<u64>, false),
        ("madc", Some("lo"), false) => |r, g, m| product::<u32>(r, g, m, low::<u32>, true),
        ("madc", Some("lo"), true) => |r, g, m| product::<u64>(r, g, m, low::<u64>, true),
        ("mad", Some("hi"), false) if !signed => |r, g, m| product::<u32>(r, g, m, high::<u32>, false),
        ("mad", Some("hi"), true) if !signed => |r, g, m| product::<u64>(r, g, m, high::<u64>, false),
        ("madc", Some("hi"), false) if !signed => |r, g, m| product::<u32>(r, g, m, high::<u32>, true),
        ("madc", Some("hi"), true) if !signed => |r, g, m| product::<u64>(r, g, m, high::<u64>, true),
        _ => return None,
    };
    Some((run, if part.is_some() { 3 } else { 2 }))
}

/// A word that is added up with its carry.
trait Digit: Word + Into<u128> {
    fn truncate(value: u128) -> Self;
    const BITS: u32;
}

impl Digit for u32 {
    fn truncate(value: u128) -> Self {
        value as u32
    }
    const BITS: u32 = 32;
}

impl Digit for u64 {
    fn truncate(value: u128) -> Self {
        value as u64
    }
    const BITS: u32 = 64;
}

fn low<W: Digit>(a: W, b: W) -> W {
    W::truncate(a.into().wrapping_mul(b.into()))
}

fn high<W: Digit>(a: W, b: W) -> W {
    W::truncate(a.into().wrapping_mul(b.into()) >> W::BITS)
}

fn sum<W: Digit>(r: &mut Registers, g: &Args, mask: u32, how: Sum, carries: bool) {
    let (a, b) = (*W::row(r, g.a), *W::row(r, g.b));
    finish::<W>(r, g, mask, |lane, carry| {
        let carry = if carries { carry } else { 0 };
        match how {
            Sum::Add => a[lane].into() + b[lane].into() + carry,
            // The borrow is bit BITS of a difference below zero.
            Sum::Subtract => a[lane].into().wrapping_sub(b[lane].into()).wrapping_sub(carry),
        }
    });
}

fn product<W: Digit>(r: &mut Registers, g: &Args, mask: u32, f: impl Fn(W, W) -> W, carries: bool) {
    let (a, b, c) = (*W::row(r, g.a), *W::row(r, g.b), *W::row(r, g.c));
    finish::<W>(r, g, mask, |lane, carry| {
        f(a[lane], b[lane]).into() + c[lane].into() + if carries { carry } else { 0 }
    });
}

fn finish<W: Digit>(r: &mut Registers, g: &Args, mask: u32, f: impl Fn(usize, u128) -> u128) {
    let carry = r.predicates[g.e as usize];
    let mut row = [W::default(); 32];
    let mut out = 0;
    for (lane, to) in row.iter_mut().enumerate() {
        let value = f(lane, u128::from(carry >> lane & 1));
        *to = W::truncate(value);
        out |= ((value >> W::BITS) as u32 & 1) << lane;
    }
    put(r, g.d, row, mask);
    if g.immediate != 0 {
        r.predicates[g.e as usize] = (carry & !mask) | (out & mask);
    }
}
