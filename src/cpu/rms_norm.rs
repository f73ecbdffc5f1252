//! T5's layer norm: no mean, no bias.

use rayon::prelude::*;

use super::elementwise::add_slice;
use super::real::{dot, dot_of_three, vectorised};
use super::{Cpu, Real};
use crate::backend::{Grad, Mat};

pub(super) fn rms_norm<T: Real>(x: &Mat<Cpu<T>>, g: &Mat<Cpu<T>>, eps: f64, y: &mut Mat<Cpu<T>>) {
    let rows = x.buf.par_chunks(x.cols).zip(y.buf.par_chunks_mut(x.cols));
    rows.with_min_len(16).for_each(|(x, y)| vectorised!(norm_row(x, &g.buf, eps, y)));
}

#[inline(always)]
pub(super) fn norm_row<T: Real>(x: &[T], g: &[T], eps: f64, y: &mut [T]) {
    let mean_square = dot(x, x) / T::from_f64(x.len() as f64);
    let r = T::ONE / (mean_square + T::from_f64(eps)).sqrt();
    for ((y, &x), &g) in y.iter_mut().zip(x).zip(g) {
        *y = x * r * g;
    }
}

/// Rows of a task of the backward pass, each of which sums a `dg` of its own.
const BLOCK: usize = 32;

/// `normed` is `x`, `g` and ε.
pub(super) fn rms_norm_bwd<T: Real>(
    dy: &Mat<Cpu<T>>,
    normed: (&Mat<Cpu<T>>, &Mat<Cpu<T>>, f64),
    dg: &mut Grad<Cpu<T>>,
    dx: &mut Mat<Cpu<T>>,
) {
    let (x, g, eps) = normed;
    let d = x.cols;
    assert_eq!([(dy.rows, dy.cols), (dx.rows, dx.cols)], [(x.rows, d); 2], "rms_norm_bwd: dy, dx and x");
    assert_eq!([(g.rows, g.cols), (dg.rows, dg.cols)], [(1, d); 2], "rms_norm_bwd: scale");
    let block = BLOCK * d;
    let blocks = dx.buf.par_chunks_mut(block).zip(x.buf.par_chunks(block)).zip(dy.buf.par_chunks(block));
    let sums: Vec<Vec<T>> = blocks
        .map(|((dx, x), dy)| {
            let mut dg = vec![T::ZERO; d];
            vectorised!({
                for ((dx, x), dy) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d)) {
                    norm_row_bwd(dy, (x, &g.buf, eps), &mut dg, dx);
                }
            });
            dg
        })
        .collect();
    for sum in &sums {
        add_slice(sum, &mut dg.buf);
    }
}

/// `dg += dy ⊙ x·r`, `dx += r·(dy ⊙ g) − x·r³·⟨dy ⊙ g, x⟩/d`.
#[inline(always)]
pub(super) fn norm_row_bwd<T: Real>(dy: &[T], (x, g, eps): (&[T], &[T], f64), dg: &mut [T], dx: &mut [T]) {
    let d = T::from_f64(x.len() as f64);
    let r = T::ONE / (dot(x, x) / d + T::from_f64(eps)).sqrt();
    // Of x·r, which is of the size of 1: r³ leaves the range of f32 where x is tiny.
    let share = dot_of_three(dy, g, x) * r / d;
    for ((((dg, dx), &dy), &g), &x) in dg.iter_mut().zip(dx).zip(dy).zip(g).zip(x) {
        let normed = x * r;
        *dg += dy * normed;
        *dx += r * (dy * g - normed * share);
    }
}
