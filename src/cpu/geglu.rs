//! The feed-forward's nonlinearities.

use rayon::prelude::*;

use super::real::vectorised;
use super::{Cpu, Real};
use crate::backend::Mat;

/// Elements a task handles at a time: a few microseconds, and all in the first-level cache.
const CHUNK: usize = 4096;

/// `a ← gelu(a) ⊙ b`.
pub(super) fn gate<T: Real>(a: &mut Mat<Cpu<T>>, b: &Mat<Cpu<T>>) {
    a.buf.par_chunks_mut(CHUNK).zip(b.buf.par_chunks(CHUNK)).for_each(|(a, b)| {
        vectorised(|| {
            for (a, &b) in a.iter_mut().zip(b) {
                *a = gelu(*a) * b;
            }
        });
    });
}

/// `a ← max(a, 0)`.
pub(super) fn relu<T: Real>(a: &mut Mat<Cpu<T>>) {
    a.buf.par_chunks_mut(CHUNK).for_each(|a| {
        for a in a {
            *a = T::ZERO.larger(*a);
        }
    });
}

/// `x/2 · (1 + tanh u) = x / (1 + e⁻²ᵘ)`, `u = √(2/π)·(x + 0.044715·x³)`.
#[inline(always)]
fn gelu<T: Real>(x: T) -> T {
    let minus_two_root = T::from_f64(-2.0 * (2.0 / std::f64::consts::PI).sqrt());
    x / (T::ONE + (minus_two_root * (x + T::from_f64(0.044715) * x * x * x)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_its_formula_from_end_to_end() {
        for step in -4000..=4000 {
            let x = f64::from(step) * 0.01;
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            let exact = 0.5 * x * (1.0 + u.tanh());
            assert!((gelu(x) - exact).abs() <= 1e-14 * x.abs().max(1.0), "{x}");
            assert!((f64::from(gelu(x as f32)) - exact).abs() <= 1e-6 * x.abs().max(1e-3), "{x}");
        }
    }
}
