//! 16 × 16 words of 32 bits in the registers of AVX-512.

use std::arch::x86_64::*;

/// Rows become columns. Each of four steps takes the highest bit of a row's number to the lowest place of the column's,
/// and that of the column's to the row's.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn transposed(mut rows: [__m512i; 16]) -> [__m512i; 16] {
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    for _ in 0..4 {
        let before = rows;
        for (i, row) in rows.iter_mut().enumerate() {
            let half = if i % 2 == 0 { low } else { high };
            *row = _mm512_permutex2var_epi32(before[i / 2], half, before[i / 2 + 8]);
        }
    }
    rows
}

/// Writes the columns of up to 16 rows, from the first to the end of the rows, to places that are `stride` apart; zeros
/// for rows that there are not.
#[target_feature(enable = "avx512f")]
pub(super) fn transpose<'a>(count: usize, row: impl Fn(usize) -> &'a [f32], y: &mut [f32], stride: usize) {
    let rows: [&[f32]; 16] = std::array::from_fn(|i| if i < count { row(i) } else { &[] });
    let inner = rows[0].len();
    for first in (0..inner).step_by(16) {
        let columns = transposed(rows.map(|row| load_some(row, first)));
        for (i, column) in columns.into_iter().enumerate().take(inner - first) {
            store(&mut y[(first + i) * stride..][..16], column);
        }
    }
}

/// The 16 numbers of a row from `first` on, zeros behind its end.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load_some(row: &[f32], first: usize) -> __m512i {
    let rest = row.get(first..).unwrap_or_default();
    let mask = if rest.len() < 16 { (1u16 << rest.len()) - 1 } else { u16::MAX };
    // SAFETY: only numbers within `rest` are read.
    unsafe { _mm512_maskz_loadu_epi32(mask, rest.as_ptr().cast()) }
}

/// 16 words.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn store<T: bytemuck::Pod>(words: &mut [T], values: __m512i) {
    assert_eq!(size_of_val(words), size_of::<__m512i>());
    // SAFETY: `words` are 64 bytes, which may hold any bits.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), values) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_rows() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        for (count, inner) in [(16, 16), (1, 1), (3, 17), (16, 64), (15, 33), (0, 5)] {
            let rows: Vec<Vec<f32>> =
                (0..count).map(|r| (0..inner).map(|c| (100 * r + c + 1) as f32).collect()).collect();
            let mut found = vec![f32::NAN; inner * 20];
            // SAFETY: the processor has the instructions.
            unsafe { transpose(count, |r| &rows[r], &mut found, 20) };
            for (c, found) in found.chunks(20).enumerate() {
                for (r, &found) in found.iter().enumerate() {
                    match rows.get(r) {
                        Some(row) => assert_eq!(found, row[c]),
                        None if count == 0 || r >= 16 => assert!(found.is_nan()),
                        None => assert_eq!(found, 0.0),
                    }
                }
            }
        }
    }
}
