//! What the compiler makes of CUDA's operators and intrinsics, against the host's own arithmetic.

mod common;

use common::{numbers, rows};
use half::{bf16, f16};

/// Pairs worth trying: each value against each.
fn pairs<T: Copy>(values: &[T]) -> (Vec<T>, Vec<T>) {
    let all = |pick: fn(T, T) -> T| values.iter().flat_map(|&a| values.iter().map(move |&b| pick(a, b))).collect();
    (all(|a, _| a), all(|_, b| b))
}

/// Byte `selector` of the eight bytes of two words.
fn byte_perm(x: u32, y: u32, selector: u32) -> u32 {
    let bytes = (u64::from(y) << 32 | u64::from(x)).to_le_bytes();
    (0..4).map(|i| u32::from(bytes[(selector >> (4 * i) & 7) as usize]) << (8 * i)).sum()
}

fn integer_row(x: i32, y: i32) -> [i32; 32] {
    let (u, v) = (x as u32, y as u32);
    let divides = y != 0 && !(x == i32::MIN && y == -1);
    let swapped = u64::from(v) << 32 | u64::from(u);
    let bytes = |x: i32| x.to_le_bytes().map(|byte| i32::from(byte as i8));
    let dot = bytes(x).iter().zip(bytes(y)).map(|(a, b)| a * b).sum::<i32>();
    let unsigned_dot =
        u.to_le_bytes().iter().zip(v.to_le_bytes()).map(|(a, b)| u32::from(*a) * u32::from(b)).sum::<u32>();
    let added: Vec<u8> = u.to_le_bytes().iter().zip(v.to_le_bytes()).map(|(a, b)| a.wrapping_add(b)).collect();
    let low24 = |x: i32| x << 8 >> 8;
    [
        x.wrapping_add(y),
        x.wrapping_sub(y),
        x.wrapping_mul(y),
        if divides { x / y } else { 0 },
        if divides { x % y } else { 0 },
        u.checked_div(v).unwrap_or(0) as i32,
        u.checked_rem(v).unwrap_or(0) as i32,
        x << (y & 31),
        x >> (y & 31),
        (u >> (y & 31)) as i32,
        x.count_ones() as i32,
        x.leading_zeros() as i32,
        u.reverse_bits() as i32,
        if x == 0 { 0 } else { x.trailing_zeros() as i32 + 1 },
        byte_perm(u, v, 0x3614) as i32,
        (swapped << (y & 31) >> 32) as i32,
        (swapped >> (y & 31)) as i32,
        ((i64::from(x) * i64::from(y)) >> 32) as i32,
        ((u64::from(u) * u64::from(v)) >> 32) as i32,
        (i64::from(x) - i64::from(y)).unsigned_abs().wrapping_add(7) as i32,
        u.abs_diff(v).wrapping_add(7) as i32,
        x.min(y),
        u.max(v) as i32,
        x.wrapping_abs(),
        dot + 5,
        (unsigned_dot + 5) as i32,
        i32::from_le_bytes(added.try_into().unwrap()),
        x & !y | (x ^ 0x55),
        i32::from(x as i8) + i32::from(y as u16),
        low24(x).wrapping_mul(low24(y)),
        ((u64::from(u) + u64::from(v)) >> 1) as i32,
        if x < y {
            x
        } else if u < v {
            17
        } else {
            y
        },
    ]
}

#[test]
fn integers() {
    let values = [0, 1, -1, 2, 7, -13, 31, 32, 255, 65_536, 123_456_789, -987_654_321, i32::MAX, i32::MIN, 0x0f0f_1234];
    let (a, b) = pairs(&values);
    let got: Vec<i32> = rows(("integers", "integers"), &a, Some(&b), 32);
    for (row, (&x, &y)) in got.chunks(32).zip(a.iter().zip(&b)) {
        assert_eq!(row, integer_row(x, y), "{x}, {y}");
    }
}

#[test]
fn wide_integers() {
    let values = [0, 1, -1, 3, 64, -1_000_003, 1 << 40, -(1 << 52) + 7, i64::MAX, i64::MIN, 0x0123_4567_89ab_cdef];
    let (a, b) = pairs(&values);
    let got: Vec<i64> = rows(("integers", "wides"), &a, Some(&b), 12);
    for (row, (&x, &y)) in got.chunks(12).zip(a.iter().zip(&b)) {
        let (u, v) = (x as u64, y as u64);
        let wanted = [
            x.wrapping_add(y),
            x.wrapping_mul(y),
            if y != 0 && !(x == i64::MIN && y == -1) { x / y } else { 0 },
            u.checked_rem(v).unwrap_or(0) as i64,
            ((i128::from(x) * i128::from(y)) >> 64) as i64,
            ((u128::from(u) * u128::from(v)) >> 64) as i64,
            x >> (y & 63),
            i64::from(x.count_ones()),
            i64::from(x.leading_zeros()),
            u.reverse_bits() as i64,
            x.min(y),
            (i64::from(x as i32) * i64::from(y as i32))
                .wrapping_add((u64::from(x as u32) * u64::from(y as u32)) as i64),
        ];
        assert_eq!(row, wanted, "{x}, {y}");
    }
}

/// What a sum in f32 leaves out, exactly.
fn left_out(x: f32, y: f32) -> f32 {
    let sum = x + y;
    let part = sum - x;
    (x - (sum - part)) + (y - part)
}

/// A sum rounded towards zero.
fn sum_towards_zero(x: f32, y: f32) -> f32 {
    let (sum, rest) = (x + y, left_out(x, y));
    match sum > 0.0 {
        true if rest < 0.0 => sum.next_down(),
        false if rest > 0.0 && sum != 0.0 => sum.next_up(),
        _ => sum,
    }
}

