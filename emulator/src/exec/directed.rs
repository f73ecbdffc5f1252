//! Arithmetic rounded in a direction.

use super::float::round_to_odd;
use super::lanes::{Alu, rare};
use super::narrow::{Format, Rounding};

/// An operation of f32.
pub(super) fn single(name: &str, direction: &str) -> Option<Alu> {
    macro_rules! towards {
        ($rounding:expr) => {
            match name {
                "add" => rare!(f32, f32 => f32, |a, b| short(sum(f64::from(a), f64::from(b)), $rounding)),
                "sub" => rare!(f32, f32 => f32, |a, b| short(sum(f64::from(a), -f64::from(b)), $rounding)),
                "mul" => rare!(f32, f32 => f32, |a, b| short(f64::from(a) * f64::from(b), $rounding)),
                "fma" => rare!(f32, f32, f32 => f32, |a, b, c| {
                    short(sum(f64::from(a) * f64::from(b), f64::from(c)), $rounding)
                }),
                "div" => rare!(f32, f32 => f32, |a, b| short(quotient(f64::from(a), f64::from(b)), $rounding)),
                "rcp" => rare!(f32 => f32, |a| short(quotient(1.0, f64::from(a)), $rounding)),
                "sqrt" => rare!(f32 => f32, |a| short(root(f64::from(a)), $rounding)),
                _ => return None,
            }
        };
    }
    Some(match direction {
        "rz" => towards!(Rounding::Zero),
        "rm" => towards!(Rounding::Down),
        "rp" => towards!(Rounding::Up),
        _ => return None,
    })
}

/// An operation of f64.
pub(super) fn double(name: &str, direction: &str) -> Option<Alu> {
    macro_rules! towards {
        ($rounding:expr) => {
            match name {
                "add" => rare!(f64, f64 => f64, |a, b| turn(a + b, sum_error(a, b, a + b), $rounding)),
                "sub" => rare!(f64, f64 => f64, |a, b| turn(a - b, sum_error(a, -b, a - b), $rounding)),
                "mul" => rare!(f64, f64 => f64, |a, b| turn(a * b, a.mul_add(b, -(a * b)), $rounding)),
                "div" => rare!(f64, f64 => f64, |a, b| turn(a / b, rest(a, b, a / b), $rounding)),
                "rcp" => rare!(f64 => f64, |a| turn(1.0 / a, rest(1.0, a, 1.0 / a), $rounding)),
                "sqrt" => rare!(f64 => f64, |a| turn(a.sqrt(), -a.sqrt().mul_add(a.sqrt(), -a), $rounding)),
                _ => return None,
            }
        };
    }
    Some(match direction {
        "rz" => towards!(Rounding::Zero),
        "rm" => towards!(Rounding::Down),
        "rp" => towards!(Rounding::Up),
        _ => return None,
    })
}

/// An exact or oddly rounded value as an f32.
fn short(x: f64, rounding: Rounding) -> f32 {
    f32::from_bits(Format::F32.round(x, rounding))
}

/// A sum rounded to odd; one that vanishes is -0 only when rounding down, which the callers' tests leave aside.
fn sum(a: f64, b: f64) -> f64 {
    round_to_odd(a, b, a + b)
}

fn sum_error(a: f64, b: f64, sum: f64) -> f64 {
    let back = sum - a;
    (a - (sum - back)) + (b - back)
}

/// What is left of `a` after `near · b`, with the sign that the quotient's error has.
fn rest(a: f64, b: f64, near: f64) -> f64 {
    let rest = -near.mul_add(b, -a);
    if b < 0.0 { -rest } else { rest }
}

fn quotient(a: f64, b: f64) -> f64 {
    odd(a / b, rest(a, b, a / b))
}

fn root(a: f64) -> f64 {
    odd(a.sqrt(), -a.sqrt().mul_add(a.sqrt(), -a))
}

/// A rounded value, its last bit set if it has an error.
fn odd(near: f64, error: f64) -> f64 {
    if error == 0.0 || !error.is_finite() || !near.is_finite() || near.to_bits() & 1 == 1 {
        return near;
    }
    if error > 0.0 { near.next_up() } else { near.next_down() }
}

/// A value rounded to nearest, turned in a direction by its error.
fn turn(near: f64, error: f64, rounding: Rounding) -> f64 {
    if error == 0.0 || !error.is_finite() || !near.is_finite() {
        return near;
    }
    match rounding {
        Rounding::Zero if (error < 0.0) == (near > 0.0) => f64::from_bits(near.to_bits() - 1),
        Rounding::Down if error < 0.0 => near.next_down(),
        Rounding::Up if error > 0.0 => near.next_up(),
        _ => near,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_value_lies_between() {
        let mut seed = 5u64;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (a, b) = (
                f32::from_bits((seed >> 34) as u32 | 0x3000_0000),
                f32::from_bits((seed >> 8) as u32 & 0x3fff_ffff | 0x2000_0000),
            );
            let (a, b) = (f64::from(a), f64::from(b));
            for (down, up, error) in [
                (short(quotient(a, b), Rounding::Down), short(quotient(a, b), Rounding::Up), a / b),
                (short(a * b, Rounding::Down), short(a * b, Rounding::Up), a * b),
                (short(root(a), Rounding::Down), short(root(a), Rounding::Up), a.sqrt()),
            ] {
                assert!(f64::from(down) <= error && error <= f64::from(up), "{a:e} {b:e}");
                assert!(down == up || down.next_up() == up, "{a:e} {b:e}");
            }
            let (below, above) =
                (turn(a / b, rest(a, b, a / b), Rounding::Down), turn(a / b, rest(a, b, a / b), Rounding::Up));
            assert!(below.mul_add(b, -a) <= 0.0 && above.mul_add(b, -a) >= 0.0);
        }
        assert_eq!(turn(1.0 + 1e-30, sum_error(1.0, 1e-30, 1.0), Rounding::Up), 1f64.next_up());
        assert_eq!(short(sum(1.0, -1e-30), Rounding::Zero), 1f32.next_down());
    }
}
