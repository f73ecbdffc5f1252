//! Self- and cross-attention of many rows: some rows of one (segment, head) a task, softmax in one pass over tiles of
//! keys, so that one tile of the logits is all that ever exists of them.

mod gemm;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::ops::Range;

use rayon::prelude::*;

use super::places::Places;
use super::real::vectorised;
#[cfg(target_arch = "x86_64")]
use super::real::{singles, singles_mut};
use super::{Cpu, Real};
use crate::backend::{Attend, Bias, Direction, Dropout, Mat, relative_bucket};

/// Keys of a tile.
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

    #[cfg(target_arch = "x86_64")]
    fn singles(self) -> Distances<f32> {
        Distances { bias: singles(&self.bias).to_vec(), reach: self.reach }
    }
}

/// How many of the keys `first .. first + count` the row at `position` of its segment attends to.
#[inline(always)]
pub(super) fn seen<T: Real>(a: &Attend<'_, Cpu<T>>, position: usize, first: usize, count: usize) -> usize {
    seen_of(looks_back(a), position, first, count)
}

fn looks_back<T: Real>(a: &Attend<'_, Cpu<T>>) -> bool {
    matches!(a.bias, Some(Bias { direction: Direction::Past, .. }))
}

#[inline(always)]
fn seen_of(looks_back: bool, position: usize, first: usize, count: usize) -> usize {
    if looks_back { (position + 1).saturating_sub(first).min(count) } else { count }
}

/// What all tasks read, and the places they write, each its own rows and head.
struct Pass<'a, T> {
    /// `[n, h·e]`.
    q: &'a [T],
    /// `[n', h·e]`.
    k: &'a [T],
    v: &'a [T],
    heads: usize,
    e: usize,
    distances: Option<Distances<T>>,
    looks_back: bool,
    dropout: Option<Dropout>,
    /// `[n, h·e]`.
    o: Places<'a, T>,
    /// `[n, h]`.
    log_sum: Option<Places<'a, T>>,
}

impl<T> Pass<'_, T> {
    /// From one row to the next.
    fn width(&self) -> usize {
        self.heads * self.e
    }

    /// Where a head's part of a row begins.
    fn at(&self, row: usize, head: usize) -> usize {
        row * self.width() + head * self.e
    }
}

/// One task: some rows of one head of one segment.
struct Task {
    head: usize,
    /// Where the segment begins.
    start: usize,
    /// Counted from there.
    rows: Range<usize>,
    /// Of the segment.
    keys: Range<usize>,
}

/// How exact the products of attention have to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As exact as their type.
    Full,
    /// Of operands in bf16, where the processor multiplies them faster.
    Rounded,
}

/// Attention, and the logarithms of its rows' sums where those are wanted.
pub(super) fn attention<T: Real>(
    a: &Attend<'_, Cpu<T>>,
    precision: Precision,
    o: &mut Mat<Cpu<T>>,
    log_sum: Option<&mut [T]>,
) {
    let distances = a.bias.as_ref().map(|bias| Distances::new(bias, a.rows.longest.max(a.cols.longest)));
    let operands = [&a.q.buf[..], &a.k.buf[..], &a.v.buf[..]];
    #[cfg(not(target_arch = "x86_64"))]
    let _ = precision;
    #[cfg(target_arch = "x86_64")]
    if T::NAME == f32::NAME {
        let places = (singles_mut(&mut o.buf), log_sum.map(singles_mut));
        let pass = pass(a, operands.map(singles), distances.map(Distances::singles), places);
        if let (Precision::Rounded, Some(best)) = (precision, tiles::Instructions::available().first()) {
            return run(a, &pass, best.engine());
        }
        return match (pulp::x86::V4::try_new(), pulp::x86::V3::try_new()) {
            (Some(simd), _) => run(a, &pass, || lanes::Lanes::<_, 4>::new(simd)),
            (None, Some(simd)) => run(a, &pass, || lanes::Lanes::<_, 2>::new(simd)),
            (None, None) => run(a, &pass, gemm::Gemm::default),
        };
    }
    run(a, &pass(a, operands, distances, (&mut o.buf, log_sum)), gemm::Gemm::default);
}

