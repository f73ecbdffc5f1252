//! The backward pass of attention: one (segment, head) a task, the weights drawn again from the rows' saved sums, tile
//! by tile, so that what is ever held of them is one tile, and every gradient is written by the one task it belongs to.

use gemm_common::Parallelism;
use rayon::prelude::*;

use super::attention::{Distances, seen};
use super::dropout::mask_row;
use super::elementwise::add_slice;
use super::linear::{Into, Product, View};
use super::places::Places;
use super::real::{dot, vectorised};
use super::{Cpu, Real};
use crate::backend::{Attend, AttendGrad, Attended, Bias, Grad, Mat, relative_bucket};

/// Rows and keys of a tile.
const TILE_ROWS: usize = 128;
const TILE_KEYS: usize = 512;

/// What all tasks read, and the places they write.
struct Pass<'a, T: Real> {
    a: &'a Attend<'a, Cpu<T>>,
    saved: &'a Attended<Cpu<T>>,
    d_o: &'a Mat<Cpu<T>>,
    distances: Option<Distances<T>>,
    /// Relative positions run from `-(reach - 1)` to `reach - 1`.
    reach: usize,
    dq: Places<'a, T>,
    dk: Places<'a, T>,
    dv: Places<'a, T>,
}

pub(super) fn attention_bwd<T: Real>(
    a: &Attend<'_, Cpu<T>>,
    (saved, d_o): (&Attended<Cpu<T>>, &Mat<Cpu<T>>),
    grad: &mut AttendGrad<Cpu<T>>,
    dtable: Option<&mut Grad<Cpu<T>>>,
) {
    let shape = (a.q.rows, a.q.cols);
    assert_eq!([(d_o.rows, d_o.cols), (saved.o.rows, saved.o.cols)], [shape; 2], "attention_bwd: do, o and q");
    assert_eq!(a.bias.is_some(), dtable.is_some(), "attention_bwd: a bias and its gradient");
    let reach = a.rows.longest.max(a.cols.longest).max(1);
    let pass = Pass {
        a,
        saved,
        d_o,
        distances: a.bias.as_ref().map(|bias| Distances::new(bias, reach)),
        reach,
        dq: Places::of(&mut grad.dq.buf),
        dk: Places::of(&mut grad.dk.buf),
        dv: Places::of(&mut grad.dv.buf),
    };
    let tasks: Vec<(usize, usize)> =
        (0..a.rows.count).flat_map(|segment| (0..a.heads).map(move |head| (segment, head))).collect();
    let dbias: Vec<Vec<f64>> =
        tasks.par_iter().map_init(Tile::default, |tile, &(segment, head)| tile.run(&pass, segment, head)).collect();
    if let Some(dtable) = dtable {
        for (&(_, head), by_bucket) in tasks.iter().zip(&dbias) {
            for (bucket, &sum) in by_bucket.iter().enumerate() {
                dtable.buf[bucket * a.heads + head] += T::from_f64(sum);
            }
        }
    }
}

/// Scratch of one thread.
struct Tile<T> {
    /// Weights of a tile, then those that the mask leaves.
    p: Vec<T>,
    /// Their gradients, then those of the logits.
    ds: Vec<T>,
    /// What the mask multiplies a row's weights by.
    mask: Vec<T>,
    /// `⟨do_i, o_i⟩` of the tile's rows.
    delta: Vec<T>,
    /// Of the tile's rows.
    dq: Vec<T>,
    /// Of all the segment's keys.
    dk: Vec<T>,
    dv: Vec<T>,
    /// By relative position.
    dbias: Vec<T>,
}

impl<T> Default for Tile<T> {
    fn default() -> Self {
        let none = Vec::new;
        Self { p: none(), ds: none(), mask: none(), delta: none(), dq: none(), dk: none(), dv: none(), dbias: none() }
    }
}

/// Where a tile lies: its rows and keys within their segment and within the matrices.
struct Place {
    head: usize,
    rows: std::ops::Range<usize>,
    first_row: usize,
    keys: std::ops::Range<usize>,
    first_key: usize,
}

/// `values`, all zero and `len` long.
fn reset<T: Real>(values: &mut Vec<T>, len: usize) {
    values.clear();
    values.resize(len, T::ZERO);
}

impl<T: Real> Tile<T> {
    /// → the gradient of one head's bias, by bucket.
    fn run(&mut self, pass: &Pass<'_, T>, segment: usize, head: usize) -> Vec<f64> {
        let a = pass.a;
        let e = a.q.cols / a.heads;
        let bounds = |offsets: &[u32]| offsets[segment] as usize..offsets[segment + 1] as usize;
        let (rows, keys) = (bounds(&a.rows.offsets), bounds(&a.cols.offsets));
        self.p.resize(TILE_ROWS * TILE_KEYS, T::ZERO);
        self.ds.resize(TILE_ROWS * TILE_KEYS, T::ZERO);
        self.mask.resize(TILE_KEYS, T::ZERO);
        reset(&mut self.dk, keys.len() * e);
        reset(&mut self.dv, keys.len() * e);
        reset(&mut self.dbias, pass.distances.as_ref().map_or(0, |_| 2 * pass.reach - 1));
        let height = rows.len().div_ceil(rows.len().div_ceil(TILE_ROWS).max(1)).max(1);
        for first in (0..rows.len()).step_by(height) {
            let own = first..rows.len().min(first + height);
            self.start(pass, rows.start + first, own.len(), head);
            // A row that looks back needs no key behind it.
            let reach = seen(a, own.end - 1, 0, keys.len());
            for first_key in (0..reach).step_by(TILE_KEYS) {
                let tile_keys = first_key..reach.min(first_key + TILE_KEYS);
                self.add(
                    pass,
                    &Place {
                        head,
                        rows: own.clone(),
                        first_row: rows.start + first,
                        first_key: keys.start + first_key,
                        keys: tile_keys,
                    },
                );
            }
            write_head(&pass.dq, &self.dq, (rows.start + first, head), (a.q.cols, e));
        }
        write_head(&pass.dk, &self.dk, (keys.start, head), (a.q.cols, e));
        write_head(&pass.dv, &self.dv, (keys.start, head), (a.q.cols, e));
        self.by_bucket(pass)
    }

