//! Self- and cross-attention of many rows: one (segment, head, block of rows) a task, softmax in one pass over
//! blocks of keys, so that a tile of the logits is all that ever exists of them.

use gemm::Parallelism;
use rayon::prelude::*;

use super::dropout::mask_row;
use super::linear::{Into, Product, View};
use super::places::Places;
use super::real::{max, sum, vectorised};
use super::{Cpu, Real};
use crate::backend::{Attend, Bias, Direction, Dropout, Mat, relative_bucket};

/// Rows and keys of a tile. Its logits (256 KiB in f32) stay in the second-level cache between the two products.
const TILE_ROWS: usize = 128;
const TILE_KEYS: usize = 512;

/// The bias of every relative position that occurs, head by head: bias along a row is then a slice.
pub(super) struct Distances<T> {
    bias: Vec<T>,
    /// Relative positions run from `-(reach - 1)` to `reach - 1`.
    reach: usize,
}

impl<T: Real> Distances<T> {
    pub(super) fn new(bias: &Bias<'_, Cpu<T>>, reach: usize) -> Self {
        let Bias { table, direction, max_distance } = *bias;
        let width = (2 * reach).saturating_sub(1);
        let mut out = vec![T::ZERO; table.cols * width];
        for place in 0..width {
            let bucket = relative_bucket(place as i64 - (reach as i64 - 1), table.rows, max_distance, direction);
            for head in 0..table.cols {
                out[head * width + place] = table.buf[bucket * table.cols + head];
            }
        }
        Self { bias: out, reach }
    }

    /// The bias of keys `first_key ..` to the row at `row`, for one head.
    #[inline(always)]
    pub(super) fn along(&self, head: usize, row: usize, first_key: usize) -> &[T] {
        let width = 2 * self.reach - 1;
        &self.bias[head * width..][..width][first_key + self.reach - 1 - row..]
    }
}

/// One task: a block of rows of one head of one segment.
struct Block {
    segment: usize,
    head: usize,
    rows: std::ops::Range<usize>,
}

/// What the tasks write, each its own rows and head.
struct Out<'a, T> {
    /// `[n, h·e]`.
    o: Places<'a, T>,
    /// `[n, h]`.
    log_sum: Option<Places<'a, T>>,
}

/// Attention, and the logarithms of its rows' sums where those are wanted.
pub(super) fn attention<T: Real>(a: &Attend<'_, Cpu<T>>, o: &mut Mat<Cpu<T>>, log_sum: Option<&mut [T]>) {
    let distances = a.bias.as_ref().map(|bias| Distances::new(bias, a.rows.longest.max(a.cols.longest)));
    let blocks: Vec<Block> = (0..a.rows.count)
        .flat_map(|segment| {
            let len = (a.rows.offsets[segment + 1] - a.rows.offsets[segment]) as usize;
            // Equal blocks: a short last one would leave a thread waiting.
            let height = len.div_ceil(len.div_ceil(TILE_ROWS).max(1)).max(1);
            (0..len).step_by(height).flat_map(move |first| {
                (0..a.heads).map(move |head| Block { segment, head, rows: first..len.min(first + height) })
            })
        })
        .collect();
    let out = Out { o: Places::of(&mut o.buf), log_sum: log_sum.map(Places::of) };
    blocks.par_iter().for_each_init(Tile::default, |tile, block| tile.attend(a, distances.as_ref(), block, &out));
}

/// How many of the keys `first .. first + count` the row at `position` of its segment attends to.
#[inline(always)]
pub(super) fn seen<T: Real>(a: &Attend<'_, Cpu<T>>, position: usize, first: usize, count: usize) -> usize {
    match a.bias {
        Some(Bias { direction: Direction::Past, .. }) => (position + 1).saturating_sub(first).min(count),
        _ => count,
    }
}

/// Scratch of one thread.
struct Tile<T> {
    logits: Vec<T>,
    /// Running maximum and sum of each row, and the weighted values so far, as in the online softmax of
    /// Milakov and Gimelshein (arXiv 1805.02867).
    peak: Vec<T>,
    mass: Vec<T>,
    values: Vec<T>,
}

impl<T> Default for Tile<T> {
    fn default() -> Self {
        Self { logits: Vec::new(), peak: Vec::new(), mass: Vec::new(), values: Vec::new() }
    }
}

/// One row of a tile of logits.
struct Strip<'a, T> {
    /// Its number within the tile.
    row: usize,
    /// Keys of the tile.
    count: usize,
    /// Of those, how many the row attends to.
    seen: usize,
    /// Of those.
    bias: Option<&'a [T]>,
    /// The mask, the row's number in it and the first column.
    mask: Option<(Dropout, usize, usize)>,
}

