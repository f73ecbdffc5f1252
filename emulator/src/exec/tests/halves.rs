//! f16 and bf16, alone and in pairs.

use super::operands::{lanes, short_table, word_table};

/// The f16 of a number that is one.
fn f16(x: f64) -> u16 {
    let half = half::f16::from_f64(x);
    assert!(half.to_f64() == x);
    half.to_bits()
}

/// The bf16 of a number that is one.
fn bf16(x: f64) -> u16 {
    let half = half::bf16::from_f64(x);
    assert!(half.to_f64() == x);
    half.to_bits()
}

const NAN: u16 = 0x7fff;
const MINUS: u16 = 0x8000;

/// An infinity, the largest and the least normal number, and half a unit of 1.
struct Ends {
    infinity: u16,
    largest: u16,
    least: u16,
    half_unit: f64,
}

const F16: Ends = Ends { infinity: 0x7c00, largest: 0x7bff, least: 0x0400, half_unit: 1.0 / 2048.0 };
const BF16: Ends = Ends { infinity: 0x7f80, largest: 0x7f7f, least: 0x0080, half_unit: 1.0 / 256.0 };

/// Runs cases on single halves, and in pairs with a case in each half.
fn both(single: &str, pair: &str, cases: &[([u16; 3], u16)]) {
    short_table(single, cases);
    let join = |low: u16, high: u16| u32::from(high) << 16 | u32::from(low);
    let pairs: Vec<([u32; 3], u32)> = cases
        .iter()
        .zip(cases.iter().cycle().skip(1))
        .map(|(low, high)| (std::array::from_fn(|i| join(low.0[i], high.0[i])), join(low.1, high.1)))
        .collect();
    word_table(pair, &pairs);
}

/// What holds in both formats: sums, products, and what is too large.
fn sums(of: impl Fn(f64) -> u16, ends: &Ends) -> Vec<([u16; 3], u16)> {
    let unit = 2.0 * ends.half_unit;
    vec![
        ([of(1.0), of(ends.half_unit), 0], of(1.0)),
        ([of(1.0 + unit), of(ends.half_unit), 0], of(1.0 + 2.0 * unit)),
        ([of(1.5), of(-4.0), 0], of(-2.5)),
        ([of(1.0), of(-1.0), 0], 0),
        ([MINUS, MINUS, 0], MINUS),
        ([ends.largest, ends.largest, 0], ends.infinity),
        ([ends.infinity, ends.infinity | MINUS, 0], NAN),
        // The least number twice: subnormal, and exact.
        ([1, 1, 0], 2),
        ([ends.least, 1 | MINUS, 0], ends.least - 1),
    ]
}

fn differences(of: impl Fn(f64) -> u16, ends: &Ends) -> Vec<([u16; 3], u16)> {
    sums(of, ends).into_iter().map(|([a, b, c], d)| ([a, b ^ MINUS, c], d)).collect()
}

fn products(of: impl Fn(f64) -> u16, ends: &Ends) -> Vec<([u16; 3], u16)> {
    let unit = 2.0 * ends.half_unit;
    vec![
        ([of(1.0 + unit), of(1.0 + unit), 0], of(1.0 + 2.0 * unit)),
        ([of(1.5), of(-4.0), 0], of(-6.0)),
        ([ends.least, of(0.5), 0], ends.least / 2),
        ([ends.largest, of(-2.0), 0], ends.infinity | MINUS),
        ([MINUS, of(3.0), 0], MINUS),
        ([0, ends.infinity, 0], NAN),
        // Half of the least number is a tie with nothing.
        ([1, of(0.5), 0], 0),
        ([3, of(0.5), 0], 2),
    ]
}

