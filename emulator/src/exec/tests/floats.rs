//! f32 and f64: every operation, rounding and mode, at the ends of the range and between two numbers.

use super::operands::{double_table, lanes, single_table, singles};

const INF: f32 = f32::INFINITY;
const MAX: f32 = f32::MAX;
const LEAST: f32 = f32::MIN_POSITIVE;
/// Half a unit of 1.
const HALF: f32 = f32::EPSILON / 2.0;
const TINY: f32 = 1e-40;

fn up(x: f32) -> f32 {
    x.next_up()
}

fn down(x: f32) -> f32 {
    x.next_down()
}

#[test]
fn sums_of_f32_in_every_rounding() {
    // What lies between two numbers, a sum that vanishes, one that is too large: nearest, to zero, down, up.
    let sums = [
        ([1.0, HALF], [1.0, 1.0, 1.0, up(1.0)]),
        ([up(1.0), HALF], [up(up(1.0)), up(1.0), up(1.0), up(up(1.0))]),
        ([-1.0, -1e-30], [-1.0, -1.0, down(-1.0), -1.0]),
        ([1.0, -1e-30], [1.0, down(1.0), down(1.0), 1.0]),
        ([1.0, -1.0], [0.0, 0.0, -0.0, 0.0]),
        ([0.0, -0.0], [0.0, 0.0, -0.0, 0.0]),
        ([-0.0, -0.0], [-0.0; 4]),
        ([0.0, 0.0], [0.0; 4]),
        ([MAX, MAX], [INF, MAX, MAX, INF]),
        ([-MAX, -MAX], [-INF, -MAX, -INF, -MAX]),
        ([INF, -INF], [f32::NAN; 4]),
        ([INF, -MAX], [INF; 4]),
        ([LEAST, -down(LEAST)], [f32::from_bits(1); 4]),
    ];
    let of = |i: usize| sums.map(|([a, b], expected)| ([a, b, 7.0], expected[i]));
    single_table("add.rn.f32 %f20,%f10,%f11;", &of(0));
    single_table("add.rz.f32 %f20,%f10,%f11;", &of(1));
    single_table("add.rm.f32 %f20,%f10,%f11;", &of(2));
    single_table("add.rp.f32 %f20,%f10,%f11;", &of(3));
    let of = |i: usize| sums.map(|([a, b], expected)| ([a, -b, 7.0], expected[i]));
    single_table("sub.f32 %f20,%f10,%f11;", &of(0));
    single_table("sub.rn.f32 %f20,%f10,%f11;", &of(0));
    single_table("sub.rz.f32 %f20,%f10,%f11;", &of(1));
    single_table("sub.rm.f32 %f20,%f10,%f11;", &of(2));
    single_table("sub.rp.f32 %f20,%f10,%f11;", &of(3));
}

