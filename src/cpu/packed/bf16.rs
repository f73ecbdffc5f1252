//! Weights in bf16 and rows in f32: every product of the two is exact, whether a row is multiplied as it is or in three
//! parts of 8 bits each.

use half::bf16;

use super::{Line, Packed, SIDE, Slab, WORDS};

/// Parts of a number of 24 bits.
pub(super) const PARTS: usize = 3;

/// Values of a line.
const LEN: usize = 2 * WORDS;

pub(super) fn pack(w: &[f32], outputs: usize) -> Vec<Slab> {
    let inner = w.len() / outputs;
    super::pack(outputs, inner, |output, k| bf16::from_f32(w[output * inner + k]).to_bits())
}

pub(super) fn unpack(packed: &Packed, w: &mut [f32]) {
    super::unpack(packed, w, |_, bits: u16| widened(bits));
}

fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// `x` as a sum of three numbers of 8 bits, the first as it is where that is not finite.
fn parts(x: f32) -> [u16; PARTS] {
    let upper = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
    let first = if x.is_nan() { f32::NAN } else { upper(x) };
    let rest = if x.is_finite() { x - first } else { 0.0 };
    let second = upper(rest);
    [first, second, rest - second].map(|part| (part.to_bits() >> 16) as u16)
}

/// The parts of up to 32 rows, as three slabs a step.
pub(super) fn panel(x: &[f32], inner: usize, steps: &mut [[Slab; PARTS]]) {
    for (r, row) in x.chunks_exact(inner).enumerate() {
        for (values, step) in row.chunks(LEN).zip(&mut *steps) {
            let mut lines = [[0u16; LEN]; PARTS];
            for (i, &x) in values.iter().enumerate() {
                lines.iter_mut().zip(parts(x)).for_each(|(line, part)| line[i] = part);
            }
            for (slab, line) in step.iter_mut().zip(lines) {
                slab[r] = Line(bytemuck::cast(line));
            }
        }
    }
}

/// The products of `N` rows with a panel.
pub(super) fn some<const N: usize>(x: &[f32], inner: usize, w: &[Slab], y: &mut [f32]) {
    for (row, y) in x.chunks_exact(inner).zip(y.as_chunks_mut::<SIDE>().0).take(N) {
        // Two sums for each output, since one addition waits for the other.
        let (mut even, mut odd) = ([0.0; SIDE], [0.0; SIDE]);
        for (x, slab) in row.chunks(LEN).zip(w) {
            for (i, line) in slab.iter().enumerate() {
                let pair = [2 * (i % WORDS), 2 * (i % WORDS) + 1].map(|k| x.get(k).copied().unwrap_or(0.0));
                let values: &[[u16; 2]; WORDS] = bytemuck::cast_ref(&line.0);
                for (o, values) in values.iter().enumerate() {
                    even[i / WORDS * WORDS + o] += pair[0] * widened(values[0]);
                    odd[i / WORDS * WORDS + o] += pair[1] * widened(values[1]);
                }
            }
        }
        *y = std::array::from_fn(|o| even[o] + odd[o]);
    }
}