    /// Sets up `rows` rows from `first` on.
    fn start(&mut self, pass: &Pass<'_, T>, first: usize, rows: usize, head: usize) {
        let (width, e) = (pass.a.q.cols, pass.a.q.cols / pass.a.heads);
        reset(&mut self.dq, rows * e);
        self.delta.clear();
        let places = (first..first + rows).map(|row| row * width + head * e);
        self.delta.extend(places.map(|at| vectorised!(dot(&pass.d_o.buf[at..at + e], &pass.saved.o.buf[at..at + e]))));
    }

    /// Adds one tile's part to all gradients.
    fn add(&mut self, pass: &Pass<'_, T>, place: &Place) {
        let (a, head, threads) = (pass.a, place.head, Parallelism::None);
        let e = a.q.cols / a.heads;
        let (rows, count) = (place.rows.len(), place.keys.len());
        let [q, d_o] = [a.q, pass.d_o].map(|mat| View::of_columns(mat, place.first_row, head * e));
        let [k, v] = [a.k, a.v].map(|mat| View::of_columns(mat, place.first_key, head * e));
        let logits = |lhs, rhs| Product { rows, cols: count, inner: e, lhs, rhs, threads };
        logits(q, k.transposed()).write(Into::Fresh, &mut self.p, count);
        logits(d_o, v.transposed()).write(Into::Fresh, &mut self.ds, count);
        vectorised!({
            for row in 0..rows {
                self.soften_bwd(pass, place, row);
            }
        });
        let weights = |data| View { data, row_stride: count, col_stride: 1 };
        let (p, ds) = (weights(&self.p), weights(&self.ds));
        let onto_rows = Product { rows, cols: e, inner: count, lhs: ds, rhs: k, threads };
        onto_rows.write(Into::Sum, &mut self.dq, e);
        let onto_keys = |lhs, rhs| Product { rows: count, cols: e, inner: rows, lhs, rhs, threads };
        onto_keys(p.transposed(), d_o).write(Into::Sum, &mut self.dv[place.keys.start * e..], e);
        onto_keys(ds.transposed(), q).write(Into::Sum, &mut self.dk[place.keys.start * e..], e);
    }

    /// Of one row: logits become weights, the weights' gradients become the logits' and are added to the bias's.
    #[inline(always)]
    fn soften_bwd(&mut self, pass: &Pass<'_, T>, place: &Place, row: usize) {
        let (a, count) = (pass.a, place.keys.len());
        let position = place.rows.start + row;
        let number = (place.first_row + row) * a.heads + place.head;
        let (log_sum, delta) = (pass.saved.log_sum.buf[number], self.delta[row]);
        let seen = seen(a, position, place.keys.start, count);
        let (p, masked) = self.p[row * count..][..count].split_at_mut(seen);
        masked.fill(T::ZERO);
        let (ds, masked) = self.ds[row * count..][..count].split_at_mut(seen);
        masked.fill(T::ZERO);
        match &pass.distances {
            Some(distances) => {
                for (x, &b) in p.iter_mut().zip(distances.along(place.head, position, place.keys.start)) {
                    *x = (*x + b - log_sum).exp();
                }
            }
            None => p.iter_mut().for_each(|x| *x = (*x - log_sum).exp()),
        }
        if let Some(mask) = &a.dropout {
            let kept = &mut self.mask[..seen];
            kept.fill(T::ONE);
            mask_row(mask, number, place.keys.start, kept);
            for ((p, ds), &z) in p.iter_mut().zip(ds.iter_mut()).zip(&*kept) {
                *ds = *p * (z * *ds - delta);
                *p *= z;
            }
        } else {
            for (&mut p, ds) in p.iter_mut().zip(ds.iter_mut()) {
                *ds = p * (*ds - delta);
            }
        }
        if pass.distances.is_some() {
            add_slice(ds, &mut self.dbias[place.keys.start + pass.reach - 1 - position..][..seen]);
        }
    }

    /// The gradients by relative position, summed over each bucket in 64 bits.
    fn by_bucket(&self, pass: &Pass<'_, T>) -> Vec<f64> {
        let Some(Bias { table, direction, max_distance }) = pass.a.bias else { return Vec::new() };
        let mut sums = vec![0.0; table.rows];
        for (place, x) in self.dbias.iter().enumerate() {
            let relative = place as i64 - (pass.reach as i64 - 1);
            sums[relative_bucket(relative, table.rows, max_distance, direction)] += x.to_f64();
        }
        sums
    }
}

/// Writes rows of `e` elements to the columns of one head, from row `first` on.
fn write_head<T: Real>(out: &Places<'_, T>, rows: &[T], (first, head): (usize, usize), (width, e): (usize, usize)) {
    for (i, row) in rows.chunks_exact(e).enumerate() {
        // SAFETY: a (segment, head) is exactly one task, and so these `e` elements belong to exactly one.
        unsafe { out.at((first + i) * width + head * e, e) }.copy_from_slice(row);
    }
}