#[test]
fn products_of_f32_in_every_rounding() {
    // (1 + 2u)(1 + 3u) = 1 + 5u + 6u², u a unit of 1.
    let unit = |n: u32| f32::from_bits(1f32.to_bits() + n);
    let products = [
        ([unit(2), unit(3)], [unit(5), unit(5), unit(5), unit(6)]),
        ([-unit(2), unit(3)], [-unit(5), -unit(5), -unit(6), -unit(5)]),
        ([LEAST, LEAST], [0.0, 0.0, 0.0, f32::from_bits(1)]),
        ([-LEAST, LEAST], [-0.0, -0.0, -f32::from_bits(1), -0.0]),
        ([MAX, 2.0], [INF, MAX, MAX, INF]),
        ([MAX, -2.0], [-INF, -MAX, -INF, -MAX]),
        ([0.0, -5.0], [-0.0; 4]),
        ([0.0, INF], [f32::NAN; 4]),
        ([INF, -2.0], [-INF; 4]),
    ];
    let of = |i: usize| products.map(|([a, b], expected)| ([a, b, 7.0], expected[i]));
    single_table("mul.f32 %f20,%f10,%f11;", &of(0));
    single_table("mul.rn.f32 %f20,%f10,%f11;", &of(0));
    single_table("mul.rz.f32 %f20,%f10,%f11;", &of(1));
    single_table("mul.rm.f32 %f20,%f10,%f11;", &of(2));
    single_table("mul.rp.f32 %f20,%f10,%f11;", &of(3));
    // Rounded once: were the product rounded first, the sum would be nothing.
    let square = unit(1) * unit(1);
    let fused = [
        ([unit(1), unit(1), -square], [f32::EPSILON * f32::EPSILON; 4]),
        ([1.0, 1.0, -1e-30], [1.0, down(1.0), down(1.0), 1.0]),
        ([-1.0, 1.0, -1e-30], [-1.0, -1.0, down(-1.0), -1.0]),
        ([2.0, 3.0, -6.0], [0.0, 0.0, -0.0, 0.0]),
        ([-0.0, 3.0, -0.0], [-0.0; 4]),
        ([MAX, 2.0, -MAX], [MAX; 4]),
        ([MAX, MAX, -INF], [-INF; 4]),
        ([INF, 0.0, 1.0], [f32::NAN; 4]),
    ];
    let of = |i: usize| fused.map(|(operands, expected)| (operands, expected[i]));
    single_table("fma.rn.f32 %f20,%f10,%f11,%f12;", &of(0));
    single_table("fma.rz.f32 %f20,%f10,%f11,%f12;", &of(1));
    single_table("fma.rm.f32 %f20,%f10,%f11,%f12;", &of(2));
    single_table("fma.rp.f32 %f20,%f10,%f11,%f12;", &of(3));
    single_table("mad.rn.f32 %f20,%f10,%f11,%f12;", &of(0));
    single_table("mad.rz.f32 %f20,%f10,%f11,%f12;", &of(1));
    single_table("mad.rm.f32 %f20,%f10,%f11,%f12;", &of(2));
    single_table("mad.rp.f32 %f20,%f10,%f11,%f12;", &of(3));
}

#[test]
fn quotients_and_roots_of_f32_in_every_rounding() {
    // A third is 0x3eaaaaaa and two thirds of a unit.
    let third = f32::from_bits(0x3eaa_aaaa);
    let quotients = [
        ([1.0, 3.0], [up(third), third, third, up(third)]),
        ([-1.0, 3.0], [-up(third), -third, -up(third), -third]),
        ([6.0, -2.0], [-3.0; 4]),
        ([1.0, 0.0], [INF; 4]),
        ([1.0, -0.0], [-INF; 4]),
        ([0.0, 0.0], [f32::NAN; 4]),
        ([INF, INF], [f32::NAN; 4]),
        ([1.0, -INF], [-0.0; 4]),
        ([MAX, 0.5], [INF, MAX, MAX, INF]),
        ([f32::from_bits(1), 4.0], [0.0, 0.0, 0.0, f32::from_bits(1)]),
    ];
    let of = |i: usize| quotients.map(|([a, b], expected)| ([a, b, 7.0], expected[i]));
    single_table("div.rn.f32 %f20,%f10,%f11;", &of(0));
    single_table("div.rz.f32 %f20,%f10,%f11;", &of(1));
    single_table("div.rm.f32 %f20,%f10,%f11;", &of(2));
    single_table("div.rp.f32 %f20,%f10,%f11;", &of(3));
    let inverses = [
        (3.0, [up(third), third, third, up(third)]),
        (-4.0, [-0.25; 4]),
        (0.0, [INF; 4]),
        (-INF, [-0.0; 4]),
        (f32::from_bits(1), [INF, MAX, MAX, INF]),
    ];
    let of = |i: usize| inverses.map(|(a, expected)| ([a, 7.0, 7.0], expected[i]));
    single_table("rcp.rn.f32 %f20,%f10;", &of(0));
    single_table("rcp.rz.f32 %f20,%f10;", &of(1));
    single_table("rcp.rm.f32 %f20,%f10;", &of(2));
    single_table("rcp.rp.f32 %f20,%f10;", &of(3));
    // √2 is 0x3fb504f3 and a fifth of a unit.
    let root = f32::from_bits(0x3fb5_04f3);
    let roots = [
        (2.0, [root, root, root, up(root)]),
        (9.0, [3.0; 4]),
        (-0.0, [-0.0; 4]),
        (-1.0, [f32::NAN; 4]),
        (INF, [INF; 4]),
    ];
    let of = |i: usize| roots.map(|(a, expected)| ([a, 7.0, 7.0], expected[i]));
    single_table("sqrt.rn.f32 %f20,%f10;", &of(0));
    single_table("sqrt.rz.f32 %f20,%f10;", &of(1));
    single_table("sqrt.rm.f32 %f20,%f10;", &of(2));
    single_table("sqrt.rp.f32 %f20,%f10;", &of(3));
}

