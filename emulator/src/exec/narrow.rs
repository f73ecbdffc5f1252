//! Numbers of few bits: how f64 is rounded to them, and how they are read.

/// A binary floating-point format of at most 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    F16,
    BF16,
    /// 19 bits, at the top of 32.
    TF32,
    F32,
}

/// Which way a number between two others goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To the nearer, to the even one if both are as near.
    Nearest,
    /// To the nearer, away from zero if both are as near.
    NearestAway,
    Zero,
    Down,
    Up,
}

impl Format {
    /// Bits of the fraction and of the exponent.
    const fn bits(self) -> (u32, u32) {
        match self {
            Format::F16 => (10, 5),
            Format::BF16 => (7, 8),
            Format::TF32 => (10, 8),
            Format::F32 => (23, 8),
        }
    }

    /// The smallest number that has all its bits.
    pub const fn smallest_normal(self) -> f64 {
        match self {
            Format::F16 => 6.103_515_625e-5,
            _ => f32::MIN_POSITIVE as f64,
        }
    }

    /// The largest number.
    pub fn largest(self) -> f64 {
        let (fraction, exponent) = self.bits();
        widen(self.place((((1 << exponent) - 1) << fraction) - 1), self)
    }

    /// Rounded to nearest, ties to even.
    #[inline(always)]
    pub fn nearest(self, x: f64) -> u32 {
        self.round(x, Rounding::Nearest)
    }

    /// The bits of `x` in this format. TF32 stays at the top of its 32 bits.
    #[inline(always)]
    pub fn round(self, x: f64, rounding: Rounding) -> u32 {
        let (fraction, exponent) = self.bits();
        let bits = x.to_bits();
        let sign = (bits >> 63) as u32;
        let top = (1u32 << exponent) - 1;
        let magnitude = if x.is_nan() {
            // The canonical NaN has all bits below the sign set.
            return self.place((1 << (fraction + exponent)) - 1);
        } else {
            round_magnitude(bits & !(1 << 63), sign, fraction, exponent, rounding)
        };
        // Over the top: infinity, or the largest number where rounding goes the other way.
        let infinite = top << fraction;
        let stays = match rounding {
            Rounding::Nearest | Rounding::NearestAway => false,
            Rounding::Zero => true,
            Rounding::Down => sign == 0,
            Rounding::Up => sign == 1,
        };
        let magnitude = if magnitude >= infinite {
            if stays && x.is_finite() { infinite - 1 } else { infinite }
        } else {
            magnitude
        };
        self.place(sign << (fraction + exponent) | magnitude)
    }

    fn place(self, bits: u32) -> u32 {
        if self == Format::TF32 { bits << 13 } else { bits }
    }
}

/// The fraction and exponent of a rounded magnitude; what overflows runs on into the exponent, as it should.
#[inline(always)]
fn round_magnitude(bits: u64, sign: u32, fraction: u32, exponent: u32, rounding: Rounding) -> u32 {
    let bias = (1i64 << (exponent - 1)) - 1;
    let power = (bits >> 52) as i64 - 1023;
    if power > bias {
        return u32::MAX >> 1;
    }
    // Below the smallest exponent the leading one is written out, further and further down.
    let subnormal = (1 - bias - power).max(0);
    let drop = (52 - i64::from(fraction) + subnormal).min(63) as u32;
    let whole = if bits >> 52 == 0 { bits & ((1 << 52) - 1) } else { (bits & ((1 << 52) - 1)) | 1 << 52 };
    let kept = whole >> drop;
    let lost = whole & ((1 << drop) - 1);
    let half = 1u64 << (drop - 1);
    let up = match rounding {
        Rounding::Nearest => lost > half || (lost == half && kept & 1 == 1),
        Rounding::NearestAway => lost >= half,
        Rounding::Zero => false,
        Rounding::Down => sign == 1 && lost > 0,
        Rounding::Up => sign == 0 && lost > 0,
    };
    let base = if subnormal > 0 { 0 } else { ((power + bias - 1).max(0) as u64) << fraction };
    (base + kept + u64::from(up)) as u32
}

/// A number of a format.
#[inline(always)]
pub(crate) fn widen(bits: u32, format: Format) -> f64 {
    match format {
        Format::F16 => f64::from(widen_f16(bits as u16)),
        Format::BF16 => f64::from(f32::from_bits(bits << 16)),
        Format::TF32 => f64::from(f32::from_bits(bits & !0x1fff)),
        Format::F32 => f64::from(f32::from_bits(bits)),
    }
}

