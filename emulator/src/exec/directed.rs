//! Arithmetic rounded in a direction.

use super::float::{Mode, flush, moded, round_to_odd, saturate};
use super::lanes::{Alu, rare};
use super::narrow::{Format, Rounding};

/// An operation of f32.
pub(super) fn single(name: &str, direction: &str, mode: Mode) -> Option<Alu> {
    macro_rules! towards {
        ($rounding:expr) => {
            match name {
                "add" => moded!(@ rare, mode, |a, b| short(sum(f64::from(a), f64::from(b), $rounding), $rounding)),
                "sub" => moded!(@ rare, mode, |a, b| short(sum(f64::from(a), -f64::from(b), $rounding), $rounding)),
                "mul" => moded!(@ rare, mode, |a, b| short(f64::from(a) * f64::from(b), $rounding)),
                "fma" | "mad" => moded!(@ rare, mode, |a, b, c| {
                    short(sum(f64::from(a) * f64::from(b), f64::from(c), $rounding), $rounding)
                }),
                "div" => moded!(@ rare, mode, |a, b| short(quotient(f64::from(a), f64::from(b)), $rounding)),
                "rcp" => moded!(@ rare, mode, |a| short(quotient(1.0, f64::from(a)), $rounding)),
                "sqrt" => moded!(@ rare, mode, |a| short(root(f64::from(a)), $rounding)),
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
                "add" => rare!(f64, f64 => f64, |a, b| sum_towards(a, b, $rounding)),
                "sub" => rare!(f64, f64 => f64, |a, b| sum_towards(a, -b, $rounding)),
                "mul" => rare!(f64, f64 => f64, |a, b| {
                    let near = a * b;
                    turn(near, product_error(a, b, near), a.is_finite() && b.is_finite(), $rounding)
                }),
                "div" => rare!(f64, f64 => f64, |a, b| quotient_towards(a, b, $rounding)),
                "rcp" => rare!(f64 => f64, |a| quotient_towards(1.0, a, $rounding)),
                "sqrt" => rare!(f64 => f64, |a| turn(a.sqrt(), root_error(a, a.sqrt()), a.is_finite(), $rounding)),
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

/// Below this, what a product or a quotient lacks may be too small for an f64 unless it is scaled up.
const TINY: f64 = 1e-250;

fn two_to(power: i32) -> f64 {
    f64::from_bits(((1023 + power) as u64) << 52)
}

/// An exact or oddly rounded value as an f32.
fn short(x: f64, rounding: Rounding) -> f32 {
    f32::from_bits(Format::F32.round(x, rounding))
}

/// Whether a sum is the zero that is negative when rounding down.
fn vanishes(a: f64, b: f64, rounding: Rounding) -> bool {
    a + b == 0.0 && rounding == Rounding::Down && (a.is_sign_negative() || b.is_sign_negative())
}

/// A sum rounded to odd.
fn sum(a: f64, b: f64, rounding: Rounding) -> f64 {
    if vanishes(a, b, rounding) { -0.0 } else { round_to_odd(a, b, a + b) }
}

fn sum_towards(a: f64, b: f64, rounding: Rounding) -> f64 {
    if vanishes(a, b, rounding) {
        return -0.0;
    }
    turn(a + b, sum_error(a, b, a + b), a.is_finite() && b.is_finite(), rounding)
}

fn sum_error(a: f64, b: f64, sum: f64) -> f64 {
    let back = sum - a;
    (a - (sum - back)) + (b - back)
}

/// What a product lacks, or a number of its sign.
fn product_error(a: f64, b: f64, near: f64) -> f64 {
    if near.abs() > TINY || a == 0.0 || b == 0.0 {
        return a.mul_add(b, -near);
    }
    if near == 0.0 {
        return a.signum() * b.signum();
    }
    let (small, large) = if a.abs() < b.abs() { (a, b) } else { (b, a) };
    (small * two_to(600)).mul_add(large, -near * two_to(600))
}

fn quotient_towards(a: f64, b: f64, rounding: Rounding) -> f64 {
    turn(a / b, rest(a, b, a / b), a.is_finite() && b != 0.0, rounding)
}

/// What is left of `a` after `near · b`, or a number of its sign, with the sign that the quotient's error has.
fn rest(a: f64, b: f64, near: f64) -> f64 {
    let (mut scaled, mut divisor, mut quotient) = (a, b, near);
    if a.abs() < TINY {
        scaled *= two_to(300);
        if near.abs() < 1.0 { quotient *= two_to(300) } else { divisor *= two_to(300) }
    }
    let rest = -quotient.mul_add(divisor, -scaled);
    if b < 0.0 { -rest } else { rest }
}

/// What a root's square lacks, or a number of its sign.
fn root_error(a: f64, near: f64) -> f64 {
    let (a, near) = if a.abs() < TINY { (a * two_to(200), near * two_to(100)) } else { (a, near) };
    -near.mul_add(near, -a)
}

fn quotient(a: f64, b: f64) -> f64 {
    odd(a / b, rest(a, b, a / b))
}

fn root(a: f64) -> f64 {
    odd(a.sqrt(), root_error(a, a.sqrt()))
}

/// A rounded value, its last bit set if it has an error.
fn odd(near: f64, error: f64) -> f64 {
    if error == 0.0 || !error.is_finite() || !near.is_finite() || near.to_bits() & 1 == 1 {
        return near;
    }
    if error > 0.0 { near.next_up() } else { near.next_down() }
}

/// A value rounded to nearest, turned in a direction by its error. `bounded`: the exact value is no infinity.
fn turn(near: f64, error: f64, bounded: bool, rounding: Rounding) -> f64 {
    if near.is_infinite() && bounded {
        let stays = if near > 0.0 { rounding != Rounding::Up } else { rounding != Rounding::Down };
        return if stays { f64::MAX.copysign(near) } else { near };
    }
    if error == 0.0 || !error.is_finite() || !near.is_finite() {
        return near;
    }
    match rounding {
        Rounding::Zero if near != 0.0 && (error < 0.0) == (near > 0.0) => f64::from_bits(near.to_bits() - 1),
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
            let (below, above) = (quotient_towards(a, b, Rounding::Down), quotient_towards(a, b, Rounding::Up));
            assert!(below.mul_add(b, -a) <= 0.0 && above.mul_add(b, -a) >= 0.0);
        }
        assert_eq!(sum_towards(1.0, 1e-30, Rounding::Up), 1f64.next_up());
        assert_eq!(short(sum(1.0, -1e-30, Rounding::Zero), Rounding::Zero), 1f32.next_down());
    }
}