#[test]
fn subnormals_are_flushed_where_it_says_so() {
    // Half of the least normal number: a subnormal result.
    let half = LEAST / 2.0;
    single_table("add.ftz.f32 %f20,%f10,%f11;", &[([TINY, TINY, 0.0], 0.0), ([-TINY, -0.0, 0.0], -0.0)]);
    single_table("add.rp.ftz.f32 %f20,%f10,%f11;", &[([1.0, TINY, 0.0], 1.0), ([LEAST, -TINY, 0.0], LEAST)]);
    single_table("add.rm.ftz.f32 %f20,%f10,%f11;", &[([-1.0, -TINY, 0.0], -1.0)]);
    single_table("sub.ftz.f32 %f20,%f10,%f11;", &[([-LEAST, -up(LEAST), 0.0], 0.0), ([LEAST, up(LEAST), 0.0], -0.0)]);
    single_table("sub.rz.ftz.f32 %f20,%f10,%f11;", &[([1.0, TINY, 0.0], 1.0), ([LEAST, up(LEAST), 0.0], -0.0)]);
    single_table("mul.ftz.f32 %f20,%f10,%f11;", &[([LEAST, 0.5, 0.0], 0.0), ([TINY, -MAX, 0.0], -0.0)]);
    single_table("mul.rp.ftz.f32 %f20,%f10,%f11;", &[([LEAST, 0.5, 0.0], 0.0), ([TINY, MAX, 0.0], 0.0)]);
    single_table("fma.rn.ftz.f32 %f20,%f10,%f11,%f12;", &[([TINY, MAX, 1.0], 1.0), ([LEAST, 0.5, 0.0], 0.0)]);
    single_table("fma.rz.ftz.f32 %f20,%f10,%f11,%f12;", &[([1.0, 1.0, -TINY], 1.0), ([LEAST, -0.5, 0.0], -0.0)]);
    single_table("mad.rn.ftz.f32 %f20,%f10,%f11,%f12;", &[([TINY, MAX, 1.0], 1.0)]);
    single_table("div.rn.ftz.f32 %f20,%f10,%f11;", &[([1.0, -TINY, 0.0], -INF), ([LEAST, 2.0, 0.0], 0.0)]);
    single_table("div.rp.ftz.f32 %f20,%f10,%f11;", &[([1.0, TINY, 0.0], INF), ([LEAST, 2.0, 0.0], 0.0)]);
    single_table("rcp.rn.ftz.f32 %f20,%f10;", &[([-TINY, 0.0, 0.0], -INF), ([MAX, 0.0, 0.0], 0.0)]);
    single_table("rcp.rz.ftz.f32 %f20,%f10;", &[([TINY, 0.0, 0.0], INF), ([-MAX, 0.0, 0.0], -0.0)]);
    single_table("sqrt.rn.ftz.f32 %f20,%f10;", &[([TINY, 0.0, 0.0], 0.0), ([-TINY, 0.0, 0.0], -0.0)]);
    single_table("sqrt.rm.ftz.f32 %f20,%f10;", &[([TINY, 0.0, 0.0], 0.0), ([4.0, 0.0, 0.0], 2.0)]);
    single_table("neg.ftz.f32 %f20,%f10;", &[([half, 0.0, 0.0], -0.0), ([-2.0, 0.0, 0.0], 2.0)]);
    single_table("abs.ftz.f32 %f20,%f10;", &[([-half, 0.0, 0.0], 0.0), ([-2.0, 0.0, 0.0], 2.0)]);
    single_table("min.ftz.f32 %f20,%f10,%f11;", &[([TINY, 1.0, 0.0], 0.0), ([-TINY, 0.0, 0.0], -0.0)]);
    single_table("max.ftz.f32 %f20,%f10,%f11;", &[([TINY, -1.0, 0.0], 0.0), ([f32::NAN, -TINY, 0.0], -0.0)]);
    // And not where it does not.
    single_table("add.f32 %f20,%f10,%f11;", &[([half, -0.0, 0.0], half)]);
    single_table("mul.rz.f32 %f20,%f10,%f11;", &[([LEAST, 0.5, 0.0], half)]);
    single_table("abs.f32 %f20,%f10;", &[([-half, 0.0, 0.0], half), ([-0.0, 0.0, 0.0], 0.0), ([-INF, 0.0, 0.0], INF)]);
    single_table("min.f32 %f20,%f10,%f11;", &[([half, 1.0, 0.0], half), ([f32::NAN, 1.0, 0.0], 1.0)]);
}

