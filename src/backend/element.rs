//! The numbers that machines compute with.

use half::bf16;

/// A number that a machine computes with or stores.
pub trait Element: bytemuck::Pod + Send + Sync + std::fmt::Debug {
    /// Rounds a 64-bit number to this type.
    fn from_f64(x: f64) -> Self;
    /// Widens to 64 bits, exactly.
    fn to_f64(self) -> f64;
}

macro_rules! element {
    ($t:ty, $from:expr, $to:expr) => {
        impl Element for $t {
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                $from(x)
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                $to(self)
            }
        }
    };
}
element!(f32, |x| x as f32, f64::from);
element!(f64, |x| x, |x| x);
element!(bf16, nearest_bf16, bf16::to_f64);

/// The nearest bf16, ties to even. `half` looks at the upper half of the 64 bits alone, where what is just above a
/// tie looks like one; a bit that stays in that half says that the lower one was not zero.
fn nearest_bf16(x: f64) -> bf16 {
    let bits = x.to_bits();
    let inexact = u64::from(bits as u32 != 0) << 32;
    bf16::from_f64(f64::from_bits(bits | inexact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_rounded_to_the_nearest() {
        for i in 0..200_000 {
            let x = f32::from_bits(crate::random::bits(1, 0, i) as u32);
            let (found, wanted) = (<bf16 as Element>::from_f64(x.into()), bf16::from_f32(x));
            assert!(found == wanted || found.is_nan() && wanted.is_nan(), "{x:e}: {found:e}, not {wanted:e}");
        }
        let tie = 1.0 + 2f64.powi(-8);
        assert_eq!(<bf16 as Element>::from_f64(tie), bf16::ONE);
        assert!(<bf16 as Element>::from_f64(tie + 2f64.powi(-50)) > bf16::ONE, "above the tie by less than f32 holds");
        assert_eq!(<bf16 as Element>::from_f64(f64::INFINITY), bf16::INFINITY);
    }
}