/// An f16 as an f32, which holds it exactly.
#[inline(always)]
pub(crate) fn widen_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    // The exponent moved over is 112 too small; a multiplication puts it right, for subnormals as well.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let special = f32::from_bits(0x7f80_0000 | magnitude << 13);
    let value = if magnitude >= 0x7c00 { special } else { scaled };
    f32::from_bits(value.to_bits() | sign)
}

/// An f32 as the nearest bf16, ties to even.
#[inline(always)]
pub(crate) fn nearest_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() { 0x7fff } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest by trying the neighbours, with no trick.
    fn slow(x: f64, format: Format, rounding: Rounding) -> Vec<u32> {
        let (fraction, exponent) = format.bits();
        let all = 0..(1u32 << (fraction + exponent)) - (1 << fraction);
        let candidates = all.flat_map(|m| [m, m | 1 << (fraction + exponent)]);
        let mut best: Vec<(f64, u32)> = Vec::new();
        for bits in candidates {
            let value = widen(bits, format);
            let allowed = match rounding {
                Rounding::Zero => value.abs() <= x.abs(),
                Rounding::Down => value <= x,
                Rounding::Up => value >= x,
                _ => true,
            };
            if allowed {
                best.push(((value - x).abs(), bits));
            }
        }
        let least = best.iter().map(|&(d, _)| d).fold(f64::INFINITY, f64::min);
        best.into_iter().filter(|&(d, _)| d == least).map(|(_, bits)| bits).collect()
    }

    #[test]
    fn rounding_is_the_search_through_all_numbers() {
        let mut seed = 1u64;
        for format in [Format::F16, Format::BF16] {
            for round in 0..60 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let bits = (seed >> 33) as u32;
                let near = widen(bits & 0x7bff, format);
                let x = near * (1.0 + f64::from(round - 30) * 1e-4) * if bits & 1 == 0 { 1.0 } else { -1.0 };
                for rounding in [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up] {
                    let got = format.round(x, rounding);
                    let fine = slow(x, format, rounding);
                    assert!(
                        fine.contains(&got) || widen(got, format) == x,
                        "{x} {format:?} {rounding:?}: {got:#x} {fine:x?}"
                    );
                }
            }
        }
    }

    #[test]
    fn ties_overflow_and_the_ends() {
        assert_eq!(Format::BF16.nearest(1.0 + 1.0 / 256.0), 0x3f80);
        assert_eq!(Format::BF16.nearest(1.0 + 3.0 / 256.0), 0x3f82);
        assert_eq!(Format::BF16.round(1.0 + 1.0 / 256.0, Rounding::NearestAway), 0x3f81);
        assert_eq!(Format::F16.nearest(65519.9), 0x7bff);
        assert_eq!(Format::F16.nearest(65520.0), 0x7c00);
        assert_eq!(Format::F16.round(1e9, Rounding::Zero), 0x7bff);
        assert_eq!(Format::F16.nearest(-1e9), 0xfc00);
        assert_eq!(Format::F16.nearest(f64::INFINITY), 0x7c00);
        assert_eq!(Format::F16.round(f64::INFINITY, Rounding::Zero), 0x7c00);
        assert_eq!(Format::F16.nearest(f64::NAN), 0x7fff);
        assert_eq!(Format::F16.nearest(2f64.powi(-25)), 0);
        assert_eq!(Format::F16.nearest(2f64.powi(-24)), 1);
        assert_eq!(Format::F16.nearest(-0.0), 0x8000);
        assert_eq!(Format::F32.nearest(0.1), 0.1f32.to_bits());
        assert_eq!(Format::TF32.nearest(1.0), 1f32.to_bits());
    }

    #[test]
    fn f32_agrees_with_the_machine() {
        let mut seed = 7u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let power = ((seed >> 5) % 300) as i32 - 160;
            let x = ((seed >> 11) as f64 / 2f64.powi(52)) * 2f64.powi(power);
            assert_eq!(Format::F32.nearest(x), (x as f32).to_bits(), "{x:e}");
            let short = x as f32;
            assert_eq!(nearest_bf16(short), Format::BF16.nearest(f64::from(short)), "{short:e}");
        }
    }

    #[test]
    fn every_half_comes_back() {
        for bits in 0..=u16::MAX {
            let x = widen(u32::from(bits), Format::F16);
            assert_eq!(
                x.to_bits(),
                half::f16::from_bits(bits).to_f64().to_bits() & if x.is_nan() { 0 } else { !0 }
                    | if x.is_nan() { x.to_bits() } else { 0 }
            );
            if !x.is_nan() {
                assert_eq!(Format::F16.nearest(x), u32::from(bits));
            }
        }
    }
}