#[test]
fn results_are_kept_between_zero_and_one() {
    let cases = [([2.0, 3.0], 1.0), ([-2.0, 3.0], 1.0), ([0.25, 0.5], 0.75), ([-3.0, 1.0], 0.0), ([-0.0, -0.0], 0.0)];
    let sums = cases.map(|([a, b], expected)| ([a, b, 0.0], expected));
    single_table("add.sat.f32 %f20,%f10,%f11;", &sums);
    single_table("add.rz.sat.f32 %f20,%f10,%f11;", &sums);
    single_table("add.rm.ftz.sat.f32 %f20,%f10,%f11;", &sums);
    single_table("add.ftz.sat.f32 %f20,%f10,%f11;", &[([INF, -INF, 0.0], 0.0), ([TINY, TINY, 0.0], 0.0)]);
    single_table("sub.sat.f32 %f20,%f10,%f11;", &cases.map(|([a, b], expected)| ([a, -b, 0.0], expected)));
    single_table(
        "mul.sat.f32 %f20,%f10,%f11;",
        &[([2.0, 3.0, 0.0], 1.0), ([-2.0, 3.0, 0.0], 0.0), ([0.5, 0.5, 0.0], 0.25)],
    );
    single_table("mul.rp.sat.f32 %f20,%f10,%f11;", &[([0.0, INF, 0.0], 0.0), ([1.0, up(0.5), 0.0], up(0.5))]);
    single_table(
        "fma.rn.sat.f32 %f20,%f10,%f11,%f12;",
        &[([2.0, 0.25, 0.25], 0.75), ([2.0, 1.0, 1.0], 1.0), ([f32::NAN, 1.0, 1.0], 0.0)],
    );
    single_table("fma.rm.sat.f32 %f20,%f10,%f11,%f12;", &[([1.0, 1.0, -1e-30], down(1.0)), ([2.0, 1.0, 1.0], 1.0)]);
    single_table("mad.rn.sat.f32 %f20,%f10,%f11,%f12;", &[([2.0, 1.0, 1.0], 1.0), ([-2.0, 1.0, 1.0], 0.0)]);
}

#[test]
fn extremes_and_signs_of_f32() {
    const NAN: f32 = f32::NAN;
    let pairs = [[1.0, 2.0], [2.0, 1.0], [-0.0, 0.0], [0.0, -0.0], [NAN, 1.0], [1.0, NAN], [NAN, NAN], [-INF, TINY]];
    let of = |results: [f32; 8]| std::array::from_fn::<_, 8, _>(|i| ([pairs[i][0], pairs[i][1], 7.0], results[i]));
    single_table("min.f32 %f20,%f10,%f11;", &of([1.0, 1.0, -0.0, -0.0, 1.0, 1.0, NAN, -INF]));
    single_table("max.f32 %f20,%f10,%f11;", &of([2.0, 2.0, 0.0, 0.0, 1.0, 1.0, NAN, TINY]));
    single_table("min.NaN.f32 %f20,%f10,%f11;", &of([1.0, 1.0, -0.0, -0.0, NAN, NAN, NAN, -INF]));
    single_table("max.NaN.f32 %f20,%f10,%f11;", &of([2.0, 2.0, 0.0, 0.0, NAN, NAN, NAN, TINY]));
    single_table("max.ftz.NaN.f32 %f20,%f10,%f11;", &of([2.0, 2.0, 0.0, 0.0, NAN, NAN, NAN, 0.0]));
    single_table("neg.f32 %f20,%f10;", &[([0.0, 0.0, 0.0], -0.0), ([-INF, 0.0, 0.0], INF), ([TINY, 0.0, 0.0], -TINY)]);
    // The sign of the first on the value of the second.
    single_table(
        "copysign.f32 %f20,%f10,%f11;",
        &[([-0.0, 3.0, 0.0], -3.0), ([1.0, -INF, 0.0], INF), ([-1.0, 0.0, 0.0], -0.0)],
    );
}

