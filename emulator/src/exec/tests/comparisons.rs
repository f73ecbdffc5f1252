//! `setp`, `set`, `testp` and predicates: every relation of every type.

use std::cmp::Ordering;

use super::operands::{check, table, word_table};
use crate::decode::Module;

/// The relations, and how the operands may stand to each other: less, equal, greater, or one of them no number.
const RELATIONS: [(&str, &str); 14] = [
    ("eq", "="),
    ("ne", "<>"),
    ("lt", "<"),
    ("le", "<="),
    ("gt", ">"),
    ("ge", ">="),
    ("equ", "=?"),
    ("neu", "<>?"),
    ("ltu", "<?"),
    ("leu", "<=?"),
    ("gtu", ">?"),
    ("geu", ">=?"),
    ("num", "<=>"),
    ("nan", "?"),
];
/// The unsigned ones of integers.
const UNSIGNED: [(&str, &str); 4] = [("lo", "<"), ("ls", "<="), ("hi", ">"), ("hs", ">=")];

fn holds(relation: &str, order: Option<Ordering>) -> bool {
    relation.contains(match order {
        Some(Ordering::Less) => '<',
        Some(Ordering::Equal) => '=',
        Some(Ordering::Greater) => '>',
        None => '?',
    })
}

/// A type: its bits, numbers of it, and how two of them compare.
struct Kind {
    name: &'static str,
    bits: u32,
    values: Vec<u64>,
    order: fn(u64, u64) -> Option<Ordering>,
}

fn integers() -> Vec<Kind> {
    let kind = |name, bits: u32, order| {
        let top = !0u64 >> (64 - bits);
        Kind { name, bits, values: vec![0, 1, 5, top / 2, top / 2 + 1, top - 4, top], order }
    };
    vec![
        kind("u16", 16, |a, b| Some(a.cmp(&b))),
        kind("s16", 16, |a, b| Some((a as i16).cmp(&(b as i16)))),
        kind("u32", 32, |a, b| Some(a.cmp(&b))),
        kind("s32", 32, |a, b| Some((a as i32).cmp(&(b as i32)))),
        kind("u64", 64, |a, b| Some(a.cmp(&b))),
        kind("s64", 64, |a, b| Some((a as i64).cmp(&(b as i64)))),
    ]
}

const NUMBERS: [f64; 8] = [0.0, -0.0, 1.0, -1.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 2.0];

fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn f16(bits: u64) -> f32 {
    half::f16::from_bits(bits as u16).to_f32()
}

fn bf16(bits: u64) -> f32 {
    half::bf16::from_bits(bits as u16).to_f32()
}

fn floats() -> Vec<Kind> {
    let kind = |name, bits, of: fn(f64) -> u64, order| {
        // The least number above zero, and the one below, besides.
        let values = NUMBERS.map(of).into_iter().chain([1, 1 | 1u64 << (bits - 1)]).collect();
        Kind { name, bits, values, order }
    };
    vec![
        kind("f32", 32, |x| u64::from((x as f32).to_bits()), |a, b| single(a).partial_cmp(&single(b))),
        kind("f64", 64, f64::to_bits, |a, b| f64::from_bits(a).partial_cmp(&f64::from_bits(b))),
        kind("f16", 16, |x| u64::from(half::f16::from_f64(x).to_bits()), |a, b| f16(a).partial_cmp(&f16(b))),
        kind("bf16", 16, |x| u64::from(half::bf16::from_f64(x).to_bits()), |a, b| bf16(a).partial_cmp(&bf16(b))),
    ]
}

impl Kind {
    /// `h`, `r` or `rd`.
    fn register(&self) -> &'static str {
        match self.bits {
            16 => "h",
            32 => "r",
            _ => "rd",
        }
    }

    /// Runs `op` on all pairs of values.
    fn pairs(&self, op: &str, expected: impl Fn(u64, u64) -> u64) {
        let pairs = self.values.iter().flat_map(|&a| self.values.iter().map(move |&b| (a, b)));
        let cases: Vec<_> = pairs.map(|(a, b)| ([a, b, 0], expected(a, b))).collect();
        table(op, self.bits, &cases, |_| false);
    }

    fn setp(&self, (relation, meaning): (&str, &str), ftz: &str, value: impl Fn(u64) -> u64) {
        let (name, bits, r) = (self.name, self.bits, self.register());
        let op = format!("setp.{relation}{ftz}.{name} %p1,%{r}10,%{r}11; selp.b{bits} %{r}20,1,0,%p1;");
        self.pairs(&op, |a, b| u64::from(holds(meaning, (self.order)(value(a), value(b)))));
    }
}

/// A subnormal f32 or f16 as the zero of its sign.
fn flushed(bits: u64, (all, exponent): (u32, u64)) -> u64 {
    if bits & exponent == 0 { bits & 1 << (all - 1) } else { bits }
}

const F32: (u32, u64) = (32, 0x7f80_0000);
const F16: (u32, u64) = (16, 0x7c00);

