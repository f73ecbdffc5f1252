//! The products by the `gemm` crate: for every type and every machine.

use std::ops::Range;

use gemm_common::Parallelism;

use super::{Engine, Pass, Strip, TILE_KEYS};
use crate::cpu::Real;
use crate::cpu::dropout::mask_row;
use crate::cpu::linear::{Into, Product, View};
use crate::cpu::real::{max, sum, vectorised};

/// Rows of a tile. Its logits (256 KiB in f32) stay in the second-level cache between the two products.
const ROWS: usize = 128;

#[derive(Default)]
pub(super) struct Gemm<T> {
    logits: Vec<T>,
    /// Where the head's part of the first key begins.
    keys: usize,
}

impl<T: Real> Engine<T> for Gemm<T> {
    const ROWS: usize = ROWS;

    /// Whatever the threads: how many rows a product has may decide how it is added up. Equal heights, since a short
    /// last one would leave a thread waiting.
    fn height(rows: usize, _parts: usize) -> usize {
        rows.div_ceil(rows.div_ceil(ROWS).max(1)).max(1)
    }

    fn columns(e: usize) -> usize {
        e
    }

    fn take(&mut self, pass: &Pass<'_, T>, head: usize, keys: Range<usize>) {
        self.logits.resize(ROWS * TILE_KEYS, T::ZERO);
        self.keys = pass.at(keys.start, head);
    }

    fn multiply(&mut self, pass: &Pass<'_, T>, head: usize, rows: Range<usize>, count: usize) {
        let lhs = View { data: &pass.q[pass.at(rows.start, head)..], row_stride: pass.width(), col_stride: 1 };
        let rhs = View { data: &pass.k[self.keys..], row_stride: 1, col_stride: pass.width() };
        let product = Product { rows: rows.len(), cols: count, inner: pass.e, lhs, rhs, threads: Parallelism::None };
        product.write(Into::Fresh, &mut self.logits, count);
    }

    fn soften(&mut self, strip: &Strip<'_, T>, peak: &mut T, mass: &mut T) -> T {
        vectorised!(soften(&mut self.logits[strip.row * strip.count..][..strip.count], strip, peak, mass))
    }

    fn add_values(&mut self, pass: &Pass<'_, T>, rows: usize, count: usize, values: &mut [T]) {
        let lhs = View { data: &self.logits, row_stride: count, col_stride: 1 };
        let rhs = View { data: &pass.v[self.keys..], row_stride: pass.width(), col_stride: 1 };
        let product = Product { rows, cols: pass.e, inner: count, lhs, rhs, threads: Parallelism::None };
        product.write(Into::Sum, values, pass.e);
    }
}

#[inline(always)]
fn soften<T: Real>(logits: &mut [T], strip: &Strip<'_, T>, running_peak: &mut T, mass: &mut T) -> T {
    let (logits, masked) = logits.split_at_mut(strip.seen);
    masked.fill(T::ZERO);
    if strip.seen == 0 {
        return T::ONE;
    }
    if let Some(bias) = strip.bias {
        for (x, &b) in logits.iter_mut().zip(bias) {
            *x += b;
        }
    }
    let peak = running_peak.larger(max(logits));
    for x in logits.iter_mut() {
        *x = (*x - peak).exp();
    }
    let shrink = if *running_peak > T::NEG_INFINITY { (*running_peak - peak).exp() } else { T::ONE };
    *mass = *mass * shrink + sum(logits);
    *running_peak = peak;
    if let Some((mask, row, first)) = &strip.mask {
        mask_row(mask, *row, *first, logits);
    }
    shrink
}
