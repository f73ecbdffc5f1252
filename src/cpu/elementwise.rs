//! Passes over whole matrices, as fast as memory.

use rayon::prelude::*;

use super::real::{vectorised, wide_square_sum};
use super::{Cpu, Real};
use crate::backend::Mat;

/// Elements of a task: a few microseconds, whatever the number of threads.
pub(super) const CHUNK: usize = 1 << 14;

/// `y += x`.
pub(super) fn add<T: Real>(x: &Mat<Cpu<T>>, y: &mut Mat<Cpu<T>>) {
    assert_eq!((y.rows, y.cols), (x.rows, x.cols), "add: x and y");
    add_to(&x.buf, &mut y.buf);
}

/// `y += x`. What a blocked product should add to: it is a quarter slower where it has to read what it writes.
pub(super) fn add_to<T: Real>(x: &[T], y: &mut [T]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| add_slice(x, y));
}

/// `y += x`, here and now.
#[inline(always)]
pub(super) fn add_slice<T: Real>(x: &[T], y: &mut [T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// `y = x`.
pub(super) fn copy<T: Real>(x: &[T], y: &mut [T]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| y.copy_from_slice(x));
}

/// `y = value`.
pub(super) fn fill<T: Real>(y: &mut [T], value: T) {
    y.par_chunks_mut(CHUNK).for_each(|y| y.fill(value));
}

/// `Σ x²` in 64 bits, chunk by chunk and then over the chunks in order.
pub(super) fn square_sum<T: Real>(x: &[T]) -> f64 {
    let sums: Vec<f64> = x.par_chunks(CHUNK).map(|x| vectorised!(wide_square_sum(x))).collect();
    sums.iter().sum()
}
