//! Dropout whose mask is drawn from its place.

use rayon::prelude::*;

use super::real::vectorised;
use super::{Cpu, Real};
use crate::backend::{Dropout, Mat};

/// `x = mask ⊙ x · scale`.
pub(super) fn dropout<T: Real>(x: &mut Mat<Cpu<T>>, mask: &Dropout) {
    if x.cols == 0 {
        return;
    }
    x.buf.par_chunks_mut(x.cols).enumerate().with_min_len(16).for_each(|(row, x)| {
        vectorised!(mask_row(mask, row, 0, x));
    });
}

/// Drops and scales the columns `first ..` of a row. `first` is a multiple of 4.
#[inline(always)]
pub(super) fn mask_row<T: Real>(mask: &Dropout, row: usize, first: usize, x: &mut [T]) {
    /// Words drawn at a time: drawing them and using them are two loops, each of which compiles to vector code.
    const WORDS: usize = 64;
    let scale = T::from_f64(mask.scale());
    let mut words = [0u64; WORDS];
    for (block, x) in x.chunks_mut(4 * WORDS).enumerate() {
        let quad = first / 4 + block * WORDS;
        for (i, word) in words[..x.len().div_ceil(4)].iter_mut().enumerate() {
            *word = mask.word(row as u64, (quad + i) as u64).to_le();
        }
        for (x, &lane) in x.iter_mut().zip(bytemuck::cast_slice::<u64, u16>(&words)) {
            *x = if u16::from_le(lane) >= mask.threshold { *x * scale } else { T::ZERO };
        }
    }
}
