//! Sums of 8-bit products by AVX2, 2 rows and 32 outputs at a time.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::{
    __m256i, _mm256_abs_epi8, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_storeu_si256,
};

use super::{Block, SIDE, Slab, WORDS};

/// Outputs of a register.
const WIDTH: usize = 8;

/// The sums of `rows` rows with a panel.
#[target_feature(enable = "avx2")]
pub(super) fn sums(x: &[Slab], w: &[Slab], rows: usize, y: &mut Block<i32>) {
    for first in (0..rows).step_by(2) {
        let y = &mut y[first * SIDE..];
        match rows - first {
            1 => some::<1>(x, w, first, y),
            _ => some::<2>(x, w, first, y),
        }
    }
}

/// `u · v = |u| · (sign(u) · v)`, and of numbers up to 127 two such products fit in the 16 bits that the instruction
/// adds them in; those of `q + 128` would not. So the zero point is taken away first, and the sums begin at 0.
#[target_feature(enable = "avx2")]
#[inline]
fn some<const N: usize>(x: &[Slab], w: &[Slab], first: usize, y: &mut [i32]) {
    let mut sums = [[_mm256_setzero_si256(); SIDE / WIDTH]; N];
    for (x, w) in x.iter().zip(w) {
        for g in 0..WORDS {
            let rows: [__m256i; N] =
                std::array::from_fn(|r| _mm256_set1_epi32((x[first + r].0[g] ^ 0x8080_8080) as i32));
            for part in 0..SIDE / WIDTH {
                let line = &w[part / 2 * WORDS + g].0;
                let outputs = load(line.as_chunks().0[part % 2]);
                for (sums, &row) in sums.iter_mut().zip(&rows) {
                    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(outputs, row));
                    let words = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
                    sums[part] = _mm256_add_epi32(sums[part], words);
                }
            }
        }
    }
    for (y, sum) in y.as_chunks_mut::<WIDTH>().0.iter_mut().zip(sums.as_flattened()) {
        // SAFETY: `y` is 32 bytes long.
        unsafe { _mm256_storeu_si256(y.as_mut_ptr().cast(), *sum) };
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(words: [u32; WIDTH]) -> __m256i {
    // SAFETY: `words` are 32 bytes.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}
