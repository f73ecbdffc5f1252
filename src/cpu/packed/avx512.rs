//! The loops over packed weights and the rows that they multiply, in AVX-512. What compilers make of the plain ones,
//! which give the same bits, is several times as slow.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;
use std::sync::LazyLock;

use super::bf16::PARTS;
use super::int8::{INFINITE, ROUND, SIGN, scale_of};
use super::{Block, Line, SIDE, Slab, WORDS, ZERO_POINT};
use crate::cpu::ahead::read_ahead;
use crate::cpu::linear::Into;

/// Rows whose sums fit in the registers.
const HEIGHT: usize = 8;

/// [`int8::sums`](super::int8::sums) by the instruction for products of 8-bit integers.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn sums(x: &[Slab], w: &[Slab], starts: &[i32; SIDE], rows: usize, y: &mut Block<i32>) {
    for first in (0..rows).step_by(HEIGHT) {
        let y = &mut y[first * SIDE..];
        match rows - first {
            1 => some_sums::<1>(x, w, starts, first, y),
            2 => some_sums::<2>(x, w, starts, first, y),
            3 | 4 => some_sums::<4>(x, w, starts, first, y),
            _ => some_sums::<HEIGHT>(x, w, starts, first, y),
        }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn some_sums<const N: usize>(x: &[Slab], w: &[Slab], starts: &[i32; SIDE], first: usize, y: &mut [i32]) {
    let mut sums = [[load(&starts[..WORDS]), load(&starts[WORDS..])]; N];
    for (x, w) in x.iter().zip(w) {
        let rows: &[Line; N] = x[first..first + N].try_into().expect("8 divides 32");
        for g in 0..WORDS {
            let lines = [&w[g].0, &w[WORDS + g].0];
            // Of more rows the weights come from the cache.
            if N < HEIGHT {
                lines.iter().for_each(|line| read_ahead(&line[..]));
            }
            let outputs = lines.map(|line| load(line));
            for (sums, row) in sums.iter_mut().zip(rows) {
                let row = _mm512_set1_epi32(row.0[g] as i32);
                for (sum, output) in sums.iter_mut().zip(outputs) {
                    *sum = _mm512_dpbusd_epi32(*sum, row, output);
                }
            }
        }
    }
    for (y, sum) in y.chunks_exact_mut(WORDS).zip(sums.as_flattened()) {
        store(y, *sum);
    }
}

/// Whether products of pairs in bf16 are quicker than those in f32: AMD's processors (measured: Zen 4) add up twice as
/// many in the same time, Intel's (Emerald Rapids) half as many.
pub(in crate::cpu) fn has_quick_pairs() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| {
        // SAFETY: every processor of this architecture has the instruction.
        #[allow(unused_unsafe, reason = "safe only in Rust newer than the oldest that this crate is for")]
        let id = unsafe { __cpuid(0) };
        let vendor = [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes);
        vendor.as_flattened() == b"AuthenticAMD" && is_x86_feature_detected!("avx512bf16")
    });
    *FOUND
}

/// The products in bf16 of 32 rows with a panel, added in f32, to rows of `y` that are `stride` apart.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(in crate::cpu) fn rounded_products(x: &[Slab], w: &[Slab], into: Into, (y, stride): (&mut [f32], usize)) {
    assert_eq!(x.len(), w.len(), "as many slabs of rows as of outputs");
    for first in (0..SIDE).step_by(HEIGHT) {
        let mut sums = [[_mm512_setzero_ps(); 2]; HEIGHT];
        let y = &mut y[first * stride..];
        if into == Into::Sum {
            for (row, sums) in y.chunks(stride).zip(&mut sums) {
                *sums = [0, WORDS].map(|half| _mm512_castsi512_ps(load(&row[half..][..WORDS])));
            }
        }
        for (x, w) in x.iter().zip(w) {
            let rows: &[Line; HEIGHT] = x[first..][..HEIGHT].try_into().expect("8 divides 32");
            for g in 0..WORDS {
                let outputs = [&w[g], &w[WORDS + g]].map(|line| pairs(load(&line.0)));
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let row = pairs(_mm512_set1_epi32(row.0[g] as i32));
                    for (sum, output) in sums.iter_mut().zip(outputs) {
                        *sum = _mm512_dpbf16_ps(*sum, row, output);
                    }
                }
            }
        }
        for (row, sums) in y.chunks_mut(stride).zip(sums) {
            for (row, sum) in row.chunks_exact_mut(WORDS).zip(sums) {
                store(row, _mm512_castps_si512(sum));
            }
        }
    }
}

