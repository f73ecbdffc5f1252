//! Attention in f32 by the processor's vectors: keys and values are packed once for many rows, and the logits of a few
//! rows stay in the first-level cache from one product to the other.

use std::ops::Range;

use pulp::Simd;

use super::{Engine, Pass, Strip};
use crate::cpu::Real;
use crate::cpu::dropout::mask_row;
use crate::cpu::linear::Into;
use crate::cpu::packed::Line;
use crate::cpu::panels::{HEIGHT, Panels, Rows, resize, within};

/// The part of the inner dimension whose operands stay in the first-level cache for all rows of a tile.
const DEPTH: usize = 96;

/// The keys and values of a tile, and its logits. `N` vectors are a panel's width.
pub(super) struct Lanes<S, const N: usize> {
    simd: S,
    /// `[e, keys]`.
    k: Panels,
    /// `[keys, e]`.
    v: Panels,
    logits: Vec<Line>,
    /// From one row of logits to the next.
    stride: usize,
}

impl<S: Simd, const N: usize> Lanes<S, N> {
    pub fn new(simd: S) -> Self {
        Self { simd, k: Panels::default(), v: Panels::default(), logits: Vec::new(), stride: 0 }
    }
}

impl<S: Simd, const N: usize> Engine<f32> for Lanes<S, N> {
    const ROWS: usize = 4 * HEIGHT;

    fn columns(e: usize) -> usize {
        e.next_multiple_of(S::F32_LANES)
    }

    fn take(&mut self, pass: &Pass<'_, f32>, head: usize, keys: Range<usize>) {
        let of = |t: usize| pass.at(keys.start + t, head);
        let Self { simd, k, v, .. } = self;
        within!(*simd, {
            k.pack_columns::<S, N>(keys.len(), pass.e, |t| &pass.k[of(t)..][..pass.e]);
            v.pack_rows::<S, N>(keys.len(), pass.e, |t| &pass.v[of(t)..][..pass.e]);
        });
        self.stride = self.k.columns::<S>();
        resize(&mut self.logits, Self::ROWS * self.stride);
    }

    fn multiply(&mut self, pass: &Pass<'_, f32>, head: usize, rows: Range<usize>, count: usize) {
        let Self { simd, k, logits, stride, .. } = self;
        let x = Rows { data: &pass.q[pass.at(rows.start, head)..], stride: pass.width(), count: rows.len() };
        let y = (bytemuck::cast_slice_mut(logits), *stride);
        within!(*simd, k.product::<S, N>(*simd, x, (pass.e, count), DEPTH, Into::Fresh, y));
    }

    fn soften(&mut self, strip: &Strip<'_, f32>, peak: &mut f32, mass: &mut f32) -> f32 {
        let Self { simd, logits, stride, .. } = self;
        let logits = &mut bytemuck::cast_slice_mut(logits)[strip.row * *stride..][..*stride];
        soften_row(*simd, logits, strip, peak, mass)
    }

    fn add_values(&mut self, pass: &Pass<'_, f32>, rows: usize, count: usize, values: &mut [f32]) {
        let Self { simd, v, logits, stride, .. } = self;
        let x = Rows { data: bytemuck::cast_slice(logits), stride: *stride, count: rows };
        let y = (values, Self::columns(pass.e));
        within!(*simd, v.product::<S, N>(*simd, x, (count, pass.e), DEPTH, Into::Sum, y));
    }
}

/// [`Engine::soften`] of whole vectors.
pub(super) fn soften_row<S: Simd>(
    simd: S,
    logits: &mut [f32],
    strip: &Strip<'_, f32>,
    peak: &mut f32,
    mass: &mut f32,
) -> f32 {
    within!(simd, soften(simd, logits, strip, peak, mass))
}

#[inline(always)]
fn soften<S: Simd>(simd: S, logits: &mut [f32], strip: &Strip<'_, f32>, running_peak: &mut f32, mass: &mut f32) -> f32 {
    let vectors = strip.seen.div_ceil(S::F32_LANES);
    let (logits, masked) = logits.split_at_mut(vectors * S::F32_LANES);
    masked.fill(0.0);
    logits[strip.seen..].fill(f32::NEG_INFINITY);
    if strip.seen == 0 {
        return 1.0;
    }
    let peak = running_peak.max(add_bias(simd, &mut logits[..], strip));
    let mut sum = simd.splat_f32s(0.0);
    let all = simd.splat_f32s(peak);
    for x in S::as_mut_simd_f32s(logits).0 {
        *x = exp(simd, simd.sub_f32s(*x, all));
        sum = simd.add_f32s(sum, *x);
    }
    let shrink = if *running_peak > f32::NEG_INFINITY { Real::exp(*running_peak - peak) } else { 1.0 };
    *mass = *mass * shrink + simd.reduce_sum_f32s(sum);
    *running_peak = peak;
    if let Some((mask, row, first)) = &strip.mask {
        mask_row(mask, *row, *first, &mut logits[..strip.seen]);
    }
    shrink
}

/// Adds the bias; → the largest sum.
#[inline(always)]
fn add_bias<S: Simd>(simd: S, logits: &mut [f32], strip: &Strip<'_, f32>) -> f32 {
    let mut largest = simd.splat_f32s(f32::NEG_INFINITY);
    let vectors = S::as_mut_simd_f32s(logits).0;
    // What is behind the last key is -∞, whatever is added; behind the last bias there is nothing to add.
    match strip.bias.map(|bias| &bias[..strip.seen]) {
        Some(bias) => {
            let (whole, rest) = S::as_simd_f32s(bias);
            let (vectors, last) = vectors.split_at_mut(whole.len());
            for (x, &b) in vectors.iter_mut().zip(whole) {
                *x = simd.add_f32s(*x, b);
                largest = simd.max_f32s(*x, largest);
            }
            for x in last {
                *x = simd.add_f32s(*x, simd.partial_load_f32s(rest));
                largest = simd.max_f32s(*x, largest);
            }
        }
        None => vectors.iter().for_each(|&x| largest = simd.max_f32s(x, largest)),
    }
    simd.reduce_max_f32s(largest)
}

/// `eˣ` of no more than 0: `2ⁿ · eʳ` as [`Real::exp`] has it, but with the polynomial of degree 6 whose largest relative
/// error for `|r| <= ln 2 / 2` is least, 1.9e-9, and products and sums in one instruction.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Adding this to a small number rounds it to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// -ln 2 in two parts; products of the first with small integers are exact.
    const MINUS_LN_2: [f32; 2] = [-0.693_359_4, 2.121_944_4e-4];
    /// Below, the result (under 1.9e-38, hardly a normal number) is 0 here.
    const LOWEST: f32 = -86.9;
    const TERMS: [f32; 6] = [8.374_824e-3, 4.166_822_6e-2, 0.166_664_2, 0.499_999_9, 1.0, 1.0];

    let splat = |x| simd.splat_f32s(x);
    let rounded = simd.mul_add_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(rounded, splat(ROUND));
    let r = MINUS_LN_2.into_iter().fold(x, |r, part| simd.mul_add_f32s(n, splat(part), r));
    let p = TERMS.into_iter().fold(splat(1.383_683_6e-3), |p, term| simd.mul_add_f32s(p, r, splat(term)));
    let shifted = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    let y = simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(p), shifted));
    simd.select_f32s(simd.less_than_f32s(x, splat(LOWEST)), splat(0.0), y)
}