/// Within the error that the manual allows, given relative to the result or as it is.
fn approximates(op: &str, xs: &[f32], exact: impl Fn(f64) -> f64, allowed: impl Fn(f64) -> f64) {
    for xs in xs.chunks(32) {
        let a = std::array::from_fn(|lane| u64::from(xs[lane % xs.len()].to_bits()));
        let got = lanes(&format!("mov.b32 %f10,%r10; {op} mov.b32 %r20,%f20;"), (32, 32), a, a, a);
        for (&x, got) in xs.iter().zip(got) {
            let (got, exact) = (f64::from(f32::from_bits(got as u32)), exact(f64::from(x)));
            assert!((got - exact).abs() <= allowed(exact), "{op} {x:e}: {got:e}, {exact:e}");
        }
    }
}

#[test]
fn approximations_of_f32() {
    let positive: Vec<f32> = (0..64).map(|i| 1.37f32.powi(i - 32) * 1.1).chain([TINY, LEAST, 1e38]).collect();
    let angles: Vec<f32> = (0..64).map(|i| (i as f32 - 32.0) * std::f32::consts::PI / 32.0).collect();
    let units = |units: f64| move |exact: f64| exact.abs() * units * f64::from(f32::EPSILON);
    approximates("rsqrt.approx.f32 %f20,%f10;", &positive, |x| 1.0 / x.sqrt(), |exact| exact * 2f64.powf(-22.9));
    approximates("sqrt.approx.f32 %f20,%f10;", &positive, f64::sqrt, |exact| exact * 2f64.powf(-22.9));
    approximates("rcp.approx.f32 %f20,%f10;", &positive[..64], |x| 1.0 / x, units(1.0));
    approximates("ex2.approx.f32 %f20,%f10;", &angles, f64::exp2, units(2.0));
    approximates("sin.approx.f32 %f20,%f10;", &angles, f64::sin, |_| 2f64.powf(-20.5));
    approximates("cos.approx.f32 %f20,%f10;", &angles, f64::cos, |_| 2f64.powf(-20.5));
    approximates("tanh.approx.f32 %f20,%f10;", &angles, f64::tanh, |exact| exact.abs() * 2f64.powi(-11));
    // Near 1 the error counts as it is, elsewhere it is relative.
    approximates("lg2.approx.f32 %f20,%f10;", &positive, f64::log2, |exact| exact.abs().max(1.0) * 2f64.powi(-22));
    approximates("div.approx.f32 %f20,%f10,0f40400000;", &positive[..64], |x| x / 3.0, units(2.0));
    approximates("div.full.f32 %f20,%f10,0f40400000;", &positive[..64], |x| x / 3.0, units(2.0));
}

