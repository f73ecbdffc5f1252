//! The two float types of the CPU and their vector loops.
//!
//! The loops are plain Rust over slices. `vectorised!` compiles them for every vector extension that
//! matters and picks the widest that the processor has, which is worth a factor of two to eight in them.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use gemm_common::Parallelism;

use super::operations::Operations;
use super::rounded::Stored;
use crate::backend::Element;

/// A product of the gemm crate's: `m`, `n`, `k`; the result, its column and row strides, and whether it is added to; the
/// same of both operands; two factors, three conjugations, and threads.
pub type Gemm<T> = unsafe fn(
    usize,
    usize,
    usize,
    *mut T,
    isize,
    isize,
    bool,
    *const T,
    isize,
    isize,
    *const T,
    isize,
    isize,
    T,
    T,
    bool,
    bool,
    bool,
    Parallelism,
);

/// `f32` or `f64`.
pub trait Real:
    Element
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + Sum
    + Operations
{
    /// As people write it.
    const NAME: &'static str;
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// −∞.
    const NEG_INFINITY: Self;
    /// Not a number.
    const NAN: Self;
    /// `eˣ`, to the last bit or two, in a form that compiles to vector code.
    fn exp(self) -> Self;
    /// `√x`.
    fn sqrt(self) -> Self;
    /// The larger one; `self` where `other` is NaN.
    fn larger(self, other: Self) -> Self;
    /// The gemm crate's product, which is quickest where the result's columns are contiguous.
    fn gemm() -> Gemm<Self>;
}

impl Real for f64 {
    const NAME: &'static str = "f64";
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    const NAN: Self = f64::NAN;
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
    fn gemm() -> Gemm<Self> {
        gemm_f64::gemm::f64::get_gemm_fn()
    }
}

impl Real for f32 {
    const NAME: &'static str = "f32";
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    const NAN: Self = f32::NAN;

    /// `2ⁿ · eʳ` with `n = round(x / ln 2)`, `|r| <= ln 2 / 2` and a Taylor polynomial of degree 7 in `r`, whose
    /// remainder is below 6e-9. No branch, no table, no call.
    #[inline(always)]
    fn exp(self) -> Self {
        /// Adding this to a small number rounds it to an integer, which then stands in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        /// ln 2 in two parts; products of the first with small integers are exact.
        const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
        /// Below, the result (under 1.9e-38, hardly a normal number) is 0 here.
        const LOWEST: f32 = -86.9;
        /// Above, the result is infinite.
        const HIGHEST: f32 = 88.722_83;

        let rounded = self * std::f32::consts::LOG2_E + ROUND;
        let n = rounded - ROUND;
        let r = (self - n * LN_2.0) - n * LN_2.1;
        let mut p = 1.0 / 5040.0;
        for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = p * r + c;
        }
        // Half of 2ⁿ, since 2¹²⁸ is no number but eˣ just below the limit is.
        let half = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0.5f32.to_bits()));
        let y = if self < LOWEST { 0.0 } else { (p * half) * 2.0 };
        if self > HIGHEST { f32::INFINITY } else { y }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
    fn gemm() -> Gemm<Self> {
        gemm_f32::gemm::f32::get_gemm_fn()
    }
}

/// Numbers of 32 bits as the type that they are, in code for both.
pub(super) fn singles<T: Real>(x: &[T]) -> &[f32] {
    assert_eq!(T::NAME, f32::NAME);
    bytemuck::cast_slice(x)
}

/// As [`singles`].
pub(super) fn singles_mut<T: Real>(x: &mut [T]) -> &mut [f32] {
    assert_eq!(T::NAME, f32::NAME);
    bytemuck::cast_slice_mut(x)
}

/// An expression, compiled for every vector extension that matters; the widest that this processor has is run.
///
/// A macro, since only what is inlined is compiled so, and a closure is inlined for certain only where it is written
/// as an argument, with that attribute. What the expression calls has to be `#[inline(always)]` too.
macro_rules! vectorised {
    ($body:expr) => {
        $crate::cpu::real::dispatch(
            #[inline(always)]
            || $body,
        )
    };
}
pub(super) use vectorised;

/// See `vectorised!`.
#[inline(always)]
pub(super) fn dispatch<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(Body(body))
}

/// A closure in the form that `pulp` calls.
pub(super) struct Body<F>(pub F);

impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Body<F> {
    type Output = R;
    #[inline(always)]
    fn call(self) -> R {
        (self.0)()
    }
}

/// Partial sums side by side: one vector register's worth and a few, so that additions overlap. Always the same
/// order, whatever the machine, so that results are too.
const LANES: usize = 32;

