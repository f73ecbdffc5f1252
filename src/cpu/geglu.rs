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
        vectorised!({
            for (a, &b) in a.iter_mut().zip(b) {
                *a = gelu(*a) * b;
            }
        });
    });
}

/// `h = gelu(a) ⊙ b`.
pub(super) fn gated<T: Real>(a: &Mat<Cpu<T>>, b: &Mat<Cpu<T>>, h: &mut Mat<Cpu<T>>) {
    assert_eq!((a.rows, a.cols), (b.rows, b.cols), "gate: a and b");
    let chunks = h.buf.par_chunks_mut(CHUNK).zip(a.buf.par_chunks(CHUNK)).zip(b.buf.par_chunks(CHUNK));
    chunks.for_each(|((h, a), b)| {
        vectorised!({
            for ((h, &a), &b) in h.iter_mut().zip(a).zip(b) {
                *h = gelu(a) * b;
            }
        });
    });
}

/// `da = dh ⊙ b ⊙ gelu′(a)`, `db = dh ⊙ gelu(a)`.
pub(super) fn gate_bwd<T: Real>(
    dh: &Mat<Cpu<T>>,
    (a, b): (&Mat<Cpu<T>>, &Mat<Cpu<T>>),
    (da, db): (&mut Mat<Cpu<T>>, &mut Mat<Cpu<T>>),
) {
    let shape = (dh.rows, dh.cols);
    assert_eq!([(a.rows, a.cols), (b.rows, b.cols)], [shape; 2], "gate_bwd: dh, a and b");
    let given = dh.buf.par_chunks(CHUNK).zip(a.buf.par_chunks(CHUNK)).zip(b.buf.par_chunks(CHUNK));
    let found = da.buf.par_chunks_mut(CHUNK).zip(db.buf.par_chunks_mut(CHUNK));
    found.zip(given).for_each(|((da, db), ((dh, a), b))| {
        vectorised!({
            for ((((da, db), &dh), &a), &b) in da.iter_mut().zip(db).zip(dh).zip(a).zip(b) {
                let (value, slope) = gelu_and_slope(a);
                *da = dh * b * slope;
                *db = dh * value;
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
pub(super) fn gelu<T: Real>(x: T) -> T {
    let minus_two_root = T::from_f64(-2.0 * (2.0 / std::f64::consts::PI).sqrt());
    x / (T::ONE + (minus_two_root * (x + T::from_f64(0.044715) * x * x * x)).exp())
}

/// `gelu(x) = x·s` with `s = 1 / (1 + e⁻²ᵘ)`, and its derivative `s + x·s·(1 − s)·2u′`.
#[inline(always)]
pub(super) fn gelu_and_slope<T: Real>(x: T) -> (T, T) {
    let two_root = T::from_f64(2.0 * (2.0 / std::f64::consts::PI).sqrt());
    let cubic = T::from_f64(0.044715);
    let s = T::ONE / (T::ONE + (-two_root * (x + cubic * x * x * x)).exp());
    // Farther out, s·(1 − s) is 0, and the square must not become infinite beside it.
    let far = T::from_f64(30.0);
    let near = -(-x.larger(-far)).larger(-far);
    let slope = two_root * (T::ONE + T::from_f64(3.0) * cubic * near * near);
    (x * s, s + near * (s * (T::ONE - s)) * slope)
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
