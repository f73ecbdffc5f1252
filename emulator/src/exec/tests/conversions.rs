//! `cvt`: every pair of types, every rounding, and `mov` that packs and unpacks.

use super::operands::{check, check_bits, check_wide, table, word_table};
use crate::decode::Module;

/// The types, with the bits of their registers.
const INTEGERS: [(&str, u32, bool); 8] = [
    ("u8", 8, false),
    ("s8", 8, true),
    ("u16", 16, false),
    ("s16", 16, true),
    ("u32", 32, false),
    ("s32", 32, true),
    ("u64", 64, false),
    ("s64", 64, true),
];
const FLOATS: [(&str, u32); 4] = [("f16", 16), ("bf16", 16), ("f32", 32), ("f64", 64)];

/// A register of at least so many bits: its letter, and what moves a value in from `%rd10` or out to `%rd20`.
fn register(bits: u32) -> (&'static str, &'static str, &'static str) {
    match bits {
        8 | 16 => ("h", "mov.b64 {%h10,_,_,_},%rd10;", "mov.b16 %h1,0; mov.b64 %rd20,{%h20,%h1,%h1,%h1};"),
        32 => ("r", "mov.b64 {%r10,_},%rd10;", "mov.b32 %r1,0; mov.b64 %rd20,{%r20,%r1};"),
        _ => ("rd", "", ""),
    }
}

/// A conversion of `%rd10`'s lower bits into `%rd20`.
fn conversion(modifiers: &str, (to, to_bits): (&str, u32), (from, from_bits): (&str, u32)) -> String {
    let ((source, load, _), (result, _, store)) = (register(from_bits), register(to_bits));
    format!("{load} cvt{modifiers}.{to}.{from} %{result}20,%{source}10; {store}")
}

fn integer(bits: u64, (_, width, signed): (&str, u32, bool)) -> i128 {
    let value = i128::from(bits & !0u64 >> (64 - width));
    if signed && value >> (width - 1) == 1 { value - (1 << width) } else { value }
}