/// 16 pairs in bf16.
#[target_feature(enable = "avx512f")]
#[inline]
fn pairs(words: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes that may hold any bits.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(words) }
}

/// [`int8::product`](super::int8::product).
#[target_feature(enable = "avx512f")]
pub(super) fn product(sums: &Block<i32>, rows: &[f32], outputs: &[f32; SIDE], y: &mut Block<f32>) {
    let outputs = [&outputs[..WORDS], &outputs[WORDS..]].map(|half| _mm512_castsi512_ps(load(half)));
    for ((y, sums), &row) in y.chunks_exact_mut(SIDE).zip(sums.chunks_exact(SIDE)).zip(rows) {
        for (half, output) in outputs.iter().enumerate() {
            let scale = _mm512_mul_ps(_mm512_set1_ps(row), *output);
            let sum = _mm512_cvtepi32_ps(load(&sums[half * WORDS..][..WORDS]));
            store(&mut y[half * WORDS..][..WORDS], _mm512_castps_si512(_mm512_mul_ps(sum, scale)));
        }
    }
}

/// [`int8::panel`](super::int8::panel).
#[target_feature(enable = "avx512f")]
pub(super) fn int8_panel(x: &[f32], inner: usize, slabs: &mut [Slab], scales: &mut [f32]) {
    for (r, (row, place)) in x.chunks_exact(inner).zip(scales).enumerate() {
        let (scale, inverse) = scale_of(largest(row));
        *place = scale;
        for (s, slab) in slabs.iter_mut().enumerate() {
            for (i, words) in slab[r].0.chunks_exact_mut(4).enumerate() {
                let x = _mm512_castsi512_ps(load_some(row, (4 * s + i) * WORDS));
                let rounded = _mm512_add_ps(_mm512_mul_ps(x, _mm512_set1_ps(inverse)), _mm512_set1_ps(ROUND));
                let zero_point = _mm512_set1_epi32(i32::from(ZERO_POINT));
                let unsigned = _mm512_xor_si512(_mm512_castps_si512(rounded), zero_point);
                // SAFETY: `words` are 16 bytes.
                unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(unsigned)) };
            }
        }
    }
}

/// The largest bits of a row's numbers without their signs.
#[target_feature(enable = "avx512f")]
#[inline]
fn largest(row: &[f32]) -> u32 {
    let mut largest = [_mm512_setzero_si512(); 4];
    for first in (0..row.len()).step_by(4 * WORDS) {
        for (i, largest) in largest.iter_mut().enumerate() {
            let x = load_some(row, first + i * WORDS);
            *largest = _mm512_max_epu32(*largest, _mm512_andnot_si512(_mm512_set1_epi32(SIGN as i32), x));
        }
    }
    let [a, b, c, d] = largest;
    _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_max_epu32(a, b), _mm512_max_epu32(c, d)))
}