/// All lanes as one, pairwise.
#[inline(always)]
fn across<T: Copy>(lanes: &[T; LANES], combine: impl Fn(T, T) -> T) -> T {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ f(a[i], b[i])` over two slices of one length. Chunks are arrays here: of slices, the compiler makes vectors of two.
#[inline(always)]
pub(super) fn fold<A: Copy, B: Copy, T: Real>(a: &[A], b: &[B], f: impl Fn(A, B) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let tail: T = a_rest.iter().zip(b_rest).map(|(&x, &y)| f(x, y)).sum();
    for (x, y) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    across(&lanes, |x, y| x + y) + tail
}

/// `⟨a, b⟩`.
#[inline(always)]
pub(super) fn dot<T: Real, S: Stored<T>>(a: &[T], b: &[S]) -> T {
    fold(a, b, |x, y| x * y.widen())
}

/// `Σ a[i] · b[i] · c[i]`.
#[inline(always)]
pub(super) fn dot_of_three<T: Real>(a: &[T], b: &[T], c: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let ((a, a_rest), (b, b_rest), (c, c_rest)) =
        (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    let tail: T = a_rest.iter().zip(b_rest).zip(c_rest).map(|((&x, &y), &z)| x * y * z).sum();
    for ((x, y), z) in a.iter().zip(b).zip(c) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i] * z[i];
        }
    }
    across(&lanes, |x, y| x + y) + tail
}

/// `Σ a[i]`.
#[inline(always)]
pub(super) fn sum<T: Real>(a: &[T]) -> T {
    fold(a, a, |x, _| x)
}

/// `Σ a[i]` in 64 bits.
#[inline(always)]
pub(super) fn wide_sum<T: Real>(a: &[T]) -> f64 {
    fold(a, a, |x, _| x.to_f64())
}

/// `Σ a[i]²` in 64 bits.
#[inline(always)]
pub(super) fn wide_square_sum<T: Real>(a: &[T]) -> f64 {
    fold(a, a, |x, _| x.to_f64() * x.to_f64())
}

/// The largest element, −∞ of none.
#[inline(always)]
pub(super) fn max<T: Real>(a: &[T]) -> T {
    let mut lanes = [T::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(T::NEG_INFINITY, |m, &x| m.larger(x));
    for x in chunks {
        for i in 0..LANES {
            lanes[i] = lanes[i].larger(x[i]);
        }
    }
    across(&lanes, T::larger).larger(tail)
}

/// Elements that stay in the first-level cache between two loops.
pub(super) const BLOCK: usize = 1024;

/// `x ← exp(x − peak)`; → their sum in 64 bits, since there may be tens of thousands.
#[inline(always)]
pub(super) fn exponentials<T: Real>(row: &mut [T], peak: T) -> f64 {
    let mut mass = 0.0;
    for block in row.chunks_mut(BLOCK) {
        for x in block.iter_mut() {
            *x = (*x - peak).exp();
        }
        mass += wide_sum(block);
    }
    mass
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_two_units() {
        let mut worst = 0.0f64;
        for step in -8690..=8872 {
            let x = step as f32 * 0.01;
            let (found, exact) = (f64::from(Real::exp(x)), f64::from(x).exp());
            worst = worst.max((found / exact - 1.0).abs());
        }
        assert!(worst <= 2.5e-7, "{worst:.1e}");
    }

    #[test]
    fn exp_at_its_ends() {
        assert_eq!(Real::exp(0.0f32), 1.0);
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Real::exp(-88.0f32), 0.0);
        assert_eq!(Real::exp(f32::INFINITY), f32::INFINITY);
        assert!(Real::exp(88.7f32).is_finite());
        assert!(Real::exp(f32::NAN).is_nan());
    }

    #[test]
    fn folds_agree_with_plain_sums_at_every_length() {
        for n in 0..200 {
            let a: Vec<f64> = (0..n).map(|i| f64::from(i) - 70.0).collect();
            assert_eq!(vectorised!(sum(&a)), a.iter().sum::<f64>());
            assert_eq!(vectorised!(wide_sum(&a)), a.iter().sum::<f64>());
            assert_eq!(vectorised!(wide_square_sum(&a)), a.iter().map(|x| x * x).sum::<f64>());
            assert_eq!(vectorised!(dot_of_three(&a, &a, &a)), a.iter().map(|x| x * x * x).sum::<f64>());
            assert_eq!(vectorised!(dot(&a, &a)), a.iter().map(|x| x * x).sum::<f64>());
            assert_eq!(vectorised!(max(&a)), a.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }
    }
}
