//! The best segments of each group.

use std::cmp::Ordering;

use super::{Cpu, Real};
use crate::backend::{Backend, Segments, Selection};

pub(super) fn top_m<T: Real>(be: &Cpu<T>, scores: &[T], groups: &Segments<Cpu<T>>, m: usize) -> Selection<Cpu<T>> {
    let mut index = Vec::new();
    let mut lengths = Vec::with_capacity(groups.count);
    for bounds in groups.offsets.windows(2) {
        let mut order: Vec<u32> = (bounds[0]..bounds[1]).collect();
        // Stable: equals stay in the retriever's order.
        order.sort_by(|&a, &b| descending(scores[a as usize], scores[b as usize]));
        order.truncate(m);
        lengths.push(order.len());
        index.extend(order);
    }
    Selection { index: be.upload(index), groups: Segments::packed(be, lengths) }
}

fn descending<T: Real>(a: T, b: T) -> Ordering {
    let nan = |x: T| x.partial_cmp(&x).is_none();
    b.partial_cmp(&a).unwrap_or_else(|| nan(a).cmp(&nan(b)))
}
