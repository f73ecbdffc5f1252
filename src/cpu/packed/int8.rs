//! 8-bit integers: how rows become them, and what their products become.

use super::{Block, Line, Packed, SIDE, Slab, WORDS, ZERO_POINT};

/// The largest integer, and the negative of the smallest.
pub(super) const LARGEST: f32 = 127.0;

/// The bit of a number's sign.
pub(super) const SIGN: u32 = 1 << 31;
/// The bits of infinity.
pub(super) const INFINITE: u32 = f32::INFINITY.to_bits();
/// Adding this to a small number rounds it to an integer, ties to even, which then stands in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0;

/// Rows whose largest number is smaller are rounded as if it were this, so that no scale leaves the range of f32.
const TINY: f32 = 1.0 / (1u128 << 100) as f32;

/// The longest inner dimension whose products stay below 2³¹: `255 · 127 · 65536`.
pub(super) const LONGEST: usize = 1 << 16;

/// Values of a line.
const LEN: usize = 4 * WORDS;

/// What belongs to the integers of a weight, output by output, to the end of its last panel.
pub(super) struct Scales {
    /// What a value of 1 stands for.
    scales: Vec<f32>,
    /// Where the sum of an output begins, so that the rows' zero point falls out: `−128 · Σ q`.
    starts: Vec<i32>,
}

impl Scales {
    /// What a value of 1 stands for in each of a panel's outputs.
    pub fn of(&self, panel: usize) -> &[f32; SIDE] {
        &self.scales.as_chunks().0[panel]
    }

    /// Where the sums of a panel's outputs begin.
    pub fn starts(&self, panel: usize) -> &[i32; SIDE] {
        &self.starts.as_chunks().0[panel]
    }
}

/// What a value of 1 stands for in a row, and its inverse, from the bits of the row's largest number without its sign.
/// These bits are ordered as the numbers are, and NaN comes behind infinity. A row with anything that is not finite is
/// rounded to whatever it may be and has the scale NaN, so that all its products are NaN.
#[inline(always)]
pub(super) fn scale_of(largest: u32) -> (f32, f32) {
    if largest >= INFINITE {
        return (f32::NAN, 0.0);
    }
    let largest = f32::from_bits(largest).max(TINY);
    (largest / LARGEST, LARGEST / largest)
}

fn scale(row: &[f32]) -> (f32, f32) {
    scale_of(row.iter().map(|x| x.to_bits() & !SIGN).fold(0, u32::max))
}

/// `x / scale`, rounded.
fn rounded(x: f32, inverse: f32) -> u8 {
    (x * inverse + ROUND).to_bits() as u8
}

/// Slabs and scales of a weight.
pub(super) fn pack(w: &[f32], outputs: usize) -> (Vec<Slab>, Scales) {
    let inner = w.len() / outputs;
    let found: Vec<(f32, f32)> = w.chunks_exact(inner).map(scale).collect();
    let integer = |output: usize, k: usize| rounded(w[output * inner + k], found[output].1) as i8;
    let slabs = super::pack(outputs, inner, integer);
    let len = outputs.next_multiple_of(SIDE);
    let mut scales = Scales { scales: vec![0.0; len], starts: vec![0; len] };
    for (output, &(scale, _)) in found.iter().enumerate() {
        let sum: i32 = (0..inner).map(|k| i32::from(integer(output, k))).sum();
        (scales.scales[output], scales.starts[output]) = (scale, -i32::from(ZERO_POINT) * sum);
    }
    (slabs, scales)
}

pub(super) fn unpack(packed: &Packed, Scales { scales, .. }: &Scales, w: &mut [f32]) {
    super::unpack(packed, w, |output, q: i8| f32::from(q) * scales[output]);
}

/// Rounds up to 32 rows to a panel of slabs; what a value of 1 stands for in each goes to `scales`.
pub(super) fn panel(x: &[f32], inner: usize, slabs: &mut [Slab], scales: &mut [f32]) {
    for (r, (row, place)) in x.chunks_exact(inner).zip(scales).enumerate() {
        let (scale, inverse) = scale(row);
        *place = scale;
        for (values, slab) in row.chunks(LEN).zip(&mut *slabs) {
            let mut bytes = [ZERO_POINT; LEN];
            bytes.iter_mut().zip(values).for_each(|(byte, &x)| *byte ^= rounded(x, inverse));
            slab[r] = Line(bytemuck::cast(bytes));
        }
    }
}

/// The sums of `rows` rows with a panel.
pub(super) fn sums(x: &[Slab], w: &[Slab], starts: &[i32; SIDE], rows: usize, y: &mut Block<i32>) {
    let bytes = |word: u32| word.to_ne_bytes();
    for (r, y) in y.as_chunks_mut::<SIDE>().0.iter_mut().take(rows).enumerate() {
        *y = *starts;
        for (x, w) in x.iter().zip(w) {
            for (i, line) in w.iter().enumerate() {
                let row = bytes(x[r].0[i % WORDS]).map(i32::from);
                for (sum, &word) in y[i / WORDS * WORDS..][..WORDS].iter_mut().zip(&line.0) {
                    let output = bytes(word).map(|byte| i32::from(byte as i8));
                    *sum += (0..4).map(|j| row[j] * output[j]).sum::<i32>();
                }
            }
        }
    }
}

/// From a panel's sums to the product's numbers, for as many rows as there are scales of rows.
pub(super) fn product(sums: &Block<i32>, rows: &[f32], outputs: &[f32; SIDE], y: &mut Block<f32>) {
    for ((y, sums), &row) in y.chunks_exact_mut(SIDE).zip(sums.chunks_exact(SIDE)).zip(rows) {
        for ((y, &sum), &output) in y.iter_mut().zip(sums).zip(outputs) {
            *y = sum as f32 * (row * output);
        }
    }
}