#[test]
fn approximations_at_the_ends() {
    const NAN: f32 = f32::NAN;
    let one = |cases: &[(f32, f32)]| cases.iter().map(|&(x, y)| ([x, 7.0, 7.0], y)).collect::<Vec<_>>();
    single_table("rcp.approx.f32 %f20,%f10;", &one(&[(0.0, INF), (-0.0, -INF), (INF, 0.0), (-INF, -0.0), (NAN, NAN)]));
    single_table("rcp.approx.ftz.f32 %f20,%f10;", &one(&[(TINY, INF), (-TINY, -INF), (MAX, 0.0), (2.0, 0.5)]));
    single_table("sqrt.approx.f32 %f20,%f10;", &one(&[(-0.0, -0.0), (-1.0, NAN), (INF, INF), (4.0, 2.0)]));
    single_table("sqrt.approx.ftz.f32 %f20,%f10;", &one(&[(TINY, 0.0), (-TINY, -0.0), (4.0, 2.0)]));
    single_table("rsqrt.approx.f32 %f20,%f10;", &one(&[(0.0, INF), (-0.0, -INF), (INF, 0.0), (-1.0, NAN), (4.0, 0.5)]));
    single_table("rsqrt.approx.ftz.f32 %f20,%f10;", &one(&[(TINY, INF), (-TINY, -INF), (0.25, 2.0)]));
    single_table("sin.approx.f32 %f20,%f10;", &one(&[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (NAN, NAN)]));
    single_table("sin.approx.ftz.f32 %f20,%f10;", &one(&[(TINY, 0.0), (-TINY, -0.0)]));
    single_table("cos.approx.f32 %f20,%f10;", &one(&[(0.0, 1.0), (-0.0, 1.0), (-INF, NAN), (NAN, NAN)]));
    single_table("cos.approx.ftz.f32 %f20,%f10;", &one(&[(TINY, 1.0), (-TINY, 1.0)]));
    single_table("lg2.approx.f32 %f20,%f10;", &one(&[(0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (8.0, 3.0)]));
    single_table("lg2.approx.ftz.f32 %f20,%f10;", &one(&[(TINY, -INF), (-TINY, -INF), (0.5, -1.0)]));
    single_table(
        "ex2.approx.f32 %f20,%f10;",
        &one(&[(-INF, 0.0), (INF, INF), (TINY, 1.0), (NAN, NAN), (-126.0, LEAST)]),
    );
    single_table(
        "ex2.approx.f32 %f20,%f10;",
        &one(&[(-149.0, f32::from_bits(1)), (128.0, INF), (127.0, 2f32.powi(127))]),
    );
    single_table("ex2.approx.ftz.f32 %f20,%f10;", &one(&[(-127.0, 0.0), (-TINY, 1.0), (3.0, 8.0)]));
    single_table("tanh.approx.ftz.f32 %f20,%f10;", &one(&[(TINY, 0.0), (-TINY, -0.0), (INF, 1.0)]));
    single_table("tanh.approx.f32 %f20,%f10;", &one(&[(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN)]));
    single_table(
        "div.full.f32 %f20,%f10,%f11;",
        &[([6.0, 3.0, 0.0], 2.0), ([1.0, 0.0, 0.0], INF), ([0.0, 0.0, 0.0], NAN)],
    );
    single_table("div.full.ftz.f32 %f20,%f10,%f11;", &[([TINY, 1.0, 0.0], 0.0), ([-1.0, TINY, 0.0], -INF)]);
    single_table("div.approx.ftz.f32 %f20,%f10,%f11;", &[([TINY, 1.0, 0.0], 0.0), ([6.0, -3.0, 0.0], -2.0)]);
}

#[test]
fn f64_in_every_rounding() {
    const INF: f64 = f64::INFINITY;
    const MAX: f64 = f64::MAX;
    const LEAST: f64 = f64::MIN_POSITIVE;
    const NAN: f64 = f64::NAN;
    let (up, down, small) = (f64::next_up, f64::next_down, f64::from_bits(1));
    let sums = [
        ([1.0, 1e-30], [1.0, 1.0, 1.0, up(1.0)]),
        ([-1.0, -1e-30], [-1.0, -1.0, down(-1.0), -1.0]),
        ([1.0, -1e-30], [1.0, down(1.0), down(1.0), 1.0]),
        ([1.0, -1.0], [0.0, 0.0, -0.0, 0.0]),
        ([0.0, 0.0], [0.0; 4]),
        ([MAX, MAX], [INF, MAX, MAX, INF]),
        ([-MAX, -MAX], [-INF, -MAX, -INF, -MAX]),
        ([MAX, 1.0], [MAX, MAX, MAX, INF]),
        ([INF, -MAX], [INF; 4]),
        ([INF, -INF], [NAN; 4]),
    ];
    let of = |i: usize| sums.map(|([a, b], expected)| ([a, b, 7.0], expected[i]));
    double_table("add.f64 %fd20,%fd10,%fd11;", &of(0));
    double_table("add.rn.f64 %fd20,%fd10,%fd11;", &of(0));
    double_table("add.rz.f64 %fd20,%fd10,%fd11;", &of(1));
    double_table("add.rm.f64 %fd20,%fd10,%fd11;", &of(2));
    double_table("add.rp.f64 %fd20,%fd10,%fd11;", &of(3));
    let of = |i: usize| sums.map(|([a, b], expected)| ([a, -b, 7.0], expected[i]));
    double_table("sub.f64 %fd20,%fd10,%fd11;", &of(0));
    double_table("sub.rn.f64 %fd20,%fd10,%fd11;", &of(0));
    double_table("sub.rz.f64 %fd20,%fd10,%fd11;", &of(1));
    double_table("sub.rm.f64 %fd20,%fd10,%fd11;", &of(2));
    double_table("sub.rp.f64 %fd20,%fd10,%fd11;", &of(3));
    let unit = |n: u64| f64::from_bits(1f64.to_bits() + n);
    let products = [
        ([unit(2), unit(3)], [unit(5), unit(5), unit(5), unit(6)]),
        ([LEAST, -LEAST], [-0.0, -0.0, -small, -0.0]),
        // One and a half of the smallest number.
        ([small, 1.5], [2.0 * small, small, small, 2.0 * small]),
        ([LEAST * 1.25, 7.0 * f64::EPSILON / 8.0], [small, small, small, 2.0 * small]),
        ([MAX, 2.0], [INF, MAX, MAX, INF]),
        ([0.0, INF], [NAN; 4]),
        ([0.0, -2.0], [-0.0; 4]),
        ([INF, 2.0], [INF; 4]),
    ];
    let of = |i: usize| products.map(|([a, b], expected)| ([a, b, 7.0], expected[i]));
    double_table("mul.f64 %fd20,%fd10,%fd11;", &of(0));
    double_table("mul.rn.f64 %fd20,%fd10,%fd11;", &of(0));
    double_table("mul.rz.f64 %fd20,%fd10,%fd11;", &of(1));
    double_table("mul.rm.f64 %fd20,%fd10,%fd11;", &of(2));
    double_table("mul.rp.f64 %fd20,%fd10,%fd11;", &of(3));
    // A third is 0x3fd5555555555555 and a third of a unit; √2 is 0x3ff6a09e667f3bcc and more than half of one.
    let (third, root) = (f64::from_bits(0x3fd5_5555_5555_5555), f64::from_bits(0x3ff6_a09e_667f_3bcc));
    let quotients = [
        ([1.0, 3.0], [third, third, third, up(third)]),
        ([1.0, -3.0], [-third, -third, down(-third), -third]),
        ([MAX, 0.5], [INF, MAX, MAX, INF]),
        ([1.0, -0.0], [-INF; 4]),
        ([1.0, INF], [0.0; 4]),
        ([0.0, 0.0], [NAN; 4]),
        ([small, 4.0], [0.0, 0.0, 0.0, small]),
        ([3.0 * small, 2.0], [2.0 * small, small, small, 2.0 * small]),
        ([small, 3.0 * small], [third, third, third, up(third)]),
    ];
    let of = |i: usize| quotients.map(|([a, b], expected)| ([a, b, 7.0], expected[i]));
    double_table("div.rn.f64 %fd20,%fd10,%fd11;", &of(0));
    double_table("div.rz.f64 %fd20,%fd10,%fd11;", &of(1));
    double_table("div.rm.f64 %fd20,%fd10,%fd11;", &of(2));
    double_table("div.rp.f64 %fd20,%fd10,%fd11;", &of(3));
    let inverses =
        [(3.0, [third, third, third, up(third)]), (small, [INF, MAX, MAX, INF]), (0.0, [INF; 4]), (-INF, [-0.0; 4])];
    let of = |i: usize| inverses.map(|(a, expected)| ([a, 7.0, 7.0], expected[i]));
    double_table("rcp.rn.f64 %fd20,%fd10;", &of(0));
    double_table("rcp.rz.f64 %fd20,%fd10;", &of(1));
    double_table("rcp.rm.f64 %fd20,%fd10;", &of(2));
    double_table("rcp.rp.f64 %fd20,%fd10;", &of(3));
    // The root of 2⁻¹⁰⁷³ is that of 2, far down.
    let low = f64::from_bits((1023 - 537) << 52);
    let roots = [
        (2.0, [up(root), root, root, up(root)]),
        (2.0 * small, [up(root) * low, root * low, root * low, up(root) * low]),
        (-0.0, [-0.0; 4]),
        (-1.0, [NAN; 4]),
        (INF, [INF; 4]),
    ];
    let of = |i: usize| roots.map(|(a, expected)| ([a, 7.0, 7.0], expected[i]));
    double_table("sqrt.rn.f64 %fd20,%fd10;", &of(0));
    double_table("sqrt.rz.f64 %fd20,%fd10;", &of(1));
    double_table("sqrt.rm.f64 %fd20,%fd10;", &of(2));
    double_table("sqrt.rp.f64 %fd20,%fd10;", &of(3));
}

#[test]
fn f64_otherwise() {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    let tiny = f64::MIN_POSITIVE / 4.0;
    let square = f64::EPSILON * f64::EPSILON;
    let fused = [
        ([1.0f64.next_up(), 1.0f64.next_up(), -(1.0 + 2.0 * f64::EPSILON)], square),
        ([INF, 0.0, 1.0], NAN),
        ([2.0, 3.0, -6.0], 0.0),
    ];
    double_table("fma.rn.f64 %fd20,%fd10,%fd11,%fd12;", &fused);
    double_table("mad.rn.f64 %fd20,%fd10,%fd11,%fd12;", &fused);
    double_table("neg.f64 %fd20,%fd10;", &[([0.0; 3], -0.0), ([-INF, 0.0, 0.0], INF), ([tiny, 0.0, 0.0], -tiny)]);
    double_table("abs.f64 %fd20,%fd10;", &[([-0.0; 3], 0.0), ([-INF, 0.0, 0.0], INF), ([-tiny, 0.0, 0.0], tiny)]);
    double_table("copysign.f64 %fd20,%fd10,%fd11;", &[([-0.0, 3.0, 0.0], -3.0), ([1.0, -INF, 0.0], INF)]);
    let pairs = [[1.0, 2.0], [2.0, 1.0], [-0.0, 0.0], [0.0, -0.0], [NAN, 1.0], [1.0, NAN], [NAN, NAN]];
    let of = |results: [f64; 7]| std::array::from_fn::<_, 7, _>(|i| ([pairs[i][0], pairs[i][1], 7.0], results[i]));
    double_table("min.f64 %fd20,%fd10,%fd11;", &of([1.0, 1.0, -0.0, -0.0, 1.0, 1.0, NAN]));
    double_table("max.f64 %fd20,%fd10,%fd11;", &of([2.0, 2.0, 0.0, 0.0, 1.0, 1.0, NAN]));
    let one = |cases: &[(f64, f64)]| cases.iter().map(|&(x, y)| ([x, 7.0, 7.0], y)).collect::<Vec<_>>();
    double_table(
        "rcp.approx.ftz.f64 %fd20,%fd10;",
        &one(&[(4.0, 0.25), (tiny, INF), (-tiny, -INF), (f64::MAX, 0.0), (-0.0, -INF)]),
    );
    double_table(
        "rsqrt.approx.f64 %fd20,%fd10;",
        &one(&[(4.0, 0.5), (0.0, INF), (-1.0, NAN), (INF, 0.0), (-0.0, -INF)]),
    );
    double_table("rsqrt.approx.ftz.f64 %fd20,%fd10;", &one(&[(0.25, 2.0), (tiny, INF), (-tiny, -INF)]));
}

#[test]
fn what_has_no_such_mode_is_refused() {
    for op in [
        "sqrt.rn.sat.f32 %f1,%f2;",
        "copysign.ftz.f32 %f1,%f2,%f3;",
        "fma.rz.f64 %fd1,%fd2,%fd3,%fd4;",
        "add.relu.f16 %h1,%h2,%h3;",
    ] {
        let text = super::harness::kernel(op);
        assert!(crate::decode::Module::parse(&text).unwrap_err().what.contains("not known"), "{op}");
    }
    singles("mov.b32 %f10,%r10; add.f32 %f20,%f10,0f80000000; mov.b32 %r20,%f20;", |a, _, _| a);
}
