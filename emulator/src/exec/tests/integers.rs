//! Integer instructions of every type, against formulas of their own.

use super::operands::{check, check_bits, check_short, check_wide, word_table};

#[test]
fn sums_and_differences() {
    check_short("add.u16 %h20,%h10,%h11;", |a, b, _| a.wrapping_add(b));
    check_short("add.s16 %h20,%h10,%h11;", |a, b, _| a.wrapping_add(b));
    check_short("sub.u16 %h20,%h10,%h11;", |a, b, _| a.wrapping_sub(b));
    check_short("sub.s16 %h20,%h10,%h11;", |a, b, _| a.wrapping_sub(b));
    check("add.u32 %r20,%r10,%r11;", |a, b, _| a.wrapping_add(b));
    check("sub.s32 %r20,%r10,%r11;", |a, b, _| a.wrapping_sub(b));
    check_wide("add.u64 %rd20,%rd10,%rd11;", |a, b, _| a.wrapping_add(b));
    check_wide("sub.u64 %rd20,%rd10,%rd11;", |a, b, _| a.wrapping_sub(b));
    check_wide("sub.s64 %rd20,%rd10,%rd11;", |a, b, _| a.wrapping_sub(b));
    let pair = |a: u32, b: u32| (a & 0xffff).wrapping_add(b & 0xffff) & 0xffff | (a >> 16).wrapping_add(b >> 16) << 16;
    check("add.u16x2 %r20,%r10,%r11;", |a, b, _| pair(a, b));
    check("add.s16x2 %r20,%r10,%r11;", |a, b, _| pair(a, b));
    const MOST: u32 = i32::MAX as u32;
    const LEAST: u32 = i32::MIN as u32;
    word_table(
        "add.sat.s32 %r20,%r10,%r11;",
        &[([MOST, 1, 0], MOST), ([LEAST, !0, 0], LEAST), ([!0, 1, 0], 0), ([MOST, LEAST, 0], !0)],
    );
    word_table(
        "sub.sat.s32 %r20,%r10,%r11;",
        &[([MOST, !0, 0], MOST), ([LEAST, 1, 0], LEAST), ([0, LEAST, 0], MOST), ([5, 7, 0], 2u32.wrapping_neg())],
    );
}