fn pass<'a, T: Real, U>(
    a: &Attend<'_, Cpu<T>>,
    [q, k, v]: [&'a [U]; 3],
    distances: Option<Distances<U>>,
    (o, log_sum): (&'a mut [U], Option<&'a mut [U]>),
) -> Pass<'a, U> {
    Pass {
        q,
        k,
        v,
        heads: a.heads,
        e: a.q.cols / a.heads,
        distances,
        looks_back: looks_back(a),
        dropout: a.dropout,
        o: Places::of(o),
        log_sum: log_sum.map(Places::of),
    }
}

/// How a tile's two products are computed, and the softmax between them. No row's numbers may depend on the others of
/// its tile, or tasks on the number of threads.
trait Engine<T> {
    /// Rows of a tile.
    const ROWS: usize;

    /// Rows of a task, of a segment's `rows`, where every head of every segment has to be in at least `parts` tasks for
    /// all threads to have some. A few tiles at the least, since a task packs its keys and values.
    fn height(rows: usize, parts: usize) -> usize {
        rows.div_ceil(parts).next_multiple_of(Self::ROWS).max(4 * Self::ROWS)
    }

    /// Columns of a row of values, the head's and those that fill up a vector.
    fn columns(e: usize) -> usize;

    /// Moves on to these keys and values of a head.
    fn take(&mut self, pass: &Pass<'_, T>, head: usize, keys: Range<usize>);

    /// The logits of up to [`ROWS`](Self::ROWS) rows with the first `count` keys.
    fn multiply(&mut self, pass: &Pass<'_, T>, head: usize, rows: Range<usize>, count: usize);

    /// Turns one row of logits into weights relative to the row's running maximum, of which the first `strip.seen`
    /// count; → what the weights before, if there were any, have shrunk by. Dropped weights count in the row's sum: the
    /// mask comes after the softmax.
    fn soften(&mut self, strip: &Strip<'_, T>, peak: &mut T, mass: &mut T) -> T;

    /// Adds the weighted values of some rows to `[ROWS, columns]`, of which those behind are anything.
    fn add_values(&mut self, pass: &Pass<'_, T>, rows: usize, count: usize, values: &mut [T]);
}

/// One row of a tile of logits.
struct Strip<'a, T> {
    /// Its number within the tile.
    row: usize,
    /// Keys of the tile.
    count: usize,
    /// Of those, how many the row attends to.
    seen: usize,
    /// Of those, and some behind.
    bias: Option<&'a [T]>,
    /// The mask, the row's number in it and the first column.
    mask: Option<(Dropout, usize, usize)>,
}

/// Runs all tasks, by engines that threads use again.
fn run<T: Real, E: Engine<T>>(a: &Attend<'_, Cpu<impl Real>>, pass: &Pass<'_, T>, engine: impl Fn() -> E + Sync) {
    let bounds = |offsets: &[u32], segment: usize| offsets[segment] as usize..offsets[segment + 1] as usize;
    let parts = (4 * rayon::current_num_threads()).div_ceil((a.rows.count * a.heads).max(1));
    let tasks: Vec<Task> = (0..a.rows.count)
        .flat_map(|segment| {
            let (rows, keys) = (bounds(&a.rows.offsets, segment), bounds(&a.cols.offsets, segment));
            let (start, len) = (rows.start, rows.len());
            let height = E::height(len, parts);
            (0..len).step_by(height).flat_map(move |first| {
                let (rows, keys) = (first..len.min(first + height), keys.clone());
                (0..pass.heads).map(move |head| Task { head, start, rows: rows.clone(), keys: keys.clone() })
            })
        })
        .collect();
    tasks.par_iter().for_each_init(|| Softmax::new(engine()), |softmax, task| softmax.run(pass, task));
}

/// Scratch of one thread: running maximum and sum of each row, and the weighted values so far, as in the online softmax
/// of Milakov and Gimelshein (arXiv 1805.02867).
struct Softmax<T, E> {
    engine: E,
    peak: Vec<T>,
    mass: Vec<T>,
    /// `[rows, columns]`.
    values: Vec<T>,
}

impl<T: Real, E: Engine<T>> Softmax<T, E> {
    fn new(engine: E) -> Self {
        Self { engine, peak: Vec::new(), mass: Vec::new(), values: Vec::new() }
    }

    fn run(&mut self, pass: &Pass<'_, T>, task: &Task) {
        // A row that looks back needs no key behind it.
        let seen = |position, first, count| seen_of(pass.looks_back, position, first, count);
        let reach = seen(task.rows.end - 1, 0, task.keys.len());
        self.clear(task.rows.len(), E::columns(pass.e));
        for first in (0..reach).step_by(TILE_KEYS) {
            let keys = first..reach.min(first + TILE_KEYS);
            self.engine.take(pass, task.head, task.keys.start + keys.start..task.keys.start + keys.end);
            for row in task.rows.clone().step_by(E::ROWS) {
                let rows = row..task.rows.end.min(row + E::ROWS);
                let count = seen(rows.end - 1, first, keys.len());
                if count > 0 {
                    self.tile(pass, task, rows, first..first + count);
                }
            }
        }
        self.finish(pass, task);
    }

    fn clear(&mut self, rows: usize, columns: usize) {
        self.peak.clear();
        self.peak.resize(rows, T::NEG_INFINITY);
        self.mass.clear();
        self.mass.resize(rows, T::ZERO);
        self.values.clear();
        self.values.resize(rows.next_multiple_of(E::ROWS) * columns, T::ZERO);
    }

    fn tile(&mut self, pass: &Pass<'_, T>, task: &Task, rows: Range<usize>, keys: Range<usize>) {
        let (head, count, columns) = (task.head, keys.len(), E::columns(pass.e));
        self.engine.multiply(pass, head, task.start + rows.start..task.start + rows.end, count);
        let own = rows.start - task.rows.start;
        let values = &mut self.values[own * columns..][..E::ROWS * columns];
        for (row, position) in rows.clone().enumerate() {
            let bias = pass.distances.as_ref().map(|d| d.along(head, position, keys.start));
            let mask = pass.dropout.map(|mask| (mask, (task.start + position) * pass.heads + head, keys.start));
            let seen = seen_of(pass.looks_back, position, keys.start, count);
            let strip = Strip { row, count, seen, bias, mask };
            let shrink = self.engine.soften(&strip, &mut self.peak[own + row], &mut self.mass[own + row]);
            if shrink != T::ONE {
                vectorised!(values[row * columns..][..columns].iter_mut().for_each(|value| *value *= shrink));
            }
        }
        self.engine.add_values(pass, rows.len(), count, values);
    }

    /// Writes `values / mass`, and `peak + ln(mass)`.
    fn finish(&self, pass: &Pass<'_, T>, task: &Task) {
        let rows = self.values.chunks_exact(E::columns(pass.e)).zip(&self.mass);
        for (row, (values, &mass)) in rows.enumerate() {
            let place = task.start + task.rows.start + row;
            // SAFETY: a (row, head) belongs to exactly one task, and so do these elements.
            let o = unsafe { pass.o.at(pass.at(place, task.head), pass.e) };
            let scale = if mass > T::ZERO { T::ONE / mass } else { mass };
            vectorised!(for (o, &value) in o.iter_mut().zip(values) {
                *o = value * scale;
            });
            if let Some(log_sum) = &pass.log_sum {
                // SAFETY: as above.
                let log_sum = unsafe { log_sum.at(place * pass.heads + task.head, 1) };
                log_sum[0] = T::from_f64(self.peak[row].to_f64() + mass.to_f64().ln());
            }
        }
    }
}

#[cfg(test)]
mod tests;
