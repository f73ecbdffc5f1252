//! Attention of one row a sequence: bound by reading the keys and values, so those are read once, in order, all
//! heads together, by tasks that split the keys. The parts are of one size whatever the batch and the threads,
//! and are put together in order, so that results do not depend on either.

use std::ops::Range;

use rayon::prelude::*;

use super::ahead::read_ahead;
use super::real::{dot, max, sum, vectorised};
use super::rounded::Stored;
use super::scratch::scratch;
use super::{Cpu, Real};
use crate::backend::{Attend, Bias, Cache, Mat, Newest, relative_bucket};

/// Keys of a task.
const PART: usize = 256;

/// Cross-attention; `a.rows` holds at most one row a segment.
pub(super) fn cross<T: Real>(a: &Attend<'_, Cpu<T>>, o: &mut Mat<Cpu<T>>) {
    let keys = |row: usize| {
        // The last segment that begins there: those before it are empty.
        let segment = a.rows.offsets.partition_point(|&first| first as usize <= row) - 1;
        a.cols.offsets[segment] as usize..a.cols.offsets[segment + 1] as usize
    };
    let rows = a.rows.offsets[a.rows.count] as usize;
    let (q, heads, bias) = (a.q, a.heads, None);
    match (a.k.buf.rounded(), a.v.buf.rounded()) {
        (Some(k), Some(v)) => Decode { q, k, v, heads, bias }.run(rows, keys, o),
        _ => Decode { q, k: &a.k.buf[..], v: &a.v.buf[..], heads, bias }.run(rows, keys, o),
    }
}

/// Self-attention of the newest token of each sequence, which joins the cache.
pub(super) fn newest<T: Real>(
    newest: &Newest<'_, Cpu<T>>,
    cache: &mut Cache<Cpu<T>>,
    bias: Bias<'_, Cpu<T>>,
    o: &mut Mat<Cpu<T>>,
) {
    append(cache, newest.k, newest.v);
    let (len, Bias { table, direction, max_distance }) = (cache.len[0] as usize, bias);
    let keys = |sequence: usize| sequence * cache.capacity..sequence * cache.capacity + len;
    scratch(table.cols * len, |bias: &mut [T]| {
        for t in 0..len {
            let bucket = relative_bucket(t as i64 - (len as i64 - 1), table.rows, max_distance, direction);
            for head in 0..table.cols {
                bias[head * len + t] = table.buf[bucket * table.cols + head];
            }
        }
        let (q, heads, bias) = (newest.q, table.cols, Some(&*bias));
        Decode { q, k: &cache.k.buf[..], v: &cache.v.buf[..], heads, bias }.run(q.rows, keys, o);
    });
}

fn append<T: Real>(cache: &mut Cache<Cpu<T>>, k: &Mat<Cpu<T>>, v: &Mat<Cpu<T>>) {
    let (width, place) = (k.cols, cache.len[0] as usize);
    assert!(place < cache.capacity, "the cache holds {} tokens and is full", cache.capacity);
    for (sequence, (k, v)) in k.buf.chunks_exact(width).zip(v.buf.chunks_exact(width)).enumerate() {
        let at = (sequence * cache.capacity + place) * width;
        cache.k.buf[at..at + width].copy_from_slice(k);
        cache.v.buf[at..at + width].copy_from_slice(v);
    }
    cache.len[0] += 1;
}

/// Keys and values are stored as `S`.
struct Decode<'a, T: Real, S> {
    q: &'a Mat<Cpu<T>>,
    k: &'a [S],
    v: &'a [S],
    heads: usize,
    /// Of each head and key, where all rows have as many keys.
    bias: Option<&'a [T]>,
}

/// What one task finds: the softmax over its own keys, not yet divided by its mass.
struct Part<P> {
    /// Of each head.
    peak: P,
    /// Of each head.
    mass: P,
    /// As wide as a row.
    values: P,
}

