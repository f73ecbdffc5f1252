//! Rows of the embedding table.

use rayon::prelude::*;

use super::{Buffer, Cpu, Real};
use crate::backend::Mat;

pub(super) fn embed<T: Real>(table: &Mat<Cpu<T>>, ids: &Buffer<u32>, y: &mut Mat<Cpu<T>>) {
    let d = table.cols;
    y.buf.par_chunks_mut(d).zip(&ids[..]).with_min_len(64).for_each(|(row, &id)| {
        row.copy_from_slice(&table.buf[id as usize * d..][..d]);
    });
}