#[test]
fn setp_of_integers() {
    for kind in integers() {
        let relations = if kind.name.starts_with('u') {
            [&RELATIONS[..6], &UNSIGNED[..]].concat()
        } else {
            RELATIONS[..6].to_vec()
        };
        for relation in relations {
            kind.setp(relation, "", |x| x);
        }
    }
    for (index, name) in ["b16", "b32", "b64"].into_iter().enumerate() {
        let kind = Kind { name, ..integers().swap_remove(2 * index) };
        kind.setp(RELATIONS[0], "", |x| x);
        kind.setp(RELATIONS[1], "", |x| x);
    }
}

#[test]
fn setp_of_floats() {
    for kind in floats() {
        for relation in RELATIONS {
            kind.setp(relation, "", |x| x);
            match kind.name {
                "f32" => kind.setp(relation, ".ftz", |x| flushed(x, F32)),
                "f16" => kind.setp(relation, ".ftz", |x| flushed(x, F16)),
                _ => {}
            }
        }
    }
}

#[test]
fn setp_of_pairs() {
    for (index, kind) in floats().into_iter().enumerate().skip(2) {
        for (relation, meaning) in RELATIONS {
            // The first predicate is the low half's, the second the high half's: here the same two numbers the other way round.
            let name = kind.name;
            let compare = |ftz: &str, value: &dyn Fn(u64) -> u64| {
                let op = format!(
                    "mov.b32 %r10,{{%h10,%h11}}; mov.b32 %r11,{{%h11,%h10}}; setp.{relation}{ftz}.{name}x2 %p1|%p2,%r10,%r11; \
                     selp.b16 %h1,1,0,%p1; selp.b16 %h2,2,0,%p2; or.b16 %h20,%h1,%h2;"
                );
                let one = |a, b| u64::from(holds(meaning, (kind.order)(value(a), value(b))));
                kind.pairs(&op, |a, b| one(a, b) | one(b, a) << 1);
            };
            compare("", &|x| x);
            if index == 2 {
                compare(".ftz", &|x| flushed(x, F16));
            }
        }
    }
}

#[test]
fn setp_with_another_predicate() {
    // %p4 is c ≠ 0; the second destination has the opposite of the comparison, combined in the same way.
    let run = |how: &str, not: &str, f: fn(bool, bool) -> bool| {
        let op = format!(
            "setp.ne.u32 %p4,%r12,0; setp.lt.{how}.s32 %p1|%p2,%r10,%r11,{not}%p4; selp.u32 %r1,1,0,%p1; selp.u32 %r2,2,0,%p2; \
             or.b32 %r20,%r1,%r2;"
        );
        let cases = [[1, 2, 0], [1, 2, 9], [2, 1, 0], [2, 1, 9], [!0, 0, 0], [0, !0, 1]].map(|[a, b, c]: [u32; 3]| {
            let (less, with) = ((a as i32) < b as i32, (c != 0) ^ (not == "!"));
            ([a, b, c], u32::from(f(less, with)) | u32::from(f(!less, with)) << 1)
        });
        word_table(&op, &cases);
    };
    for not in ["", "!"] {
        run("and", not, |a, b| a && b);
        run("or", not, |a, b| a || b);
        run("xor", not, |a, b| a != b);
    }
    check("setp.eq.u32 %p1|%p2,%r10,%r11; selp.u32 %r20,1,0,%p2;", |a, b, _| u32::from(a != b));
    check("setp.ne.u32 %p1|_,%r10,%r10; selp.u32 %r20,1,0,%p1;", |_, _, _| 0);
}

#[test]
fn set_gives_numbers() {
    let all = |bits: u32| !0u64 >> (64 - bits);
    let mut kinds = integers();
    let (unsigned, signed) = (kinds.remove(2), kinds.remove(2));
    let set = |kind: &Kind,
               opcode: &str,
               (relation, meaning): (&str, &str),
               ftz: &str,
               one: u64,
               value: &dyn Fn(u64) -> u64| {
        let r = kind.register();
        let op = format!("set.{relation}{ftz}.{opcode} %{r}20,%{r}10,%{r}11;");
        kind.pairs(&op, |a, b| if holds(meaning, (kind.order)(value(a), value(b))) { one } else { 0 });
    };
    for relation in [&RELATIONS[..6], &UNSIGNED[..]].concat() {
        set(&unsigned, "u32.u32", relation, "", all(32), &|x| x);
        set(&unsigned, "s32.u32", relation, "", all(32), &|x| x);
    }
    for relation in &RELATIONS[..6] {
        set(&signed, "u32.s32", *relation, "", all(32), &|x| x);
        set(&signed, "s32.s32", *relation, "", all(32), &|x| x);
    }
    set(&unsigned, "u32.b32", RELATIONS[0], "", all(32), &|x| x);
    let floats = floats();
    let [f32s, _, f16s, bf16s] = floats.as_slice() else { unreachable!() };
    let one = u64::from(1f32.to_bits());
    for relation in RELATIONS {
        set(f32s, "u32.f32", relation, "", all(32), &|x| x);
        set(f32s, "s32.f32", relation, ".ftz", all(32), &|x| flushed(x, F32));
        set(f32s, "f32.f32", relation, "", one, &|x| x);
        set(f32s, "f32.f32", relation, ".ftz", one, &|x| flushed(x, F32));
        set(f16s, "f16.f16", relation, "", 0x3c00, &|x| x);
        set(bf16s, "bf16.bf16", relation, "", 0x3f80, &|x| x);
        for (kind, to, one, ftz) in [
            (f16s, "f16x2", 0x3c00, ""),
            (f16s, "f16x2", 0x3c00, ".ftz"),
            (f16s, "u32", 0xffff, ""),
            (f16s, "s32", 0xffff, ".ftz"),
            (bf16s, "bf16x2", 0x3f80, ""),
            (bf16s, "u32", 0xffff, ""),
        ] {
            let (name, value) = (kind.name, |x: u64| if ftz.is_empty() { x } else { flushed(x, F16) });
            let outcome = |a, b| if holds(relation.1, (kind.order)(value(a), value(b))) { one } else { 0 };
            for (half, swapped) in [("{%h20,_}", false), ("{_,%h20}", true)] {
                let op = format!(
                    "mov.b32 %r10,{{%h10,%h11}}; mov.b32 %r11,{{%h11,%h10}}; set.{}{ftz}.{to}.{name}x2 %r20,%r10,%r11; mov.b32 {half},%r20;",
                    relation.0
                );
                kind.pairs(&op, |a, b| if swapped { outcome(b, a) } else { outcome(a, b) });
            }
        }
    }
}