fn fused(of: impl Fn(f64) -> u16, ends: &Ends) -> Vec<([u16; 3], u16)> {
    let unit = 2.0 * ends.half_unit;
    vec![
        ([of(1.0 + unit), of(1.0 + unit), of(-1.0 - 2.0 * unit)], of(unit * unit)),
        ([of(2.0), of(3.0), of(-7.0)], of(-1.0)),
        ([ends.largest, of(2.0), ends.largest | MINUS], ends.largest),
        ([ends.infinity, 0, of(1.0)], NAN),
        // A tie but for the addend, which is far below.
        ([of(1.0 + unit), of(1.5), 1], of(1.5 + 2.0 * unit)),
        ([of(1.0 + unit), of(1.5), 1 | MINUS], of(1.5 + unit)),
    ]
}

#[test]
fn f16_is_rounded_once() {
    both("add.f16 %h20,%h10,%h11;", "add.f16x2 %r20,%r10,%r11;", &sums(f16, &F16));
    both("add.rn.f16 %h20,%h10,%h11;", "add.rn.f16x2 %r20,%r10,%r11;", &sums(f16, &F16));
    both("sub.f16 %h20,%h10,%h11;", "sub.f16x2 %r20,%r10,%r11;", &differences(f16, &F16));
    both("mul.f16 %h20,%h10,%h11;", "mul.f16x2 %r20,%r10,%r11;", &products(f16, &F16));
    both("fma.rn.f16 %h20,%h10,%h11,%h12;", "fma.rn.f16x2 %r20,%r10,%r11,%r12;", &fused(f16, &F16));
}

#[test]
fn bf16_is_rounded_once() {
    both("add.bf16 %h20,%h10,%h11;", "add.bf16x2 %r20,%r10,%r11;", &sums(bf16, &BF16));
    both("sub.rn.bf16 %h20,%h10,%h11;", "sub.rn.bf16x2 %r20,%r10,%r11;", &differences(bf16, &BF16));
    both("mul.bf16 %h20,%h10,%h11;", "mul.bf16x2 %r20,%r10,%r11;", &products(bf16, &BF16));
    both("fma.rn.bf16 %h20,%h10,%h11,%h12;", "fma.rn.bf16x2 %r20,%r10,%r11,%r12;", &fused(bf16, &BF16));
}

