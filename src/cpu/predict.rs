//! From logits to tokens and their log-probabilities.

use rayon::prelude::*;

use super::real::{BLOCK, exponentials, max, vectorised};
use super::{Buffer, Cpu, Real};
use crate::backend::{Mat, Prediction};

pub(super) fn predict<T: Real>(logits: &Mat<Cpu<T>>, next: &mut Prediction<Cpu<T>>) {
    let Prediction { token, log_prob } = next;
    assert_eq!([token.len(), log_prob.len()], [logits.rows; 2], "predict: a place for each row");
    let places = token.par_iter_mut().zip(log_prob.par_iter_mut());
    logits.buf.par_chunks(logits.cols).zip(places).for_each(|(logits, (token, log_prob))| {
        (*token, *log_prob) = best(logits);
    });
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
