//! Adafactor with the semantics of T5X, see [`AdafactorStep`]. Sums over a whole tensor are kept in 64 bits.

use rayon::prelude::*;

use super::elementwise::{CHUNK, square_sum};
use super::real::{dot, fold, vectorised, wide_sum};
use super::{Cpu, Real};
use crate::backend::{AdafactorStep, Grad, Mat, Moments};

/// Added to squares of gradients.
const SQUARE_EPSILON: f64 = 1e-30;
/// Least size of a parameter, for its updates.
const LEAST_SIZE: f64 = 1e-3;

pub(super) fn adafactor<T: Real>(
    w: &mut Mat<Cpu<T>>,
    grad: &Grad<Cpu<T>>,
    moments: &mut Moments<Cpu<T>>,
    step: AdafactorStep,
) {
    assert_eq!((w.rows, w.cols), (grad.rows, grad.cols), "adafactor: w and its gradient");
    if w.buf.is_empty() {
        return;
    }
    let size = (square_sum(&w.buf) / w.buf.len() as f64).sqrt();
    let rate = step.learning_rate * size.max(LEAST_SIZE);
    match moments {
        Moments::Factored { row, col } => factored(w, grad, (row, col), (rate, step)),
        Moments::Whole(moment) => whole(w, grad, moment, (rate, step)),
    }
}

/// What an update of the given sum of squares is multiplied by: `rate / max(1, RMS(u))`.
fn clipped(rate: f64, squares: f64, len: usize) -> f64 {
    rate / (squares / len as f64).sqrt().max(1.0)
}

fn whole<T: Real>(
    w: &mut Mat<Cpu<T>>,
    grad: &Grad<Cpu<T>>,
    moment: &mut Grad<Cpu<T>>,
    (rate, step): (f64, AdafactorStep),
) {
    assert_eq!(moment.buf.len(), grad.buf.len(), "adafactor: moments");
    let [decay, rest, scale, epsilon] = [step.decay, 1.0 - step.decay, step.scale, SQUARE_EPSILON].map(T::from_f64);
    let chunks = moment.buf.par_chunks_mut(CHUNK).zip(grad.buf.par_chunks(CHUNK));
    let squares: Vec<f64> = chunks
        .map(|(moment, grad)| {
            vectorised!({
                let mut squares = 0.0;
                for (v, &g) in moment.iter_mut().zip(grad) {
                    let g = scale * g;
                    *v = decay * *v + rest * (g * g + epsilon);
                    let u = (g / v.sqrt()).to_f64();
                    squares += u * u;
                }
                squares
            })
        })
        .collect();
    let rate = T::from_f64(clipped(rate, squares.iter().sum(), grad.buf.len()));
    let chunks = w.buf.par_chunks_mut(CHUNK).zip(grad.buf.par_chunks(CHUNK)).zip(moment.buf.par_chunks(CHUNK));
    chunks.for_each(|((w, grad), moment)| {
        vectorised!({
            for ((w, &g), &v) in w.iter_mut().zip(grad).zip(moment) {
                *w = *w - rate * (scale * g / v.sqrt());
            }
        });
    });
}

fn factored<T: Real>(
    w: &mut Mat<Cpu<T>>,
    grad: &Grad<Cpu<T>>,
    (row, col): (&mut Grad<Cpu<T>>, &mut Grad<Cpu<T>>),
    (rate, step): (f64, AdafactorStep),
) {
    let cols = grad.cols;
    assert_eq!((row.buf.len(), col.buf.len()), (grad.rows, cols), "adafactor: moments");
    let (row_sums, col_sums) = square_sums(grad);
    let blend = |moments: &mut [T], sums: &[f64], count: usize| {
        for (moment, &sum) in moments.iter_mut().zip(sums) {
            let mean = step.scale * step.scale * sum / count as f64 + SQUARE_EPSILON;
            *moment = T::from_f64(step.decay * moment.to_f64() + (1.0 - step.decay) * mean);
        }
    };
    blend(&mut row.buf, &row_sums, cols);
    blend(&mut col.buf, &col_sums, grad.rows);
    let mean = wide_sum(&row.buf) / grad.rows as f64;
    let by_row: Vec<T> = row.buf.iter().map(|r| T::from_f64(step.scale / (r.to_f64() / mean).sqrt())).collect();
    let by_col: Vec<T> = col.buf.iter().map(|c| T::from_f64(1.0 / c.to_f64().sqrt())).collect();

    let rows = || grad.buf.par_chunks(cols).zip(&by_row).with_min_len(16);
    let squares: Vec<f64> = rows()
        .map(|(grad, &by_row)| {
            let sum = vectorised!(fold(grad, &by_col, |g, by_col| square(g * by_col)));
            square(by_row.to_f64()) * sum.to_f64()
        })
        .collect();
    let rate = clipped(rate, squares.iter().sum(), grad.buf.len());
    w.buf.par_chunks_mut(cols).zip(rows()).for_each(|(w, (grad, &by_row))| {
        let rate = T::from_f64(rate * by_row.to_f64());
        vectorised!({
            for ((w, &g), &by_col) in w.iter_mut().zip(grad).zip(&by_col) {
                *w = *w - rate * (g * by_col);
            }
        });
    });
}

#[inline(always)]
fn square<T: Real>(x: T) -> T {
    x * x
}

/// `Σ g²` of each row and of each column.
fn square_sums<T: Real>(grad: &Grad<Cpu<T>>) -> (Vec<f64>, Vec<f64>) {
    /// Rows of a task, whose columns are summed as they are: tens of positive numbers.
    const BLOCK: usize = 64;
    let cols = grad.cols;
    let blocks: Vec<(Vec<f64>, Vec<T>)> = grad
        .buf
        .par_chunks(BLOCK * cols)
        .map(|block| {
            let mut by_col = vec![T::ZERO; cols];
            let mut by_row = Vec::with_capacity(BLOCK);
            vectorised!({
                for grad in block.chunks_exact(cols) {
                    by_row.push(dot(grad, grad).to_f64());
                    for (sum, &g) in by_col.iter_mut().zip(grad) {
                        *sum += g * g;
                    }
                }
            });
            (by_row, by_col)
        })
        .collect();
    let mut col_sums = vec![0.0; cols];
    for (_, by_col) in &blocks {
        for (sum, x) in col_sums.iter_mut().zip(by_col) {
            *sum += x.to_f64();
        }
    }
    (blocks.into_iter().flat_map(|(by_row, _)| by_row).collect(), col_sums)
}