impl<T: Real> Tile<T> {
    fn attend(&mut self, a: &Attend<'_, Cpu<T>>, distances: Option<&Distances<T>>, block: &Block, out: &Out<'_, T>) {
        let (width, e) = (a.q.cols, a.q.cols / a.heads);
        let rows = block.rows.len();
        let head = |first: usize| first * width + block.head * e;
        let first_row = a.rows.offsets[block.segment] as usize + block.rows.start;
        let keys = a.cols.offsets[block.segment] as usize..a.cols.offsets[block.segment + 1] as usize;
        // A row that looks back needs no key behind it.
        let reach = seen(a, block.rows.end - 1, 0, keys.len());
        self.clear(rows, e);
        for first in (0..reach).step_by(TILE_KEYS) {
            let count = TILE_KEYS.min(reach - first);
            let q = View { data: &a.q.buf[head(first_row)..], row_stride: width, col_stride: 1 };
            let k = View { data: &a.k.buf[head(keys.start + first)..], row_stride: 1, col_stride: width };
            let v = View { data: &a.v.buf[head(keys.start + first)..], row_stride: width, col_stride: 1 };
            let threads = Parallelism::None;
            Product { rows, cols: count, inner: e, lhs: q, rhs: k, threads }.write(
                Into::Fresh,
                &mut self.logits,
                count,
            );
            vectorised!({
                for row in 0..rows {
                    let position = block.rows.start + row;
                    let bias = distances.map(|d| d.along(block.head, position, first));
                    let seen = seen(a, position, first, count);
                    let mask = a.dropout.map(|mask| (mask, (first_row + row) * a.heads + block.head, first));
                    self.soften(e, Strip { row, count, seen, bias, mask });
                }
            });
            let p = View { data: &self.logits, row_stride: count, col_stride: 1 };
            Product { rows, cols: e, inner: count, lhs: p, rhs: v, threads }.write(Into::Sum, &mut self.values, e);
        }
        self.finish(a, block.head, first_row, out);
    }

    fn clear(&mut self, rows: usize, e: usize) {
        self.logits.resize(TILE_ROWS * TILE_KEYS, T::ZERO);
        self.peak.clear();
        self.peak.resize(rows, T::NEG_INFINITY);
        self.mass.clear();
        self.mass.resize(rows, T::ZERO);
        self.values.clear();
        self.values.resize(rows * e, T::ZERO);
    }

    /// Turns one row of logits into weights relative to the row's running maximum, of which the first `seen` count.
    /// Dropped weights count in the row's sum: the mask comes after the softmax.
    #[inline(always)]
    fn soften(&mut self, e: usize, strip: Strip<'_, T>) {
        let Strip { row, count, seen, bias, mask } = strip;
        let logits = &mut self.logits[row * count..][..count];
        let (logits, masked) = logits.split_at_mut(seen);
        masked.fill(T::ZERO);
        if seen == 0 {
            return;
        }
        if let Some(bias) = bias {
            for (x, &b) in logits.iter_mut().zip(bias) {
                *x += b;
            }
        }
        let peak = self.peak[row].larger(max(logits));
        for x in logits.iter_mut() {
            *x = (*x - peak).exp();
        }
        let shrink = (self.peak[row] - peak).exp();
        self.mass[row] = self.mass[row] * shrink + sum(logits);
        self.peak[row] = peak;
        if shrink != T::ONE {
            for value in &mut self.values[row * e..][..e] {
                *value *= shrink;
            }
        }
        if let Some((mask, row, first)) = mask {
            mask_row(&mask, row, first, logits);
        }
    }

    /// Writes `values / mass`, and `peak + ln(mass)`, to the rows `first ..`.
    fn finish(&self, a: &Attend<'_, Cpu<T>>, head: usize, first: usize, out: &Out<'_, T>) {
        let e = a.q.cols / a.heads;
        for (row, (values, &mass)) in self.values.chunks_exact(e).zip(&self.mass).enumerate() {
            // SAFETY: a (row, head) belongs to exactly one block, and so these `e` elements to exactly one task.
            let place = unsafe { out.o.at((first + row) * a.q.cols + head * e, e) };
            let scale = if mass > T::ZERO { T::ONE / mass } else { mass };
            for (o, &value) in place.iter_mut().zip(values) {
                *o = value * scale;
            }
            if let Some(log_sum) = &out.log_sum {
                // SAFETY: as above.
                let place = unsafe { log_sum.at((first + row) * a.heads + head, 1) };
                place[0] = T::from_f64(self.peak[row].to_f64() + mass.to_f64().ln());
            }
        }
    }
}