#[test]
fn products() {
    check_short("mul.lo.u16 %h20,%h10,%h11;", |a, b, _| a.wrapping_mul(b));
    check_short("mul.lo.s16 %h20,%h10,%h11;", |a, b, _| a.wrapping_mul(b));
    check_short("mul.hi.u16 %h20,%h10,%h11;", |a, b, _| ((a as u64 * b as u64) >> 16) as u16);
    check_short("mul.hi.s16 %h20,%h10,%h11;", |a, b, _| ((a as i16 as i64 * b as i16 as i64) >> 16) as u16);
    check_bits("mul.wide.u16 %r20,%h10,%h11;", (16, 32), |a, b, _| a * b);
    check_bits("mul.wide.s16 %r20,%h10,%h11;", (16, 32), |a, b, _| (a as i16 as i64 * b as i16 as i64) as u64);
    check_bits("mul.wide.u32 %rd20,%r10,%r11;", (32, 64), |a, b, _| a * b);
    check_bits("mul.wide.s32 %rd20,%r10,%r11;", (32, 64), |a, b, _| (a as i32 as i64 * b as i32 as i64) as u64);
    check("mul.lo.u32 %r20,%r10,%r11;", |a, b, _| (a as u64 * b as u64) as u32);
    check_wide("mul.lo.u64 %rd20,%rd10,%rd11;", |a, b, _| (a as u128 * b as u128) as u64);
    check_wide("mul.lo.s64 %rd20,%rd10,%rd11;", |a, b, _| (a as u128 * b as u128) as u64);
    check_wide("mul.hi.s64 %rd20,%rd10,%rd11;", |a, b, _| ((a as i64 as i128 * b as i64 as i128) >> 64) as u64);
    check_short("mad.lo.u16 %h20,%h10,%h11,%h12;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check_short("mad.lo.s16 %h20,%h10,%h11,%h12;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check("mad.lo.u32 %r20,%r10,%r11,%r12;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check_wide("mad.lo.u64 %rd20,%rd10,%rd11,%rd12;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    let high = |a: u32, b: u32, c: u32| ((a as u64 * b as u64) >> 32) as u32 as u64 + c as u64;
    check("mad.hi.u32 %r20,%r10,%r11,%r12;", |a, b, c| high(a, b, c) as u32);
    check("mad.hi.s32 %r20,%r10,%r11,%r12;", |a, b, c| {
        ((a as i32 as i64 * b as i32 as i64) >> 32).wrapping_add(c as i32 as i64) as u32
    });
    check_wide("mad.hi.u64 %rd20,%rd10,%rd11,%rd12;", |a, b, c| {
        ((a as u128 * b as u128) >> 64).wrapping_add(c as u128) as u64
    });
    check_wide("mad.hi.s64 %rd20,%rd10,%rd11,%rd12;", |a, b, c| {
        ((a as i64 as i128 * b as i64 as i128) >> 64).wrapping_add(c as i64 as i128) as u64
    });
    // The addend is of the result's width: any register of 32 or 64 bits will do.
    check_bits("mov.u32 %r1,0x80000001; mad.wide.u16 %r20,%h10,%h11,%r1;", (16, 32), |a, b, _| a * b + 0x8000_0001);
    check_bits("mov.u32 %r1,-5; mad.wide.s16 %r20,%h10,%h11,%r1;", (16, 32), |a, b, _| {
        (a as i16 as i64 * b as i16 as i64 - 5) as u64
    });
    check_bits("mov.u64 %rd1,-5; mad.wide.u32 %rd20,%r10,%r11,%rd1;", (32, 64), |a, b, _| (a * b).wrapping_sub(5));
    check_bits("mov.u64 %rd1,-5; mad.wide.s32 %rd20,%r10,%r11,%rd1;", (32, 64), |a, b, _| {
        (a as i32 as i64 * b as i32 as i64 - 5) as u64
    });
    check("mul24.lo.u32 %r20,%r10,%r11;", |a, b, _| ((a & 0xff_ffff) as u64 * (b & 0xff_ffff) as u64) as u32);
    // -1 · 0x800000, which is -2²³ of 24 bits; the upper bytes count for nothing.
    word_table(
        "mul24.lo.s32 %r20,%r10,%r11;",
        &[([0x12ff_ffff, 0x3480_0000, 0], 0x80_0000), ([0x7f_ffff, 0x7f_ffff, 0], 0xff00_0001), ([3, 5, 0], 15)],
    );
}

#[test]
fn quotients() {
    check_short("div.u16 %h20,%h10,%h11;", |a, b, _| a.checked_div(b).unwrap_or(!0));
    check_short("rem.u16 %h20,%h10,%h11;", |a, b, _| a.checked_rem(b).unwrap_or(a));
    check_wide("div.u64 %rd20,%rd10,%rd11;", |a, b, _| a.checked_div(b).unwrap_or(!0));
    check_wide("rem.u64 %rd20,%rd10,%rd11;", |a, b, _| a.checked_rem(b).unwrap_or(a));
    // Divisors that are never zero; quotients go towards zero, and remainders have the dividend's sign.
    let odd = "or.b16 %h1,%h11,1;";
    check_short(&format!("{odd} div.s16 %h20,%h10,%h1;"), |a, b, _| (a as i16 as i32 / (b | 1) as i16 as i32) as u16);
    check_short(&format!("{odd} rem.s16 %h20,%h10,%h1;"), |a, b, _| (a as i16 as i32 % (b | 1) as i16 as i32) as u16);
    let odd = "or.b32 %r1,%r11,1;";
    check(&format!("{odd} rem.s32 %r20,%r10,%r1;"), |a, b, _| (a as i32 as i64 % (b | 1) as i32 as i64) as u32);
    let odd = "or.b64 %rd1,%rd11,1;";
    check_wide(&format!("{odd} rem.s64 %rd20,%rd10,%rd1;"), |a, b, _| {
        (a as i64 as i128 % (b | 1) as i64 as i128) as u64
    });
    word_table("div.s32 %r20,%r10,%r11;", &[([1 << 31, !0, 0], 1 << 31), ([7, !0, 0], 7u32.wrapping_neg())]);
    word_table("rem.s32 %r20,%r10,%r11;", &[([1 << 31, !0, 0], 0), ([7u32.wrapping_neg(), 3, 0], !0)]);
}

#[test]
fn signs_and_extremes() {
    check_short("neg.s16 %h20,%h10;", |a, _, _| 0u16.wrapping_sub(a));
    check("neg.s32 %r20,%r10;", |a, _, _| 0u32.wrapping_sub(a));
    check_wide("neg.s64 %rd20,%rd10;", |a, _, _| 0u64.wrapping_sub(a));
    check_short("abs.s16 %h20,%h10;", |a, _, _| if a >> 15 == 1 { 0u16.wrapping_sub(a) } else { a });
    check_wide("abs.s64 %rd20,%rd10;", |a, _, _| if a >> 63 == 1 { 0u64.wrapping_sub(a) } else { a });
    check_short("min.u16 %h20,%h10,%h11;", |a, b, _| if a < b { a } else { b });
    check_short("max.u16 %h20,%h10,%h11;", |a, b, _| if a < b { b } else { a });
    check_short("min.s16 %h20,%h10,%h11;", |a, b, _| if (a as i16) < b as i16 { a } else { b });
    check_short("max.s16 %h20,%h10,%h11;", |a, b, _| if (a as i16) < b as i16 { b } else { a });
    check("min.u32 %r20,%r10,%r11;", |a, b, _| if a < b { a } else { b });
    check("max.s32 %r20,%r10,%r11;", |a, b, _| if (a as i32) < b as i32 { b } else { a });
    check_wide("min.u64 %rd20,%rd10,%rd11;", |a, b, _| if a < b { a } else { b });
    check_wide("max.u64 %rd20,%rd10,%rd11;", |a, b, _| if a < b { b } else { a });
    check_wide("max.s64 %rd20,%rd10,%rd11;", |a, b, _| if (a as i64) < b as i64 { b } else { a });
    let halves = |a: u32, b: u32, first: fn(u16, u16) -> bool| {
        let one = |s: u32| {
            let (a, b) = ((a >> s) as u16, (b >> s) as u16);
            u32::from(if first(a, b) { a } else { b }) << s
        };
        one(0) | one(16)
    };
    check("min.u16x2 %r20,%r10,%r11;", |a, b, _| halves(a, b, |a, b| a < b));
    check("max.u16x2 %r20,%r10,%r11;", |a, b, _| halves(a, b, |a, b| a > b));
    check("min.s16x2 %r20,%r10,%r11;", |a, b, _| halves(a, b, |a, b| (a as i16) < b as i16));
    check("max.s16x2 %r20,%r10,%r11;", |a, b, _| halves(a, b, |a, b| (a as i16) > b as i16));
    check("sad.s32 %r20,%r10,%r11,%r12;", |a, b, c| {
        ((a as i32 as i64 - b as i32 as i64).unsigned_abs() as u32).wrapping_add(c)
    });
}

#[test]
fn logic_of_every_width() {
    check_short("and.b16 %h20,%h10,%h11;", |a, b, _| a & b);
    check_short("or.b16 %h20,%h10,%h11;", |a, b, _| a | b);
    check_short("xor.b16 %h20,%h10,%h11;", |a, b, _| a ^ b);
    check_short("not.b16 %h20,%h10;", |a, _, _| !a);
    check("not.b32 %r20,%r10;", |a, _, _| !a);
    check_wide("and.b64 %rd20,%rd10,%rd11;", |a, b, _| a & b);
    check_wide("or.b64 %rd20,%rd10,%rd11;", |a, b, _| a | b);
    check_wide("xor.b64 %rd20,%rd10,%rd11;", |a, b, _| a ^ b);
    check_wide("not.b64 %rd20,%rd10;", |a, _, _| !a);
    check_short("cnot.b16 %h20,%h10;", |a, _, _| u16::from(a == 0));
    check("cnot.b32 %r20,%r10;", |a, _, _| u32::from(a == 0));
    check_wide("cnot.b64 %rd20,%rd10;", |a, _, _| u64::from(a == 0));
    // Shifts by the width and more leave nothing, or the sign.
    for n in [0u32, 1, 15, 16, 31, 32, 63, 64, !0] {
        let set = format!("mov.u32 %r1,{n};");
        let (left, right) = (|a: u64| a.checked_shl(n).unwrap_or(0), |a: u64| a.checked_shr(n).unwrap_or(0));
        check_bits(&format!("{set} shl.b16 %h20,%h10,%r1;"), (16, 16), |a, _, _| left(a));
        check_bits(&format!("{set} shl.b64 %rd20,%rd10,%r1;"), (64, 64), |a, _, _| left(a));
        check_bits(&format!("{set} shr.b16 %h20,%h10,%r1;"), (16, 16), |a, _, _| right(a));
        check_bits(&format!("{set} shr.u16 %h20,%h10,%r1;"), (16, 16), |a, _, _| right(a));
        check_bits(&format!("{set} shr.b32 %r20,%r10,%r1;"), (32, 32), |a, _, _| right(a));
        check_bits(&format!("{set} shr.b64 %rd20,%rd10,%r1;"), (64, 64), |a, _, _| right(a));
        check_bits(&format!("{set} shr.u64 %rd20,%rd10,%r1;"), (64, 64), |a, _, _| right(a));
        let signed = |a: i64| (a >> n.min(63)) as u64;
        check_bits(&format!("{set} shr.s16 %h20,%h10,%r1;"), (16, 16), |a, _, _| signed(i64::from(a as i16)));
        check_bits(&format!("{set} shr.s64 %rd20,%rd10,%r1;"), (64, 64), |a, _, _| signed(a as i64));
        let joined = |a: u64, b: u64| b << 32 | a;
        let (clamped, wrapped) = (n.min(32), n & 31);
        check_bits(&format!("{set} shf.l.clamp.b32 %r20,%r10,%r11,%r1;"), (32, 32), |a, b, _| {
            ((u128::from(joined(a, b)) << clamped) >> 32) as u64
        });
        check_bits(&format!("{set} shf.l.wrap.b32 %r20,%r10,%r11,%r1;"), (32, 32), |a, b, _| {
            ((u128::from(joined(a, b)) << wrapped) >> 32) as u64
        });
        check_bits(&format!("{set} shf.r.clamp.b32 %r20,%r10,%r11,%r1;"), (32, 32), |a, b, _| joined(a, b) >> clamped);
    }
}

#[test]
fn bits_are_counted_and_found() {
    let count = |a: u64| (0..64).filter(|i| a >> i & 1 == 1).count() as u64;
    let highest = |a: u64| (0..64).rev().find(|i| a >> i & 1 == 1);
    check_bits("popc.b64 %r20,%rd10;", (64, 32), |a, _, _| count(a));
    check_bits("clz.b64 %r20,%rd10;", (64, 32), |a, _, _| highest(a).map_or(64, |i| 63 - i));
    check_wide("brev.b64 %rd20,%rd10;", |a, _, _| (0..64).fold(0, |all, i| all << 1 | a >> i & 1));
    let find = |a: u64| highest(a).unwrap_or(!0);
    let amount = |a: u64, top: u64| highest(a).map_or(!0, |i| top - i);
    let short = |a: u64| (a as i32 ^ (a as i32) >> 31) as u32 as u64;
    let long = |a: u64| (a as i64 ^ (a as i64) >> 63) as u64;
    check_bits("bfind.s32 %r20,%r10;", (32, 32), |a, _, _| find(short(a)));
    check_bits("bfind.u64 %r20,%rd10;", (64, 32), |a, _, _| find(a));
    check_bits("bfind.s64 %r20,%rd10;", (64, 32), |a, _, _| find(long(a)));
    check_bits("bfind.shiftamt.u32 %r20,%r10;", (32, 32), |a, _, _| amount(a, 31));
    check_bits("bfind.shiftamt.s32 %r20,%r10;", (32, 32), |a, _, _| amount(short(a), 31));
    check_bits("bfind.shiftamt.u64 %r20,%rd10;", (64, 32), |a, _, _| amount(a, 63));
    check_bits("bfind.shiftamt.s64 %r20,%rd10;", (64, 32), |a, _, _| amount(long(a), 63));
}

/// The manual's definition of `bfe`, bit by bit.
fn field(a: u64, at: u32, len: u32, (top, signed): (u32, bool)) -> u64 {
    let (at, len) = (at & 255, len & 255);
    let bit = |i: u32| a >> i & 1;
    let sign = if signed && len > 0 { bit((at + len - 1).min(top)) } else { 0 };
    (0..=top).fold(0, |d, i| d | if i < len && at + i <= top { bit(at + i) } else { sign } << i)
}

#[test]
fn fields_of_bits() {
    for (at, len) in
        [(0, 0), (0, 1), (0, 32), (3, 7), (20, 20), (31, 1), (31, 9), (32, 4), (40, 64), (255, 255), (1, 63)]
    {
        let set = format!("mov.u32 %r1,{at}; mov.u32 %r2,{len};");
        for high in [0, 256] {
            let set = format!("{set} add.u32 %r1,%r1,{high}; add.u32 %r2,%r2,{high};");
            let one = |op: &str, bits, kind| {
                check_bits(&format!("{set} {op}"), (bits, bits), |a, _, _| field(a, at, len, kind));
            };
            one("bfe.u32 %r20,%r10,%r1,%r2;", 32, (31, false));
            one("bfe.s32 %r20,%r10,%r1,%r2;", 32, (31, true));
            one("bfe.u64 %rd20,%rd10,%r1,%r2;", 64, (63, false));
            one("bfe.s64 %rd20,%rd10,%r1,%r2;", 64, (63, true));
        }
        let insert = |a: u64, b: u64, top: u32| {
            (0..=top).fold(b, |f, i| {
                let inside = i >= at && i < at + len;
                if inside { f & !(1 << i) | (a >> (i - at) & 1) << i } else { f }
            })
        };
        check_bits(&format!("{set} bfi.b32 %r20,%r10,%r11,%r1,%r2;"), (32, 32), |a, b, _| insert(a, b, 31));
        check_bits(&format!("{set} bfi.b64 %rd20,%rd10,%rd11,%r1,%r2;"), (64, 64), |a, b, _| insert(a, b, 63));
    }
    let mask = |at: u32, len: u32| (0..32).filter(|i| *i >= at && *i - at < len).fold(0, |all, i| all | 1 << i);
    let extended =
        |a: u32, len: u32| if len == 0 || len >= 32 { a } else { ((a << (32 - len)) as i32 >> (32 - len)) as u32 };
    for (a, n) in [0u32, 1, 8, 31, 32, 33, 64, 70, 1 << 31, !0].into_iter().flat_map(|n| [(0xdead_beefu32, n), (5, n)])
    {
        word_table("bmsk.clamp.b32 %r20,%r10,%r11;", &[([a & 31, n, 0], mask(a & 31, n)), ([n, 4, 0], mask(n, 4))]);
        word_table("bmsk.wrap.b32 %r20,%r10,%r11;", &[([a, n, 0], mask(a & 31, n & 31)), ([n, 4, 0], mask(n & 31, 4))]);
        let (clamped, wrapped) = (n.min(32), n & 31);
        word_table("szext.clamp.u32 %r20,%r10,%r11;", &[([a, n, 0], a & mask(0, clamped))]);
        word_table("szext.wrap.u32 %r20,%r10,%r11;", &[([a, n, 0], a & mask(0, wrapped))]);
        let none = |len: u32, value: u32| if len == 0 { 0 } else { value };
        word_table("szext.clamp.s32 %r20,%r10,%r11;", &[([a, n, 0], none(clamped, extended(a, clamped)))]);
        word_table("szext.wrap.s32 %r20,%r10,%r11;", &[([a, n, 0], none(wrapped, extended(a, wrapped)))]);
    }
    // A selector's upper bit spreads the sign of its byte.
    word_table(
        "prmt.b32 %r20,%r10,%r11,%r12;",
        &[
            ([0x4433_2211, 0x8877_6655, 0x7654], 0x8877_6655),
            ([0x4433_2211, 0x8877_6655, 0xf80f], 0xff00_11ff),
            ([0x4433_2291, 0x8877_6655, 0xdead_0c18], 0x9100_22ff),
        ],
    );
}

#[test]
fn dot_products() {
    let signed = |bytes: u32, i: u32| i64::from((bytes >> (8 * i)) as i8);
    let unsigned = |bytes: u32, i: u32| i64::from((bytes >> (8 * i)) as u8);
    let four = |a: &dyn Fn(u32) -> i64, b: &dyn Fn(u32) -> i64, c: u32| {
        ((0..4).map(|i| a(i) * b(i)).sum::<i64>() as u32).wrapping_add(c)
    };
    check("dp4a.u32.u32 %r20,%r10,%r11,%r12;", |a, b, c| four(&|i| unsigned(a, i), &|i| unsigned(b, i), c));
    check("dp4a.u32.s32 %r20,%r10,%r11,%r12;", |a, b, c| four(&|i| unsigned(a, i), &|i| signed(b, i), c));
    check("dp4a.s32.u32 %r20,%r10,%r11,%r12;", |a, b, c| four(&|i| signed(a, i), &|i| unsigned(b, i), c));
    let short = |a: u32, i: u32| i64::from((a >> (16 * i)) as i16);
    let whole = |a: u32, i: u32| i64::from((a >> (16 * i)) as u16);
    let two = |a: &dyn Fn(u32) -> i64, b: &dyn Fn(u32) -> i64, c: u32| {
        ((0..2).map(|i| a(i) * b(i)).sum::<i64>() as u32).wrapping_add(c)
    };
    check("dp2a.lo.u32.u32 %r20,%r10,%r11,%r12;", |a, b, c| two(&|i| whole(a, i), &|i| unsigned(b, i), c));
    check("dp2a.lo.u32.s32 %r20,%r10,%r11,%r12;", |a, b, c| two(&|i| whole(a, i), &|i| signed(b, i), c));
    check("dp2a.lo.s32.u32 %r20,%r10,%r11,%r12;", |a, b, c| two(&|i| short(a, i), &|i| unsigned(b, i), c));
    check("dp2a.lo.s32.s32 %r20,%r10,%r11,%r12;", |a, b, c| two(&|i| short(a, i), &|i| signed(b, i), c));
    check("dp2a.hi.u32.u32 %r20,%r10,%r11,%r12;", |a, b, c| two(&|i| whole(a, i), &|i| unsigned(b, i + 2), c));
    check("dp2a.hi.u32.s32 %r20,%r10,%r11,%r12;", |a, b, c| two(&|i| whole(a, i), &|i| signed(b, i + 2), c));
    check("dp2a.hi.s32.u32 %r20,%r10,%r11,%r12;", |a, b, c| two(&|i| short(a, i), &|i| unsigned(b, i + 2), c));
    check("dp2a.hi.s32.s32 %r20,%r10,%r11,%r12;", |a, b, c| two(&|i| short(a, i), &|i| signed(b, i + 2), c));
}

/// Two words of 128 bits in four registers of 64, against arithmetic of 128 bits.
#[test]
fn carries_of_words_of_64_bits() {
    let sum = |a: u64, b: u64, c: u64| {
        (u128::from(b) << 64 | u128::from(a)).wrapping_add(u128::from(a) << 64 | u128::from(c))
    };
    check_wide("add.cc.u64 %rd1,%rd10,%rd12; addc.u64 %rd20,%rd11,%rd10;", |a, b, c| (sum(a, b, c) >> 64) as u64);
    check_wide("add.cc.s64 %rd20,%rd10,%rd12; addc.s64 %rd1,%rd11,%rd10;", |a, b, c| sum(a, b, c) as u64);
    let less = |a: u64, b: u64, c: u64| {
        (u128::from(b) << 64 | u128::from(a)).wrapping_sub(u128::from(a) << 64 | u128::from(c))
    };
    check_wide("sub.cc.u64 %rd1,%rd10,%rd12; subc.u64 %rd20,%rd11,%rd10;", |a, b, c| (less(a, b, c) >> 64) as u64);
    check_wide("sub.cc.s64 %rd1,%rd10,%rd12; subc.s64 %rd20,%rd11,%rd10;", |a, b, c| (less(a, b, c) >> 64) as u64);
    // The carry out of a sum that took one in: a third word gets it.
    check("add.cc.s32 %r1,%r10,%r11; addc.cc.s32 %r2,-1,0; addc.s32 %r20,0,0;", |a, b, _| {
        u32::from(a.checked_add(b).is_none())
    });
    check("sub.cc.s32 %r1,%r10,%r11; subc.cc.s32 %r2,0,0; subc.s32 %r20,0,0;", |a, b, _| if a < b { !0 } else { 0 });
    // Only .cc sets the carry.
    check("add.cc.u32 %r1,-1,1; add.u32 %r2,1,1; mad.lo.u32 %r3,1,1,1; addc.u32 %r20,%r10,0;", |a, _, _| {
        a.wrapping_add(1)
    });
}

#[test]
fn carries_of_products() {
    let product = |a: u64, b: u64| a as u128 * b as u128;
    // a·b + {b, c}, its upper word.
    check_wide("mad.lo.cc.u64 %rd1,%rd10,%rd11,%rd12; madc.hi.u64 %rd20,%rd10,%rd11,%rd11;", |a, b, c| {
        (product(a, b).wrapping_add(u128::from(b) << 64 | u128::from(c)) >> 64) as u64
    });
    check("mad.lo.cc.u32 %r1,%r10,%r11,%r12; madc.hi.u32 %r20,%r10,%r11,%r11;", |a, b, c| {
        ((a as u64 * b as u64).wrapping_add((b as u64) << 32 | c as u64) >> 32) as u32
    });
    // The carry of an upper half, which a lower one then takes in.
    check("mad.hi.cc.u32 %r1,%r10,%r11,%r12; madc.lo.u32 %r20,%r10,%r11,%r12;", |a, b, c| {
        let carry = ((a as u64 * b as u64) >> 32) + c as u64 > u32::MAX as u64;
        a.wrapping_mul(b).wrapping_add(c).wrapping_add(u32::from(carry))
    });
    check_wide("mad.hi.cc.u64 %rd1,%rd10,%rd11,%rd12; madc.lo.u64 %rd20,%rd10,%rd11,%rd12;", |a, b, c| {
        let carry = (product(a, b) >> 64) + u128::from(c) > u128::from(u64::MAX);
        a.wrapping_mul(b).wrapping_add(c).wrapping_add(u64::from(carry))
    });
    check("mad.lo.cc.s32 %r1,%r10,%r11,%r12; madc.lo.cc.s32 %r2,%r10,0,-1; addc.u32 %r20,0,0;", |a, b, c| {
        u32::from(a.wrapping_mul(b).checked_add(c).is_none())
    });
    check_wide("mad.lo.cc.s64 %rd1,%rd10,%rd11,%rd12; madc.lo.s64 %rd20,%rd10,0,0;", |a, b, c| {
        u64::from(a.wrapping_mul(b).checked_add(c).is_none())
    });
    check("mad.lo.cc.u32 %r1,-1,1,1; madc.hi.cc.u32 %r2,-1,-1,%r10; addc.u32 %r20,0,0;", |a, _, _| {
        u32::from(u64::from(a) + 0xffff_fffe + 1 > u64::from(u32::MAX))
    });
    check_wide("mad.lo.cc.u64 %rd1,-1,1,1; madc.hi.cc.u64 %rd2,-1,-1,%rd10; addc.u64 %rd20,0,0;", |a, _, _| {
        u64::from(u128::from(a) + 0xffff_ffff_ffff_fffe + 1 > u128::from(u64::MAX))
    });
}