/// [`bf16::panel`](super::bf16::panel).
#[target_feature(enable = "avx512f")]
pub(super) fn bf16_panel(x: &[f32], inner: usize, steps: &mut [[Slab; PARTS]]) {
    for (s, step) in steps.iter_mut().enumerate() {
        for (r, row) in x.chunks_exact(inner).enumerate() {
            for half in 0..2 {
                let x = _mm512_castsi512_ps(load_some(row, (2 * s + half) * WORDS));
                for (slab, part) in step.iter_mut().zip(parts(x)) {
                    let words = &mut slab[r].0[half * WORDS / 2..][..WORDS / 2];
                    let upper = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_castps_si512(part)));
                    // SAFETY: `words` are 32 bytes.
                    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), upper) };
                }
            }
        }
    }
}

/// The three parts of each of 16 numbers, as `bf16::panel` has them.
#[target_feature(enable = "avx512f")]
#[inline]
fn parts(x: __m512) -> [__m512; PARTS] {
    let mask = _mm512_set1_epi32(UPPER as i32);
    let upper = |x: __m512| _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), mask));
    let magnitude = _mm512_andnot_si512(_mm512_set1_epi32(SIGN as i32), _mm512_castps_si512(x));
    let infinite = _mm512_set1_epi32(INFINITE as i32);
    let first = _mm512_mask_blend_ps(_mm512_cmpgt_epu32_mask(magnitude, infinite), upper(x), _mm512_set1_ps(f32::NAN));
    let rest = _mm512_maskz_sub_ps(_mm512_cmplt_epu32_mask(magnitude, infinite), x, first);
    let second = upper(rest);
    [first, second, _mm512_sub_ps(rest, second)]
}

/// The bits of a number that bf16 has.
const UPPER: u32 = 0xffff_0000;

/// [`bf16::some`](super::bf16::some).
#[target_feature(enable = "avx512f")]
pub(super) fn bf16_some<const N: usize>(x: &[f32], inner: usize, w: &[Slab], y: &mut [f32]) {
    let mut sums = [[_mm512_setzero_ps(); 2 * SIDE / WORDS]; N];
    for (s, slab) in w.iter().enumerate() {
        let mut rows = [[0.0; 2 * WORDS]; N];
        let len = (2 * WORDS).min(inner - s * 2 * WORDS);
        for (row, x) in rows.iter_mut().zip(x.chunks_exact(inner)) {
            row[..len].copy_from_slice(&x[s * 2 * WORDS..][..len]);
        }
        for g in 0..WORDS {
            for tile in 0..SIDE / WORDS {
                let line = &slab[tile * WORDS + g].0;
                read_ahead(line);
                let words = load(line);
                let even = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words));
                let odd = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(UPPER as i32)));
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    for (parity, w) in [even, odd].into_iter().enumerate() {
                        let product = _mm512_mul_ps(_mm512_set1_ps(row[2 * g + parity]), w);
                        sums[2 * tile + parity] = _mm512_add_ps(sums[2 * tile + parity], product);
                    }
                }
            }
        }
    }
    let pairs = sums.as_flattened().as_chunks::<2>().0;
    for (y, [even, odd]) in y.chunks_exact_mut(WORDS).zip(pairs) {
        store(y, _mm512_castps_si512(_mm512_add_ps(*even, *odd)));
    }
}

/// 16 words.
#[target_feature(enable = "avx512f")]
#[inline]
fn load<T: bytemuck::Pod>(words: &[T]) -> __m512i {
    assert_eq!(size_of_val(words), size_of::<Line>());
    // SAFETY: `words` are 64 bytes.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// The 16 numbers of a row from `first` on, zeros behind its end.
#[target_feature(enable = "avx512f")]
#[inline]
fn load_some(row: &[f32], first: usize) -> __m512i {
    match row.get(first..first + WORDS) {
        Some(whole) => load(whole),
        None => {
            let mut words = [0.0; WORDS];
            let rest = row.get(first..).unwrap_or_default();
            words[..rest.len()].copy_from_slice(rest);
            load(&words)
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store<T: bytemuck::Pod>(words: &mut [T], values: __m512i) {
    assert_eq!(size_of_val(words), size_of::<Line>());
    // SAFETY: `words` are 64 bytes, which may hold any bits.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), values) };
}
