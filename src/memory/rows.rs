//! One passage's rows: from f32 to stored bytes, and back.

use anyhow::{Result, bail, ensure};
use half::bf16;
use half::slice::HalfFloatSliceExt;

use super::format::{ALIGN, Format};
use crate::backend::Stored;

/// One passage's rows as they lie in the store: `[tokens, width]`, borrowed from the mapped file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows<'a> {
    /// Number of tokens.
    pub tokens: usize,
    /// Values per token.
    pub width: usize,
    /// The values.
    pub data: Stored<'a>,
}

impl<'a> Rows<'a> {
    /// Reads a passage from the bytes [`encode`] made; `None` if they are not as many as that, or lie unaligned.
    pub(super) fn from_bytes(bytes: &'a [u8], tokens: usize, width: usize, format: Format) -> Option<Self> {
        let count = tokens.checked_mul(width)?;
        let data = match format {
            Format::Bf16 => Stored::Bf16(bytemuck::try_cast_slice(bytes.get(..count * 2)?).ok()?),
            Format::Int8 => {
                let at = count.next_multiple_of(4);
                Stored::Int8 {
                    values: bytemuck::try_cast_slice(bytes.get(..count)?).ok()?,
                    scales: bytemuck::try_cast_slice(bytes.get(at..at + tokens * 4)?).ok()?,
                }
            }
        };
        Some(Self { tokens, width, data })
    }

