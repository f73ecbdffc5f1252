//! Attention of one row a sequence: bound by reading the keys and values, so those are read once, in order, all
//! heads together, by tasks that split the keys. The parts are of one size whatever the batch and the threads,
//! and are put together in order, so that results do not depend on either.

use std::ops::Range;

use rayon::prelude::*;

use super::ahead::read_ahead;
use super::attention::Distances;
use super::real::{dot, max, sum, vectorised};
use super::rounded::Stored;
use super::{Cpu, Real};
use crate::backend::{Attend, Bias, Cache, Mat, Newest};

/// Keys of a task.
const PART: usize = 256;

/// Cross-attention; `a.rows` holds at most one row a segment.
pub(super) fn cross<T: Real>(a: &Attend<'_, Cpu<T>>, o: &mut Mat<Cpu<T>>) {
    let keys = a.cols.offsets.windows(2).map(|w| w[0] as usize..w[1] as usize);
    let rows = a.rows.offsets.windows(2).zip(keys);
    let sequences: Vec<_> = rows.filter(|(row, _)| row[0] < row[1]).map(|(_, keys)| keys).collect();
    let (q, heads, distances) = (a.q, a.heads, None);
    match (a.k.buf.rounded(), a.v.buf.rounded()) {
        (Some(k), Some(v)) => Decode { q, k, v, heads, distances }.run(&sequences, o),
        _ => Decode { q, k: &a.k.buf[..], v: &a.v.buf[..], heads, distances }.run(&sequences, o),
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
    let (q, len) = (newest.q, cache.len[0] as usize);
    let sequences: Vec<_> = (0..q.rows).map(|b| b * cache.capacity..b * cache.capacity + len).collect();
    let distances = Some(Distances::new(&bias, len));
    Decode { q, k: &cache.k.buf[..], v: &cache.v.buf[..], heads: bias.table.cols, distances }.run(&sequences, o);
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
    /// Bias by distance to the last key.
    distances: Option<Distances<T>>,
}

/// What one task found: the softmax over its own keys, not yet divided by its mass.
struct Part<T> {
    peak: Vec<T>,
    mass: Vec<T>,
    values: Vec<T>,
}

impl<T: Real, S: Stored<T>> Decode<'_, T, S> {
    /// Row `i` of `q` attends to the keys `sequences[i]`.
    fn run(&self, sequences: &[Range<usize>], o: &mut Mat<Cpu<T>>) {
        let width = self.q.cols;
        let parts = |keys: &Range<usize>| keys.len().div_ceil(PART);
        let tasks: Vec<(usize, Range<usize>)> = sequences
            .iter()
            .enumerate()
            .flat_map(|(i, keys)| (0..parts(keys)).map(move |part| (i, part * PART..keys.len().min((part + 1) * PART))))
            .collect();
        let found: Vec<Part<T>> = tasks
            .par_iter()
            .map(|(i, part)| {
                let q = &self.q.buf[i * width..][..width];
                vectorised!(self.part(q, sequences[*i].start, part.clone(), sequences[*i].len()))
            })
            .collect();
        let mut found = found.as_slice();
        for (o, keys) in o.buf.chunks_exact_mut(width).zip(sequences) {
            let (own, rest) = found.split_at(parts(keys));
            self.unite(own, o);
            found = rest;
        }
    }

    #[inline(always)]
    fn part(&self, q: &[T], first: usize, part: Range<usize>, keys: usize) -> Part<T> {
        let (width, e, count) = (q.len(), q.len() / self.heads, part.len());
        let mut weight = vec![T::ZERO; self.heads * count];
        for (j, t) in part.clone().enumerate() {
            let k = &self.k[(first + t) * width..][..width];
            read_ahead(k);
            for (head, (q, k)) in q.chunks_exact(e).zip(k.chunks_exact(e)).enumerate() {
                weight[head * count + j] = dot(q, k);
            }
        }
        let (mut peak, mut mass) = (Vec::with_capacity(self.heads), Vec::with_capacity(self.heads));
        for (head, weight) in weight.chunks_exact_mut(count).enumerate() {
            if let Some(distances) = &self.distances {
                for (x, &b) in weight.iter_mut().zip(distances.along(head, keys - 1, part.start)) {
                    *x += b;
                }
            }
            let top = max(weight);
            for x in weight.iter_mut() {
                *x = (*x - top).exp();
            }
            peak.push(top);
            mass.push(sum(weight));
        }
        let mut values = vec![T::ZERO; width];
        for (j, t) in part.enumerate() {
            let v = &self.v[(first + t) * width..][..width];
            read_ahead(v);
            for (head, (o, v)) in values.chunks_exact_mut(e).zip(v.chunks_exact(e)).enumerate() {
                let p = weight[head * count + j];
                for (o, &v) in o.iter_mut().zip(v) {
                    *o += p * v.widen();
                }
            }
        }
        Part { peak, mass, values }
    }

    /// The softmax over all parts.
    fn unite(&self, parts: &[Part<T>], o: &mut [T]) {
        let e = o.len() / self.heads;
        for (head, o) in o.chunks_exact_mut(e).enumerate() {
            let peak = parts.iter().fold(T::NEG_INFINITY, |m, part| m.larger(part.peak[head]));
            let mut mass = T::ZERO;
            o.fill(T::ZERO);
            for part in parts {
                let share = (part.peak[head] - peak).exp();
                mass += part.mass[head] * share;
                for (o, &value) in o.iter_mut().zip(&part.values[head * e..]) {
                    *o += value * share;
                }
            }
            if !parts.is_empty() {
                for o in o {
                    *o = *o / mass;
                }
            }
        }
    }
}