impl<T: Real, S: Stored<T>> Decode<'_, T, S> {
    /// Row `i` of the first `rows` of `q` attends to the keys `keys(i)`.
    fn run(&self, rows: usize, keys: impl Fn(usize) -> Range<usize> + Sync, o: &mut Mat<Cpu<T>>) {
        let width = self.q.cols;
        let most = (0..rows).map(|row| keys(row).len()).max().unwrap_or(0).div_ceil(PART).max(1);
        let size = 2 * self.heads + width;
        scratch(rows * most * size, |parts: &mut [T]| {
            parts.par_chunks_mut(size).enumerate().for_each(|(task, part)| {
                let (row, first, all) = (task / most, task % most * PART, keys(task / most));
                if first < all.len() {
                    let q = &self.q.buf[row * width..][..width];
                    let own = first..all.len().min(first + PART);
                    let part = self.split_mut(part);
                    scratch(self.heads * own.len(), |weight: &mut [T]| {
                        vectorised!(self.part(q, all, own, weight, part));
                    });
                }
            });
            let rows = o.buf.chunks_exact_mut(width).zip(parts.chunks_exact(most * size)).enumerate();
            for (row, (o, parts)) in rows {
                let parts = parts.chunks_exact(size).take(keys(row).len().div_ceil(PART));
                self.unite(parts.map(|part| self.split(part)), o);
            }
        });
    }

    fn split<'p>(&self, part: &'p [T]) -> Part<&'p [T]> {
        let (peak, rest) = part.split_at(self.heads);
        let (mass, values) = rest.split_at(self.heads);
        Part { peak, mass, values }
    }

    fn split_mut<'p>(&self, part: &'p mut [T]) -> Part<&'p mut [T]> {
        let (peak, rest) = part.split_at_mut(self.heads);
        let (mass, values) = rest.split_at_mut(self.heads);
        Part { peak, mass, values }
    }

    /// The keys `own` of a row's keys `all`; `weight` is room for a number of each head and key.
    #[inline(always)]
    fn part(&self, q: &[T], all: Range<usize>, own: Range<usize>, weight: &mut [T], part: Part<&mut [T]>) {
        let (width, e, count) = (q.len(), q.len() / self.heads, own.len());
        for (j, t) in own.clone().enumerate() {
            let k = &self.k[(all.start + t) * width..][..width];
            read_ahead(k);
            for (head, (q, k)) in q.chunks_exact(e).zip(k.chunks_exact(e)).enumerate() {
                weight[head * count + j] = dot(q, k);
            }
        }
        for (head, weight) in weight.chunks_exact_mut(count).enumerate() {
            if let Some(bias) = self.bias {
                for (x, &b) in weight.iter_mut().zip(&bias[head * all.len()..][own.clone()]) {
                    *x += b;
                }
            }
            let top = max(weight);
            for x in weight.iter_mut() {
                *x = (*x - top).exp();
            }
            (part.peak[head], part.mass[head]) = (top, sum(weight));
        }
        part.values.fill(T::ZERO);
        for (j, t) in own.enumerate() {
            let v = &self.v[(all.start + t) * width..][..width];
            read_ahead(v);
            for (head, (o, v)) in part.values.chunks_exact_mut(e).zip(v.chunks_exact(e)).enumerate() {
                let p = weight[head * count + j];
                for (o, &v) in o.iter_mut().zip(v) {
                    *o += p * v.widen();
                }
            }
        }
    }

    /// The softmax over all parts; zeros where there are none.
    fn unite<'p>(&self, parts: impl Iterator<Item = Part<&'p [T]>> + Clone, o: &mut [T])
    where
        T: 'p,
    {
        let e = o.len() / self.heads;
        o.fill(T::ZERO);
        for (head, o) in o.chunks_exact_mut(e).enumerate() {
            let peak = parts.clone().fold(T::NEG_INFINITY, |m, part| m.larger(part.peak[head]));
            let mut mass = T::ZERO;
            for part in parts.clone() {
                let share = (part.peak[head] - peak).exp();
                mass += part.mass[head] * share;
                for (o, &value) in o.iter_mut().zip(&part.values[head * e..]) {
                    *o += value * share;
                }
            }
            if parts.clone().next().is_some() {
                for o in o {
                    *o = *o / mass;
                }
            }
        }
    }
}