/// The least and the most that a type holds.
fn ends((_, width, signed): (&str, u32, bool)) -> (i128, i128) {
    if signed { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
}

/// A value in a type's register: one of 8 bits is widened to 16, by its sign if it has one.
fn held(value: i128, (_, width, _): (&str, u32, bool)) -> u64 {
    value as u64 & !0u64 >> (64 - width.max(16))
}

#[test]
fn integers_to_integers() {
    let bits = [
        0,
        1,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 63,
        !0,
        !0 >> 1,
        0x1234_5678_9abc_def0,
    ];
    for from in INTEGERS {
        for to in INTEGERS {
            let (low, high) = ends(to);
            let cut = bits.map(|x| ([x, 0, 0], held(integer(integer(x, from) as u64, to), to)));
            table(&conversion("", (to.0, to.1), (from.0, from.1)), 64, &cut, |_| false);
            let kept = bits.map(|x| ([x, 0, 0], held(integer(x, from).clamp(low, high), to)));
            table(&conversion(".sat", (to.0, to.1), (from.0, from.1)), 64, &kept, |_| false);
        }
    }
}

/// A float format: bits of its fraction, its exponents, and where its bits begin.
#[derive(Clone, Copy)]
struct Format {
    fraction: i32,
    least: i32,
    most: i32,
}

fn format(name: &str) -> Format {
    match name {
        "f16" => Format { fraction: 10, least: -14, most: 15 },
        "bf16" => Format { fraction: 7, least: -126, most: 127 },
        "tf32" => Format { fraction: 10, least: -126, most: 127 },
        "f32" => Format { fraction: 23, least: -126, most: 127 },
        _ => Format { fraction: 52, least: -1022, most: 1023 },
    }
}

fn float(bits: u64, name: &str) -> f64 {
    match name {
        "f16" => half::f16::from_bits(bits as u16).to_f64(),
        "bf16" => half::bf16::from_bits(bits as u16).to_f64(),
        "f32" | "tf32" => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    }
}

fn whole(x: f64, rounding: &str) -> f64 {
    match rounding {
        "rn" => x.round_ties_even(),
        "rna" => x.round(),
        "rz" => x.trunc(),
        "rm" => x.floor(),
        _ => x.ceil(),
    }
}

/// The number of a format that `x` is rounded to, worked out with exact scalings: in units of its last place it is whole.
fn rounded(x: f64, name: &str, rounding: &str) -> f64 {
    if x == 0.0 || !x.is_finite() || name == "f64" {
        return x;
    }
    let format = format(name);
    let exponent = (((x.to_bits() >> 52 & 0x7ff) as i32).max(1) - 1023).max(format.least);
    let unit = exponent - format.fraction;
    // Two steps, for scales beyond an f64's.
    let scaled = x * 2f64.powi(-unit / 2) * 2f64.powi(-unit + unit / 2);
    let near = (whole(scaled, rounding) * 2f64.powi(unit / 2)) * 2f64.powi(unit - unit / 2);
    let largest = (2.0 - 2f64.powi(-format.fraction)) * 2f64.powi(format.most);
    if near.abs() <= largest {
        return near.copysign(x);
    }
    match (rounding, x > 0.0) {
        ("rz", _) | ("rm", true) | ("rp", false) => largest.copysign(x),
        _ => f64::INFINITY.copysign(x),
    }
}

/// The bits of a number that the format has; one NaN for all.
fn bits_of(x: f64, name: &str) -> u64 {
    match name {
        "f16" if x.is_nan() => 0x7fff,
        "bf16" if x.is_nan() => 0x7fff,
        "f16" => u64::from(half::f16::from_f64(x).to_bits()),
        "bf16" => u64::from(half::bf16::from_f64(x).to_bits()),
        "f32" | "tf32" => u64::from((x as f32).to_bits()),
        _ => x.to_bits(),
    }
}

fn is_nan(name: &str) -> impl Fn(u64) -> bool {
    move |bits| float(bits, name).is_nan()
}

const ROUNDINGS: [&str; 4] = ["rn", "rz", "rm", "rp"];

/// Numbers that lie between those of a shorter format, on ties, and beyond its ends.
fn awkward() -> Vec<f64> {
    let mut all = vec![
        0.0,
        0.5,
        1.5,
        2.5,
        0.49,
        254.5,
        255.5,
        32767.5,
        65519.9,
        65520.0,
        65504.0,
        65535.5,
        1e10,
        1e39,
        1e300,
        2f64.powi(31),
        2f64.powi(63),
        2f64.powi(64),
        1e-7,
        1e-39,
        1e-41,
        1e-60,
        2f64.powi(-24),
        2f64.powi(-25),
        2f64.powi(-134),
        f64::INFINITY,
    ];
    for fraction in [7, 10, 23] {
        let unit = 2f64.powi(-fraction);
        for part in [0.25, 0.5, 0.75, 1.0, 1.5, 2.5] {
            all.push(1.0 + unit * part);
        }
        all.push(1.0 + unit / 2.0 + 2f64.powi(-50));
    }
    let negative: Vec<f64> = all.iter().map(|x| -x).collect();
    all.extend(negative);
    all.push(f64::NAN);
    all
}

#[test]
fn floats_to_shorter_floats() {
    for (from, from_bits) in FLOATS {
        for (to, to_bits) in FLOATS.into_iter().filter(|(to, bits)| *bits < from_bits && *to != from) {
            for rounding in ROUNDINGS {
                let cases: Vec<_> = awkward()
                    .into_iter()
                    .map(|x| {
                        let x = rounded(x, from, "rn");
                        ([bits_of(x, from), 0, 0], bits_of(rounded(x, to, rounding), to))
                    })
                    .collect();
                table(&conversion(&format!(".{rounding}"), (to, to_bits), (from, from_bits)), 64, &cases, is_nan(to));
            }
        }
    }
}

#[test]
fn floats_to_longer_floats() {
    for (from, from_bits) in FLOATS {
        for (to, to_bits) in FLOATS.into_iter().filter(|(_, bits)| *bits > from_bits) {
            let cases: Vec<_> = awkward()
                .into_iter()
                .map(|x| {
                    let x = rounded(x, from, "rn");
                    ([bits_of(x, from), 0, 0], bits_of(x, to))
                })
                .collect();
            table(&conversion("", (to, to_bits), (from, from_bits)), 64, &cases, is_nan(to));
        }
    }
}

#[test]
fn floats_to_whole_numbers() {
    for (from, from_bits) in FLOATS {
        let xs: Vec<f64> = awkward().into_iter().map(|x| rounded(x, from, "rn")).collect();
        for rounding in ROUNDINGS {
            let modifier = format!(".{rounding}i");
            for to in INTEGERS {
                let (low, high) = ends(to);
                let sign = 1i128 << (to.1 - 1);
                let cases: Vec<_> = xs
                    .iter()
                    .map(|&x| {
                        let value = match x.is_nan() {
                            // No number: zero, unless either side has 64 bits.
                            true if from == "f64" || to.1 == 64 => integer(sign as u64, to),
                            true => 0,
                            false => (whole(x, rounding) as i128).clamp(low, high),
                        };
                        ([bits_of(x, from), 0, 0], held(value, to))
                    })
                    .collect();
                table(&conversion(&modifier, (to.0, to.1), (from, from_bits)), 64, &cases, |_| false);
            }
            let cases: Vec<_> =
                xs.iter().map(|&x| ([bits_of(x, from), 0, 0], bits_of(whole(x, rounding), from))).collect();
            table(&conversion(&modifier, (from, from_bits), (from, from_bits)), 64, &cases, is_nan(from));
        }
    }
}

#[test]
fn integers_to_floats() {
    let bits = [
        0,
        1,
        3,
        0x7f,
        0x80,
        0xff,
        257,
        2049,
        0x7fff,
        0x8000,
        0xffef,
        0xfff0,
        0xffff,
        (1 << 24) + 1,
        0x7fff_ffbf,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        (1 << 53) + 1,
        (1 << 54) - 1,
        1 << 63,
        (1 << 63) + 1025,
        !0,
        !0 >> 1,
    ];
    for from in INTEGERS {
        for (to, to_bits) in FLOATS {
            for rounding in ROUNDINGS {
                let cases = bits.map(|x| ([x, 0, 0], bits_of(nearest(integer(x, from), to, rounding), to)));
                table(&conversion(&format!(".{rounding}"), (to, to_bits), (from.0, from.1)), 64, &cases, |_| false);
            }
        }
    }
}

/// An integer rounded to a format, with integers alone: what is below the last place is looked at by itself.
fn nearest(value: i128, name: &str, rounding: &str) -> f64 {
    let format = format(name);
    let (sign, magnitude) = (value < 0, value.unsigned_abs());
    let drop = (128 - magnitude.leading_zeros()).saturating_sub(format.fraction as u32 + 1);
    let (kept, lost) = (magnitude >> drop, magnitude & ((1 << drop) - 1));
    let half = if drop == 0 { 1 } else { 1u128 << (drop - 1) };
    let up = match rounding {
        "rn" => lost > half || (lost == half && kept & 1 == 1),
        "rm" => sign && lost > 0,
        "rp" => !sign && lost > 0,
        _ => false,
    };
    let result = (kept + u128::from(up)) as f64 * 2f64.powi(drop as i32);
    let largest = (2.0 - 2f64.powi(-format.fraction)) * 2f64.powi(format.most);
    let stays = matches!((rounding, sign), ("rz", _) | ("rm", false) | ("rp", true));
    let result = if result <= largest {
        result
    } else if stays {
        largest
    } else {
        f64::INFINITY
    };
    if sign { -result } else { result }
}

#[test]
fn what_else_a_conversion_does() {
    let bits = |x: f32| x.to_bits();
    let single = |modifiers: &str, cases: &[(f32, f32)]| {
        let cases: Vec<_> = cases.iter().map(|&(x, y)| ([bits(x), 0, 0], bits(y))).collect();
        word_table(&format!("mov.b32 %f1,%r10; cvt{modifiers}.f32.f32 %f2,%f1; mov.b32 %r20,%f2;"), &cases);
    };
    single(".sat", &[(2.0, 1.0), (-1.0, 0.0), (0.25, 0.25), (f32::NAN, 0.0), (f32::INFINITY, 1.0)]);
    single(".ftz", &[(1e-40, 0.0), (-1e-40, -0.0), (1.0, 1.0)]);
    single(".rpi.ftz", &[(1e-40, 0.0), (0.25, 1.0)]);
    single(".rpi", &[(1e-40, 1.0), (-0.25, -0.0)]);
    single(".rmi.sat", &[(1.5, 1.0), (-0.5, 0.0), (0.5, 0.0)]);
    let wide = |op: &str, cases: &[(u64, u64)]| {
        let cases: Vec<_> = cases.iter().map(|&(x, y)| ([x, 0, 0], y)).collect();
        table(op, 64, &cases, |_| false);
    };
    let (half, three) = (0.5f64.to_bits(), 3f64.to_bits());
    wide(
        "cvt.sat.f64.f64 %rd20,%rd10;",
        &[(three, 1f64.to_bits()), (half, half), ((-3f64).to_bits(), 0), (f64::NAN.to_bits(), 0)],
    );
    wide("mov.b64 {%r10,_},%rd10; cvt.ftz.f64.f32 %rd20,%r10;", &[(1, 0), (u64::from(bits(1.5)), 1.5f64.to_bits())]);
    wide("mov.b64 {%r10,_},%rd10; cvt.f64.f32 %rd20,%r10;", &[(1, 2f64.powi(-149).to_bits())]);
    wide(
        "cvt.rn.ftz.f32.f64 %r20,%rd10; cvt.u64.u32 %rd20,%r20;",
        &[(1e-40f64.to_bits(), 0), ((-1e-40f64).to_bits(), 1 << 31)],
    );
    let f16 = |x: f32| u32::from(half::f16::from_f32(x).to_bits());
    word_table(
        "mov.b32 %f1,%r10; cvt.rn.sat.f16.f32 %h1,%f1; cvt.u32.u16 %r20,%h1;",
        &[([bits(3.0), 0, 0], f16(1.0)), ([bits(-3.0), 0, 0], 0)],
    );
    word_table(
        "mov.b32 %f1,%r10; cvt.rp.ftz.f16.f32 %h1,%f1; cvt.u32.u16 %r20,%h1;",
        &[([1, 0, 0], 0), ([bits(1e-30), 0, 0], 1)],
    );
    word_table(
        "mov.b32 %f1,%r10; cvt.rzi.ftz.s32.f32 %r20,%f1;",
        &[([1, 0, 0], 0), ([bits(-2.5), 0, 0], 2u32.wrapping_neg())],
    );
    word_table("mov.b32 %f1,%r10; cvt.rpi.ftz.s32.f32 %r20,%f1;", &[([1, 0, 0], 0), ([bits(2.5), 0, 0], 3)]);
    word_table("mov.b32 %f1,%r10; cvt.rpi.s32.f32 %r20,%f1;", &[([1, 0, 0], 1)]);
    const NAN: u32 = 0x7fff;
    let relu = |name: &str, of: &dyn Fn(f32) -> u32| {
        let op = format!("mov.b32 %f1,%r10; cvt.rn.relu.{name}.f32 %h1,%f1; cvt.u32.u16 %r20,%h1;");
        word_table(&op, &[([bits(-3.0), 0, 0], 0), ([bits(3.0), 0, 0], of(3.0)), ([bits(f32::NAN), 0, 0], NAN)]);
    };
    let bf16 = |x: f32| u32::from(half::bf16::from_f32(x).to_bits());
    relu("f16", &f16);
    relu("bf16", &bf16);
    // Too large is the largest number; no number stays none.
    let finite = |name: &str, largest: u32| {
        let op = format!("mov.b32 %f1,%r10; cvt.rn.satfinite.{name}.f32 %h1,%f1; cvt.u32.u16 %r20,%h1;");
        let cases = [(f32::MAX, largest), (-f32::INFINITY, largest | 0x8000), (f32::NAN, NAN)];
        word_table(&op, &cases.map(|(x, y)| ([bits(x), 0, 0], y)));
    };
    finite("f16", 0x7bff);
    finite("bf16", 0x7f7f);
    word_table(
        "mov.b32 %f1,%r10; cvt.rna.satfinite.tf32.f32 %r20,%f1;",
        &[([bits(f32::MAX), 0, 0], 0x7f7f_e000), ([bits(3.0), 0, 0], bits(3.0))],
    );
}

#[test]
fn tf32_and_pairs() {
    let bits = |x: f32| x.to_bits();
    // Of 13 bits that are dropped, half is 0x1000.
    let one = bits(1.0);
    word_table(
        "mov.b32 %f1,%r10; cvt.rna.tf32.f32 %r20,%f1;",
        &[([one + 0x1000, 0, 0], one + 0x2000), ([one + 0xfff, 0, 0], one)],
    );
    word_table(
        "mov.b32 %f1,%r10; cvt.rn.tf32.f32 %r20,%f1;",
        &[([one + 0x1000, 0, 0], one), ([one + 0x3000, 0, 0], one + 0x4000)],
    );
    word_table("mov.b32 %f1,%r10; cvt.rz.tf32.f32 %r20,%f1;", &[([one + 0x1fff, 0, 0], one)]);
    word_table("mov.b32 %f1,%r10; cvt.rn.relu.tf32.f32 %r20,%f1;", &[([bits(-1.0), 0, 0], 0), ([one, 0, 0], one)]);
    let pair = |modifiers: &str, name: &str, cases: &[([f32; 2], u32)]| {
        let op = format!("mov.b32 %f1,%r10; mov.b32 %f2,%r11; cvt{modifiers}.{name}x2.f32 %r20,%f1,%f2;");
        let cases: Vec<_> = cases.iter().map(|&([a, b], y)| ([bits(a), bits(b), 0], y)).collect();
        word_table(&op, &cases);
    };
    // The first goes into the upper half. 1 + 2⁻¹¹ and 1 + 2⁻⁸ are ties.
    let (f16_tie, bf16_tie) = (1.0 + 2f32.powi(-11), 1.0 + 2f32.powi(-8));
    pair(".rn", "f16", &[([f16_tie, -2.0], 0x3c00_c000), ([65520.0, f32::NAN], 0x7c00_7fff)]);
    pair(".rz", "f16", &[([f16_tie + 1e-4, 65520.0], 0x3c00_7bff)]);
    pair(".rn.relu", "f16", &[([-1.0, 1.0], 0x3c00), ([f32::NAN, -0.5], 0x7fff_0000)]);
    pair(".rz.relu", "f16", &[([-1.0, 1e9], 0x7bff)]);
    pair(".rn", "bf16", &[([bf16_tie, -2.0], 0x3f80_c000), ([f32::MAX, f32::NAN], 0x7f80_7fff)]);
    pair(".rz", "bf16", &[([bf16_tie + 1e-3, f32::MAX], 0x3f80_7f7f)]);
    pair(".rn.relu", "bf16", &[([-1.0, 1.0], 0x3f80)]);
    pair(".rz.relu", "bf16", &[([1.0, -1.0], 0x3f80_0000)]);
    for op in
        ["cvt.rn.satfinite.f32.f64 %f1,%fd1;", "cvt.rn.satfinite.f16x2.f32 %r1,%f1,%f2;", "cvt.odd.u32.u16 %r1,%h1;"]
    {
        assert!(Module::parse(&super::harness::kernel(op)).is_err(), "{op}");
    }
}

#[test]
fn moves_pack_and_unpack() {
    check("mov.b32 {%h1,%h2},%r10; mov.b32 %r20,{%h2,%h1};", |a, _, _| a.rotate_left(16));
    check_wide("mov.b64 {%r1,%r2},%rd10; mov.b64 %rd20,{%r2,%r1};", |a, _, _| a.rotate_left(32));
    check_wide("mov.b64 {%h1,%h2,%h3,%h4},%rd10; mov.b64 %rd20,{%h4,%h3,%h2,%h1};", |a, _, _| {
        (0..4).fold(0, |all, i| all << 16 | a >> (16 * i) & 0xffff)
    });
    check_bits("mov.u16 %h20,%h10;", (16, 16), |a, _, _| a);
    check_bits("mov.b64 %fd1,%rd10; mov.f64 %fd2,%fd1; mov.b64 %rd20,%fd2;", (64, 64), |a, _, _| a);
    check("mov.s32 %r20,-7;", |_, _, _| 7u32.wrapping_neg());
    check_wide("mov.s64 %rd20,-7;", |_, _, _| 7u64.wrapping_neg());
    check_wide("mov.f64 %fd1,0d3FF8000000000000; mov.b64 %rd20,%fd1;", |_, _, _| 1.5f64.to_bits());
    check("lop3.b32 %r20,%r10,%r11,%r12,0x01;", |a, b, c| !a & !b & !c);
    check("lop3.b32 %r20,%r10,%r11,%r12,0xca;", |a, b, c| a & b | !a & c);
}