#[test]
fn testp_tells_numbers_apart() {
    // Of the number, and whether it is subnormal.
    type Expected = fn(f64, bool) -> bool;
    let tests: [(&str, Expected); 6] = [
        ("finite", |x, _| x.abs() < f64::INFINITY),
        ("infinite", |x, _| x.abs() == f64::INFINITY),
        ("number", |x, _| !x.is_nan()),
        ("notanumber", |x, _| x.is_nan()),
        // Zero counts as normal.
        ("normal", |x, tiny| x.abs() < f64::INFINITY && !tiny),
        ("subnormal", |_, tiny| tiny),
    ];
    let floats = floats();
    for (what, expected) in tests {
        floats[0].pairs(&format!("testp.{what}.f32 %p1,%r10; selp.b32 %r20,1,0,%p1;"), |a, _| {
            let x = single(a);
            u64::from(expected(f64::from(x), x != 0.0 && x.abs() < f32::MIN_POSITIVE))
        });
        floats[1].pairs(&format!("testp.{what}.f64 %p1,%rd10; selp.b64 %rd20,1,0,%p1;"), |a, _| {
            let x = f64::from_bits(a);
            u64::from(expected(x, x != 0.0 && x.abs() < f64::MIN_POSITIVE))
        });
    }
}

#[test]
fn logic_of_predicates() {
    const SET: &str = "setp.ne.u32 %p1,%r10,0; setp.ne.u32 %p2,%r11,0;";
    const GET: &str = "selp.u32 %r20,1,0,%p3;";
    let run = |op: &str, f: fn(bool, bool) -> bool| {
        let cases =
            [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]].map(|[a, b, c]| ([a, b, c], u32::from(f(a != 0, b != 0))));
        word_table(&format!("{SET} {op} {GET}"), &cases);
    };
    run("and.pred %p3,%p1,%p2;", |a, b| a && b);
    run("or.pred %p3,%p1,%p2;", |a, b| a || b);
    run("xor.pred %p3,%p1,%p2;", |a, b| a != b);
    run("not.pred %p3,%p1;", |a, _| !a);
    run("and.pred %p3,!%p1,%p2;", |a, b| !a && b);
    run("or.pred %p3,%p1,!%p2;", |a, b| a || !b);
    run("mov.pred %p3,%p1;", |a, _| a);
    run("mov.pred %p3,!%p1;", |a, _| !a);
    run("mov.pred %p3,1; @%p1 mov.pred %p3,0;", |a, _| !a);
    run("mov.pred %p3,0; @!%p1 mov.pred %p3,%p2;", |a, b| !a && b);
    check("setp.lt.u32 %p1,%r10,%r11; selp.b32 %r20,%r10,%r11,!%p1;", |a, b, _| if a < b { b } else { a });
    check(
        "setp.lt.u32 %p1,%r10,%r11; mov.b64 %rd1,{%r10,%r12}; selp.b64 %rd2,%rd1,7,%p1; mov.b64 {%r1,%r20},%rd2;",
        |a, b, c| {
            if a < b { c } else { 0 }
        },
    );
}

#[test]
fn comparisons_that_there_are_not() {
    for op in [
        "set.almost.u32.u32 %r1,%r2,%r3;",
        "set.lt.and.u32.u32 %r1,%r2,%r3,%p1;",
        "setp.almost.u32 %p1,%r2,%r3;",
        "setp.lt.sat.f32 %p1,%f2,%f3;",
        "setp.lt.f16x2 %p1,%r2,%r3;",
        "testp.odd.f32 %p1,%f2;",
    ] {
        assert!(Module::parse(&super::harness::kernel(op)).is_err(), "{op}");
    }
}
