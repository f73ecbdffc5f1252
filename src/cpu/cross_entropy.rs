//! The reader's loss and its gradient, in the memory of the logits.

use rayon::prelude::*;

use super::real::{exponentials, max, vectorised};
use super::{Buffer, Cpu, Real};
use crate::backend::Mat;

/// Turns logits into `scale · (softmax − onehot(target))`; → `log softmax(logits_i)[target_i]`.
pub(super) fn cross_entropy<T: Real>(logits: &mut Mat<Cpu<T>>, target: &Buffer<u32>, scale: f64) -> Buffer<T> {
    assert_eq!(logits.rows, target.len(), "cross_entropy: one target a row");
    let rows = logits.buf.par_chunks_mut(logits.cols.max(1)).zip(&target[..]);
    let found: Vec<T> = rows.map(|(row, &target)| vectorised!(one_row(row, target as usize, scale))).collect();
    Buffer::from(found)
}

#[inline(always)]
fn one_row<T: Real>(row: &mut [T], target: usize, scale: f64) -> T {
    let peak = max(row);
    let at_target = row[target] - peak;
    let mass = exponentials(row, peak);
    let factor = T::from_f64(scale / mass);
    for x in row.iter_mut() {
        *x *= factor;
    }
    row[target] = row[target] - T::from_f64(scale);
    at_target - T::from_f64(mass.ln())
}