#[test]
fn what_follows_an_operation_on_halves() {
    let (inf, least) = (F16.infinity, F16.least);
    both(
        "add.sat.f16 %h20,%h10,%h11;",
        "add.sat.f16x2 %r20,%r10,%r11;",
        &[
            ([f16(2.0), f16(3.0), 0], f16(1.0)),
            ([f16(-2.0), f16(1.0), 0], 0),
            ([NAN, f16(1.0), 0], 0),
            ([f16(0.25), f16(0.5), 0], f16(0.75)),
        ],
    );
    both(
        "sub.sat.f16 %h20,%h10,%h11;",
        "sub.sat.f16x2 %r20,%r10,%r11;",
        &[([f16(2.0), f16(0.5), 0], f16(1.0)), ([f16(1.0), f16(3.0), 0], 0), ([inf, inf, 0], 0)],
    );
    both(
        "mul.sat.f16 %h20,%h10,%h11;",
        "mul.sat.f16x2 %r20,%r10,%r11;",
        &[([f16(2.0), f16(3.0), 0], f16(1.0)), ([f16(-2.0), f16(1.0), 0], 0), ([f16(0.5), f16(0.5), 0], f16(0.25))],
    );
    both(
        "fma.rn.sat.f16 %h20,%h10,%h11,%h12;",
        "fma.rn.sat.f16x2 %r20,%r10,%r11,%r12;",
        &[([f16(2.0), f16(3.0), f16(1.0)], f16(1.0)), ([f16(2.0), f16(-3.0), f16(6.5)], f16(0.5)), ([NAN, 0, 0], 0)],
    );
    let relu = |of: fn(f64) -> u16| {
        [([of(1.0), of(-3.0), of(1.0)], 0), ([of(2.0), of(3.0), of(1.0)], of(7.0)), ([NAN, of(1.0), of(1.0)], NAN)]
    };
    both("fma.rn.relu.f16 %h20,%h10,%h11,%h12;", "fma.rn.relu.f16x2 %r20,%r10,%r11,%r12;", &relu(f16));
    both("fma.rn.relu.bf16 %h20,%h10,%h11,%h12;", "fma.rn.relu.bf16x2 %r20,%r10,%r11,%r12;", &relu(bf16));
    // Subnormal operands, and results.
    let last = least - 1;
    both(
        "add.ftz.f16 %h20,%h10,%h11;",
        "add.ftz.f16x2 %r20,%r10,%r11;",
        &[([last, last, 0], 0), ([least, 1, 0], least), ([last | MINUS, MINUS, 0], MINUS)],
    );
    both(
        "sub.ftz.f16 %h20,%h10,%h11;",
        "sub.ftz.f16x2 %r20,%r10,%r11;",
        &[([least + 1, least, 0], 0), ([least, last, 0], least)],
    );
    both(
        "mul.ftz.f16 %h20,%h10,%h11;",
        "mul.ftz.f16x2 %r20,%r10,%r11;",
        &[([least, f16(-0.5), 0], MINUS), ([last, f16(64.0), 0], 0)],
    );
    both(
        "fma.rn.ftz.f16 %h20,%h10,%h11,%h12;",
        "fma.rn.ftz.f16x2 %r20,%r10,%r11,%r12;",
        &[
            ([last, f16(64.0), f16(1.0)], f16(1.0)),
            ([least, f16(0.5), 0], 0),
            ([least, f16(0.5), least], least + least / 2),
        ],
    );
    both("neg.ftz.f16 %h20,%h10;", "neg.ftz.f16x2 %r20,%r10;", &[([last, 0, 0], MINUS), ([f16(2.0), 0, 0], f16(-2.0))]);
    both(
        "abs.ftz.f16 %h20,%h10;",
        "abs.ftz.f16x2 %r20,%r10;",
        &[([last | MINUS, 0, 0], 0), ([f16(-2.0), 0, 0], f16(2.0))],
    );
    both(
        "min.ftz.f16 %h20,%h10,%h11;",
        "min.ftz.f16x2 %r20,%r10,%r11;",
        &[([last, f16(1.0), 0], 0), ([f16(-2.0), last, 0], f16(-2.0))],
    );
    both(
        "max.ftz.f16 %h20,%h10,%h11;",
        "max.ftz.f16x2 %r20,%r10,%r11;",
        &[([last, f16(-1.0), 0], 0), ([f16(2.0), last, 0], f16(2.0))],
    );
}

fn extremes(of: impl Fn(f64) -> u16, results: [f64; 2], zero: u16, with_nan: u16) -> Vec<([u16; 3], u16)> {
    let [first, second] = results;
    vec![
        ([of(1.0), of(2.0), 0], of(first)),
        ([of(-3.0), of(1.5), 0], of(second)),
        ([0, MINUS, 0], zero),
        ([MINUS, 0, 0], zero),
        ([NAN, of(5.0), 0], with_nan),
        ([of(5.0), NAN, 0], with_nan),
        ([NAN, NAN, 0], NAN),
    ]
}