/// A product rounded up; f64 holds it exactly.
fn product_up(x: f32, y: f32) -> f32 {
    let (near, exact) = (x * y, f64::from(x) * f64::from(y));
    if f64::from(near) < exact { near.next_up() } else { near }
}

#[test]
fn floats_round_as_their_names_say() {
    let values = [0.0f32, -0.0, 1.0, -1.5, 2.5, 0.1, -3.7, 1e-3, 123_456.79, 8_388_609.0, -1e7, f32::MIN_POSITIVE];
    let (a, b) = pairs(&values);
    let got: Vec<f32> = rows(("floats", "rounded"), &a, Some(&b), 24);
    for (row, (&x, &y)) in got.chunks(24).zip(a.iter().zip(&b)) {
        let wanted = [
            x + y,
            x - y,
            x * y,
            x.mul_add(y, 0.1),
            x / y,
            x.abs().sqrt(),
            1.0 / x,
            x.min(y),
            x.max(y),
            x.floor(),
            x.ceil(),
            x.trunc(),
            x.round_ties_even(),
            x.round(),
            x.copysign(y),
            x.round_ties_even() as i32 as f32,
            x as i32 as f32,
            x as u32 as f32,
            x.to_bits() as i32 as f32,
            x.clamp(0.0, 1.0),
            (f64::from(x) * f64::from(y)) as f32,
            sum_towards_zero(x, y),
            product_up(x, y),
            if x.is_sign_negative() { 2.0 } else { 3.0 },
        ];
        for (index, (got, wanted)) in row.iter().zip(wanted).enumerate() {
            let same = got.to_bits() == wanted.to_bits() || (got.is_nan() && wanted.is_nan());
            // Which zero is smaller is left open.
            assert!(same || (*got == 0.0 && wanted == 0.0), "result {index} of {x}, {y}: {got}, wanted {wanted}");
        }
    }
}

#[test]
fn functions_are_as_close_as_the_manual_says() {
    let values: Vec<f32> = numbers(200, 7).iter().map(|v| v.abs() * 3.0 + 0.01).collect();
    let got: Vec<f32> = rows(("floats", "functions"), &values, None, 16);
    for (row, &x) in got.chunks(16).zip(&values) {
        let wide = f64::from(x);
        let erf = erf(wide);
        let checks = [
            ("__expf", wide.exp(), 4e-7),
            ("__logf", wide.ln(), 4e-7),
            ("__sinf", wide.sin(), 5e-7),
            ("__cosf", wide.cos(), 5e-7),
            ("rsqrtf", wide.sqrt().recip(), 3e-7),
            ("__fdividef", wide.recip(), 3e-7),
            // Two to the minus eleventh, relative.
            ("tanh.approx", wide.tanh(), 5e-4),
            ("exp2f", wide.exp2(), 3e-7),
            ("expf", wide.exp(), 2e-7),
            ("logf", wide.ln(), 2e-7),
            ("sinf", wide.sin(), 2e-7),
            ("tanhf", wide.tanh(), 2e-7),
            ("erff", erf, 3e-7),
            ("powf", wide.powf(1.5), 4e-7),
            ("log1pf", wide.ln_1p(), 2e-7),
            ("cbrtf", wide.cbrt(), 2e-7),
        ];
        for ((name, wanted, tolerance), got) in checks.into_iter().zip(row) {
            let error = (f64::from(*got) - wanted).abs();
            assert!(error <= tolerance * wanted.abs().max(1.0), "{name}({x}) = {got}, wanted {wanted}");
        }
    }
}

/// The error function by its power series, which converges fast enough below 4.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn doubles() {
    let values = [0.0f64, 1.0, -2.5, 0.1, 3.7e5, -1e-9, 40.0];
    let (a, b) = pairs(&values);
    let got: Vec<f64> = rows(("floats", "doubles"), &a, Some(&b), 8);
    for (row, (&x, &y)) in got.chunks(8).zip(a.iter().zip(&b)) {
        let wanted = [x + y, x * y, x.mul_add(y, 0.1), x / y, x.abs().sqrt(), x.exp(), x as i64 as f64, x.min(y)];
        for (index, (got, wanted)) in row.iter().zip(wanted).enumerate() {
            let tolerance = if index == 5 { 4e-16 * wanted } else { 0.0 };
            let same = (got - wanted).abs() <= tolerance || *got == wanted || (got.is_nan() && wanted.is_nan());
            assert!(same, "result {index} of {x}, {y}: {got}, wanted {wanted}");
        }
    }
}

#[test]
fn half_precision() {
    let values = [0.0f32, 1.0, -1.5, 0.1, 3.140_625, -100.7, 1e-4, 65_000.0, 1.0009766];
    let (a, b) = pairs(&values);
    let got: Vec<u16> = rows(("floats", "halves"), &a, Some(&b), 12);
    for (row, (&x, &y)) in got.chunks(12).zip(a.iter().zip(&b)) {
        let (p, q) = (f16::from_f32(x).to_f64(), f16::from_f32(y).to_f64());
        let (u, v) = (bf16::from_f32(x).to_f64(), bf16::from_f32(y).to_f64());
        // f64 holds these products and sums exactly, so that each is rounded once.
        let half = |value: f64| f16::from_f64(value).to_bits();
        let brain = |value: f64| bf16::from_f64(value).to_bits();
        let wanted = [
            half(p),
            half(p + q),
            half(p * q),
            half(p.mul_add(q, p)),
            brain(u),
            brain(u.mul_add(v, u)),
            brain(u.max(v)),
            half(p.mul_add(q, p)),
            half(q.mul_add(p, q)),
            brain(u.mul_add(v, u)),
            brain(v.mul_add(u, u)),
            brain(v),
        ];
        assert_eq!(row, wanted, "{x}, {y}");
    }
}
