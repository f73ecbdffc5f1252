//! Self- and cross-attention of many rows: one (segment, head, block of rows) a task, softmax in one pass over
//! blocks of keys, so that a tile of the logits is all that ever exists of them.

use gemm::Parallelism;
use rayon::prelude::*;

use super::linear::{Into, Product, View};
use super::real::{max, sum, vectorised};
use super::{Cpu, Real};
use crate::backend::{Attend, Bias, Direction, Mat, relative_bucket};

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

pub(super) fn attention<T: Real>(a: &Attend<'_, Cpu<T>>, o: &mut Mat<Cpu<T>>) {
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
    let out = Out { data: o.buf.as_mut_ptr(), len: o.buf.len() };
    blocks.par_iter().for_each_init(Tile::default, |tile, block| tile.attend(a, distances.as_ref(), block, &out));
}

/// The result, of which every task writes its own rows and columns.
struct Out<T> {
    data: *mut T,
    len: usize,
}
// SAFETY: tasks write disjoint places, see `Tile::finish`.
unsafe impl<T: Send> Sync for Out<T> {}

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

impl<T: Real> Tile<T> {
    fn attend(&mut self, a: &Attend<'_, Cpu<T>>, distances: Option<&Distances<T>>, block: &Block, out: &Out<T>) {
        let (width, e) = (a.q.cols, a.q.cols / a.heads);
        let rows = block.rows.len();
        let head = |first: usize| first * width + block.head * e;
        let first_row = a.rows.offsets[block.segment] as usize + block.rows.start;
        let keys = a.cols.offsets[block.segment] as usize..a.cols.offsets[block.segment + 1] as usize;
        // A row that looks back needs no key behind it.
        let reach = match a.bias {
            Some(Bias { direction: Direction::Past, .. }) => keys.len().min(block.rows.end),
            _ => keys.len(),
        };
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
            vectorised(|| {
                for row in 0..rows {
                    let position = block.rows.start + row;
                    let bias = distances.map(|d| d.along(block.head, position, first));
                    let seen = match a.bias {
                        Some(Bias { direction: Direction::Past, .. }) => {
                            (position + 1).saturating_sub(first).min(count)
                        }
                        _ => count,
                    };
                    self.soften(row, e, count, seen, bias);
                }
            });
            let p = View { data: &self.logits, row_stride: count, col_stride: 1 };
            Product { rows, cols: e, inner: count, lhs: p, rhs: v, threads }.write(Into::Sum, &mut self.values, e);
        }
        self.finish(out, first_row * width + block.head * e, width, e);
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
    #[inline(always)]
    fn soften(&mut self, row: usize, e: usize, count: usize, seen: usize, bias: Option<&[T]>) {
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
    }

    /// Writes `values / mass` to rows `stride` apart.
    fn finish(&self, out: &Out<T>, first: usize, stride: usize, e: usize) {
        for (row, (values, &mass)) in self.values.chunks_exact(e).zip(&self.mass).enumerate() {
            let start = first + row * stride;
            assert!(start + e <= out.len);
            // SAFETY: within the buffer, as asserted; a (row, head) belongs to exactly one block, and so these `e`
            // elements to exactly one task; `attention` holds the only reference to the buffer meanwhile.
            let place = unsafe { std::slice::from_raw_parts_mut(out.data.add(start), e) };
            let scale = if mass > T::ZERO { T::ONE / mass } else { mass };
            for (o, &value) in place.iter_mut().zip(values) {
                *o = value * scale;
            }
        }
    }
}
