//! T5's layer norm: no mean, no bias.

use rayon::prelude::*;

use super::real::{dot, vectorised};
use super::{Cpu, Real};
use crate::backend::Mat;

pub(super) fn rms_norm<T: Real>(x: &Mat<Cpu<T>>, g: &Mat<Cpu<T>>, eps: f64, y: &mut Mat<Cpu<T>>) {
    let rows = x.buf.par_chunks(x.cols).zip(y.buf.par_chunks_mut(x.cols));
    rows.with_min_len(16).for_each(|(x, y)| vectorised(|| norm_row(x, &g.buf, eps, y)));
}

#[inline(always)]
pub(super) fn norm_row<T: Real>(x: &[T], g: &[T], eps: f64, y: &mut [T]) {
    let mean_square = dot(x, x) / T::from_f64(x.len() as f64);
    let r = T::ONE / (mean_square + T::from_f64(eps)).sqrt();
    for ((y, &x), &g) in y.iter_mut().zip(x).zip(g) {
        *y = x * r * g;
    }
}
