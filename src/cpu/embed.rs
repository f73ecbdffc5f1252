//! Rows of the embedding table.

use rayon::prelude::*;

use super::elementwise::add_slice;
use super::{Buffer, Cpu, Real};
use crate::backend::{Grad, Mat};

pub(super) fn embed<T: Real>(table: &Mat<Cpu<T>>, ids: &Buffer<u32>, y: &mut Mat<Cpu<T>>) {
    let d = table.cols;
    y.buf.par_chunks_mut(d).zip(&ids[..]).with_min_len(64).for_each(|(row, &id)| {
        row.copy_from_slice(&table.buf[id as usize * d..][..d]);
    });
}

/// `dtable[ids[i]] += dy[i]`. A task owns a row of the table and adds to it in the order of `i`.
pub(super) fn embed_bwd<T: Real>(dy: &Mat<Cpu<T>>, ids: &Buffer<u32>, dtable: &mut Grad<Cpu<T>>) {
    let d = dy.cols;
    assert_eq!((dy.rows, d), (ids.len(), dtable.cols), "embed_bwd: dy");
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&i| ids[i as usize]);
    let mut tasks = Vec::new();
    let (mut rest, mut first) = (&mut dtable.buf[..], 0);
    for places in order.chunk_by(|&i, &j| ids[i as usize] == ids[j as usize]) {
        let id = ids[places[0] as usize] as usize;
        let (row, behind) = std::mem::take(&mut rest)[(id - first) * d..].split_at_mut(d);
        tasks.push((row, places));
        (rest, first) = (behind, id + 1);
    }
    tasks.into_par_iter().with_min_len(16).for_each(|(row, places)| {
        for &i in places {
            add_slice(&dy.buf[i as usize * d..][..d], row);
        }
    });
}
