//! From logits to tokens and their log-probabilities.

use rayon::prelude::*;

use super::real::{BLOCK, exponentials, max, vectorised};
use super::{Buffer, Cpu, Real};
use crate::backend::{Mat, Prediction};

pub(super) fn predict<T: Real>(logits: &Mat<Cpu<T>>) -> Prediction<Cpu<T>> {
    let found: Vec<(u32, T)> = logits.buf.par_chunks(logits.cols).map(best).collect();
    let (token, log_prob): (Vec<u32>, Vec<T>) = found.into_iter().unzip();
    Prediction { token: Buffer::from(token), log_prob: Buffer::from(log_prob) }
}

/// The first of the largest logits, and its log-probability. NaN logits are never the largest, but make the
/// log-probability NaN.
fn best<T: Real>(logits: &[T]) -> (u32, T) {
    let peak = vectorised!(max(logits));
    let token = logits.iter().position(|&x| x == peak).unwrap_or(0);
    (token as u32, -log_sum_exp(logits, peak))
}

pub(super) fn log_prob<T: Real>(logits: &Mat<Cpu<T>>, target: &Buffer<u32>) -> Buffer<T> {
    assert_eq!(logits.rows, target.len(), "log_prob: one target a row");
    let rows = logits.buf.par_chunks(logits.cols).zip(&target[..]);
    let found: Vec<T> = rows
        .map(|(logits, &target)| {
            let peak = vectorised!(max(logits));
            logits[target as usize] - peak - log_sum_exp(logits, peak)
        })
        .collect();
    Buffer::from(found)
}

/// `log Σ exp(logits − peak)`.
fn log_sum_exp<T: Real>(logits: &[T], peak: T) -> T {
    let mut copy = [T::ZERO; BLOCK];
    let mut mass = 0.0;
    for block in logits.chunks(BLOCK) {
        let copy = &mut copy[..block.len()];
        copy.copy_from_slice(block);
        mass += vectorised!(exponentials(copy, peak));
    }
    T::from_f64(mass.ln())
}