    /// Writes the rows as f32 into `out [tokens, width]`.
    ///
    /// # Errors
    /// When `out` has another length than `tokens · width`.
    pub fn write_f32(&self, out: &mut [f32]) -> Result<()> {
        let count = self.tokens * self.width;
        ensure!(
            out.len() == count,
            "{} values of room for {} tokens of {} values, which is {count}",
            out.len(),
            self.tokens,
            self.width,
        );
        match self.data {
            Stored::Bf16(values) => values.convert_to_f32_slice(out),
            Stored::Int8 { values, scales } => {
                let rows = values.chunks_exact(self.width).zip(out.chunks_exact_mut(self.width));
                for ((q, x), &scale) in rows.zip(scales) {
                    for (x, &q) in x.iter_mut().zip(q) {
                        *x = f32::from(q) * scale;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Replaces `bytes` by the stored form of `rows [n, width]`, padding included, and returns `n`.
///
/// # Errors
/// No rows, a part of a row, more than 2³² − 1 rows, or a value that the store cannot hold (NaN, infinite, or beyond
/// bf16's largest), with its token.
pub(super) fn encode(rows: &[f32], width: usize, format: Format, bytes: &mut Vec<u8>) -> Result<u32> {
    ensure!(!rows.is_empty(), "no rows: an encoded passage has at least its end-of-sequence token");
    ensure!(rows.len().is_multiple_of(width), "{} values are not a whole number of rows of {width}", rows.len());
    let Ok(tokens) = u32::try_from(rows.len() / width) else {
        bail!("{} tokens are more than a passage can have", rows.len() / width);
    };
    refuse_unstorable(rows, width)?;
    bytes.clear();
    match format {
        Format::Bf16 => encode_bf16(rows, bytes),
        Format::Int8 => encode_int8(rows, width, bytes),
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGN as usize), 0);
    Ok(tokens)
}

fn refuse_unstorable(rows: &[f32], width: usize) -> Result<()> {
    let largest = bf16::MAX.to_f32();
    let storable = |x: &f32| x.abs() <= largest; // false for NaN
    // Looks at all of them although the first would decide: that way it is done in vectors.
    if !rows.iter().fold(false, |bad, x| bad | !storable(x)) {
        return Ok(());
    }
    let at = rows.iter().position(|x| !storable(x)).expect("one was found");
    bail!(
        "token {} has the value {} at column {}: the store holds finite values up to {largest:e}; \
         the encoder that made it has overflowed or has damaged weights",
        at / width,
        rows[at],
        at % width,
    );
}

fn encode_bf16(rows: &[f32], bytes: &mut Vec<u8>) {
    bytes.resize(rows.len() * 2, 0);
    for (stored, &x) in bytes.chunks_exact_mut(2).zip(rows) {
        stored.copy_from_slice(&nearest_bf16(x).to_le_bytes());
    }
}

/// The bits of the nearest bf16, ties to even, of a value that has one: without the question for NaN, which
/// [`refuse_unstorable`] has answered, the compiler makes a few vector instructions of it.
fn nearest_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let half_less_one_unless_odd = 0x7fff + (bits >> 16 & 1);
    ((bits + half_less_one_unless_odd) >> 16) as u16
}

fn encode_int8(rows: &[f32], width: usize, bytes: &mut Vec<u8>) {
    bytes.resize(rows.len().next_multiple_of(4), 0);
    let mut scales = Vec::with_capacity(rows.len() / width * 4);
    for (row, stored) in rows.chunks_exact(width).zip(bytes.chunks_exact_mut(width)) {
        let scale = scale(row);
        scales.extend(scale.to_le_bytes());
        // A scale below f32's smallest has become zero, and the row with it.
        if scale > 0.0 {
            for (q, &x) in stored.iter_mut().zip(row) {
                *q = nearest_i8(x / scale) as u8;
            }
        }
    }
    bytes.extend(scales);
}

/// Rounds to nearest, ties to even. Beside 1.5 · 2²³ a float has no room for fractions, so adding that rounds, and the
/// lowest byte is then the integer: four instructions, where a library call for each value would take most of the build.
fn nearest_i8(x: f32) -> i8 {
    // The clamp matters for subnormal scales alone, which are rounded coarsely.
    (x.clamp(-127.0, 127.0) + 12_582_912.0).to_bits() as i8
}

/// `max|x| / 127`.
fn scale(row: &[f32]) -> f32 {
    row.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes at an address that is a multiple of 64, as in a mapped shard.
    fn aligned(bytes: &[u8]) -> Vec<[u64; 8]> {
        let mut blocks = vec![[0u64; 8]; bytes.len() / 64];
        bytemuck::cast_slice_mut(&mut blocks).copy_from_slice(bytes);
        blocks
    }

    fn round_trip(rows: &[f32], width: usize, format: Format) -> (Vec<f32>, Vec<f32>) {
        let mut bytes = Vec::new();
        let tokens = encode(rows, width, format, &mut bytes).unwrap() as usize;
        assert_eq!(bytes.len() as u64, format.passage_bytes(tokens as u64, width));
        let blocks = aligned(&bytes);
        let stored = Rows::from_bytes(bytemuck::cast_slice(&blocks), tokens, width, format).unwrap();
        let mut out = vec![f32::NAN; rows.len()];
        stored.write_f32(&mut out).unwrap();
        let scales = match stored.data {
            Stored::Int8 { scales, .. } => scales.to_vec(),
            Stored::Bf16(_) => Vec::new(),
        };
        (out, scales)
    }

    fn matrix() -> impl Strategy<Value = (usize, Vec<f32>)> {
        let value = prop_oneof![
            -8.0f32..8.0,
            (-3.3e38f32..3.3e38).boxed(),
            (-1e-38f32..1e-38).boxed(),
            (-1e-43f32..1e-43).boxed(),
            Just(0.0f32),
            Just(-0.0f32),
        ];
        (1usize..20, 1usize..6).prop_flat_map(move |(width, tokens)| {
            (Just(width), proptest::collection::vec(value.clone(), width * tokens))
        })
    }

    proptest! {
        #[test]
        fn bf16_is_exact_to_its_rounding((width, rows) in matrix()) {
            let (back, _) = round_trip(&rows, width, Format::Bf16);
            for (x, y) in rows.iter().zip(&back) {
                prop_assert_eq!(bf16::from_f32(*x).to_f32().to_bits(), y.to_bits());
            }
        }

        #[test]
        fn int8_errs_by_half_a_step_at_most((width, rows) in matrix()) {
            let (back, scales) = round_trip(&rows, width, Format::Int8);
            for (at, (x, y)) in rows.iter().zip(&back).enumerate() {
                let scale = f64::from(scales[at / width]);
                // f32 rounds x / scale and q · scale; a subnormal scale is off by up to half of 2^-149, 127 times over.
                let bound = scale * (0.5 + 1e-4) + 64.0 * f64::from(f32::from_bits(1));
                let error = (f64::from(*x) - f64::from(*y)).abs();
                prop_assert!(error <= bound, "{x} came back as {y}: {error} > {bound}");
            }
        }
    }

    #[test]
    fn a_row_of_zeros_has_scale_zero() {
        let (back, scales) = round_trip(&[0.0, 0.0, 1.0, -127.0], 2, Format::Int8);
        assert_eq!(scales, [0.0, 1.0]);
        assert_eq!(back, [0.0, 0.0, 1.0, -127.0]);
    }

    #[test]
    fn halves_go_to_the_even_step() {
        let (back, _) = round_trip(&[127.0, 0.5, 1.5, -2.5], 4, Format::Int8);
        assert_eq!(back, [127.0, 0.0, 2.0, -2.0]);
    }

    #[test]
    fn every_step_and_every_half_is_rounded_as_the_library_does() {
        for quarter in -512..=512 {
            let x = quarter as f32 / 4.0;
            assert_eq!(f32::from(nearest_i8(x)), x.clamp(-127.0, 127.0).round_ties_even(), "{x}");
        }
    }

    #[test]
    fn what_the_store_cannot_hold_is_named() {
        for format in [Format::Bf16, Format::Int8] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
                let mut rows = vec![1.0; 12];
                rows[7] = bad;
                let error = encode(&rows, 4, format, &mut Vec::new()).unwrap_err();
                assert!(format!("{error:#}").contains("token 1 has the value"), "{error:#}");
                assert!(format!("{error:#}").contains("column 3"), "{error:#}");
            }
        }
    }

    #[test]
    fn the_largest_value_stays_finite() {
        for format in [Format::Bf16, Format::Int8] {
            let (back, _) = round_trip(&[bf16::MAX.to_f32(), -bf16::MAX.to_f32()], 2, format);
            assert!(back.iter().all(|x| x.is_finite()), "{back:?}");
        }
    }

    #[test]
    fn no_rows_and_parts_of_rows_are_refused() {
        let refuse = |rows: &[f32]| encode(rows, 4, Format::Bf16, &mut Vec::new()).unwrap_err().to_string();
        assert!(refuse(&[]).contains("no rows"));
        assert!(refuse(&[1.0; 6]).contains("not a whole number of rows of 4"));
    }

    #[test]
    fn room_of_another_size_is_refused() {
        let rows = Rows { tokens: 1, width: 2, data: Stored::Int8 { values: &[1, 2], scales: &[1.0] } };
        assert!(rows.write_f32(&mut [0.0; 3]).is_err());
    }
}