#[test]
fn extremes_and_signs_of_halves() {
    let (low, high) = ([1.0, -3.0], [2.0, 1.5]);
    both("min.f16 %h20,%h10,%h11;", "min.f16x2 %r20,%r10,%r11;", &extremes(f16, low, MINUS, f16(5.0)));
    both("max.f16 %h20,%h10,%h11;", "max.f16x2 %r20,%r10,%r11;", &extremes(f16, high, 0, f16(5.0)));
    both("min.NaN.f16 %h20,%h10,%h11;", "min.NaN.f16x2 %r20,%r10,%r11;", &extremes(f16, low, MINUS, NAN));
    both("max.NaN.f16 %h20,%h10,%h11;", "max.NaN.f16x2 %r20,%r10,%r11;", &extremes(f16, high, 0, NAN));
    both("min.bf16 %h20,%h10,%h11;", "min.bf16x2 %r20,%r10,%r11;", &extremes(bf16, low, MINUS, bf16(5.0)));
    both("max.bf16 %h20,%h10,%h11;", "max.bf16x2 %r20,%r10,%r11;", &extremes(bf16, high, 0, bf16(5.0)));
    both("min.NaN.bf16 %h20,%h10,%h11;", "min.NaN.bf16x2 %r20,%r10,%r11;", &extremes(bf16, low, MINUS, NAN));
    both("max.NaN.bf16 %h20,%h10,%h11;", "max.NaN.bf16x2 %r20,%r10,%r11;", &extremes(bf16, high, 0, NAN));
    let signs = [0, 1, MINUS, 0x7bff, 0x3c00 | MINUS];
    let negated = signs.map(|a| ([a, 0, 0], a ^ MINUS));
    let absolute = signs.map(|a| ([a, 0, 0], a & !MINUS));
    both("neg.f16 %h20,%h10;", "neg.f16x2 %r20,%r10;", &negated);
    both("abs.f16 %h20,%h10;", "abs.f16x2 %r20,%r10;", &absolute);
    both("neg.bf16 %h20,%h10;", "neg.bf16x2 %r20,%r10;", &negated);
    both("abs.bf16 %h20,%h10;", "abs.bf16x2 %r20,%r10;", &absolute);
}

#[test]
fn approximations_of_halves() {
    let powers = |of: fn(f64) -> u16, infinity: u16| {
        [
            ([of(3.0), 0, 0], of(8.0)),
            ([of(-2.0), 0, 0], of(0.25)),
            ([MINUS, 0, 0], of(1.0)),
            ([infinity, 0, 0], infinity),
            ([infinity | MINUS, 0, 0], 0),
            ([NAN, 0, 0], NAN),
        ]
    };
    both("ex2.approx.f16 %h20,%h10;", "ex2.approx.f16x2 %r20,%r10;", &powers(f16, F16.infinity));
    both("ex2.approx.ftz.bf16 %h20,%h10;", "ex2.approx.ftz.bf16x2 %r20,%r10;", &powers(bf16, BF16.infinity));
    let steps = |of: fn(f64) -> u16, infinity: u16| {
        [
            ([0, 0, 0], 0),
            ([MINUS, 0, 0], MINUS),
            ([infinity, 0, 0], of(1.0)),
            ([infinity | MINUS, 0, 0], of(-1.0)),
            ([NAN, 0, 0], NAN),
        ]
    };
    both("tanh.approx.f16 %h20,%h10;", "tanh.approx.f16x2 %r20,%r10;", &steps(f16, F16.infinity));
    both("tanh.approx.bf16 %h20,%h10;", "tanh.approx.bf16x2 %r20,%r10;", &steps(bf16, BF16.infinity));
    let xs: [f64; 32] = std::array::from_fn(|i| (i as f64 - 16.0) / 8.0);
    let close = |op: &str, of: fn(f64) -> u16, value: fn(u16) -> f64, exact: fn(f64) -> f64, allowed: f64| {
        let a = xs.map(|x| u64::from(of(x)));
        for (x, got) in xs.iter().zip(lanes(op, (16, 16), a, a, a)) {
            let (got, exact) = (value(got as u16), exact(*x));
            assert!((got - exact).abs() <= allowed * exact.abs(), "{op} {x}: {got}, {exact}");
        }
    };
    let (of_f16, of_bf16) = (|bits| half::f16::from_bits(bits).to_f64(), |bits| half::bf16::from_bits(bits).to_f64());
    close("ex2.approx.f16 %h20,%h10;", f16, of_f16, f64::exp2, 2f64.powf(-9.9));
    close("ex2.approx.ftz.bf16 %h20,%h10;", bf16, of_bf16, f64::exp2, 2f64.powi(-7));
    close("tanh.approx.f16 %h20,%h10;", f16, of_f16, f64::tanh, 2f64.powf(-10.987));
    close("tanh.approx.bf16 %h20,%h10;", bf16, of_bf16, f64::tanh, 2f64.powi(-8));
}
