//! Products of rows with packed weights, and what is done with them while they are in the cache.

use half::bf16;
use rayon::prelude::*;

use super::bf16::PARTS;
use super::path::{Path, Worker};
use super::{Block, Packed, Packing, SIDE, Slab, Values, slabs};
use crate::cpu::geglu::gelu;
use crate::cpu::linear::FEW_ROWS;
use crate::cpu::real::vectorised;
use crate::cpu::rounded::round;
use crate::cpu::scratch::scratch;

/// What becomes of the products.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu) enum Finish {
    /// `y_i = x·W_iᵀ`
    Store,
    /// `y += x·Wᵀ`
    Add,
    /// `y = gelu(x·W₀ᵀ) ⊙ x·W₁ᵀ`
    Gate,
}

/// The products of the same rows with one or more weights of one shape.
pub(in crate::cpu) struct Family<'a> {
    /// `[n, inner]`.
    pub x: &'a [f32],
    pub weights: &'a [&'a Packed],
    pub finish: Finish,
    pub path: Path,
}

/// Whether the path has instructions for so many rows.
pub(in crate::cpu) fn covers(packing: Packing, rows: usize, path: Path) -> bool {
    packing != Packing::Bf16 || rows <= FEW_ROWS || path == Path::Amx
}

/// Weights below which a task of a few rows is not worth handing out.
pub(super) const LEAST: usize = 1 << 15;

/// Rows as the instructions want them.
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a [f32],
    inner: usize,
    /// Panel by panel; none where they are multiplied as they are.
    slabs: &'a [Slab],
    /// Of 8-bit rows.
    scales: &'a [f32],
}

impl Rows<'_> {
    fn count(&self) -> usize {
        self.x.len() / self.inner
    }

    /// 32 rows, or what is left of them.
    fn panel(&self, panel: usize) -> Self {
        let len = self.slabs.len() / self.count().div_ceil(SIDE);
        let rows = panel * SIDE..self.count().min((panel + 1) * SIDE);
        Self {
            x: &self.x[rows.start * self.inner..rows.end * self.inner],
            slabs: &self.slabs[panel * len..][..len],
            scales: self.scales.get(rows).unwrap_or_default(),
            ..*self
        }
    }
}

/// What a thread needs to make blocks.
struct Workbench {
    worker: Worker,
    sums: Block<i32>,
    gated: Block<f32>,
    product: Block<f32>,
}

impl Workbench {
    fn new(path: Path) -> Self {
        let zeros = [0.0; SIDE * SIDE];
        Self { worker: Worker::new(path), sums: [0; SIDE * SIDE], gated: zeros, product: zeros }
    }
}

impl Packed {
    /// The product of up to 32 rows with a panel.
    fn block(&self, panel: usize, rows: Rows<'_>, worker: &Worker, sums: &mut Block<i32>, y: &mut Block<f32>) {
        let w = self.panel(panel);
        match &self.values {
            Values::Int8(scales) => {
                worker.sums(rows.slabs, w, scales.starts(panel), rows.count(), sums);
                worker.product(sums, rows.scales, scales.of(panel), y);
            }
            Values::F32(_) => unreachable!("products in f32 are of other blocks"),
            Values::Bf16 if rows.slabs.is_empty() => worker.few_products(rows.x, self.inner, w, y),
            Values::Bf16 => worker.products(rows.slabs, w, y),
        }
    }
}

impl Family<'_> {
    /// Writes or adds to `ys`, which are as many as `finish` has.
    pub fn run(&self, ys: &mut [&mut [f32]]) {
        match self.finish {
            Finish::Store | Finish::Gate => self.deliver(ys, copy),
            Finish::Add => self.deliver(ys, add),
        }
    }

    /// Writes to `ys` what it is rounded to.
    pub fn run_rounded(&self, ys: &mut [&mut [bf16]]) {
        assert!(self.finish != Finish::Add, "sums are not rounded");
        self.deliver(ys, round);
    }

    /// Hands the products to `to`, some columns of a row at a time, with the place where they belong.
    fn deliver<Y: Send>(&self, ys: &mut [&mut [Y]], to: impl Fn(&[f32], &mut [Y]) + Sync) {
        let first = self.weights[0];
        let alike = |w: &&Packed| (w.outputs, w.inner, w.packing()) == (first.outputs, first.inner, first.packing());
        assert!(self.weights.iter().all(alike), "a family is of one shape");
        let weights = if self.finish == Finish::Gate { 2 * ys.len() } else { ys.len() };
        assert_eq!(self.weights.len(), weights, "a family has other products");
        let rows = self.x.len() / first.inner;
        assert!(self.x.len() == rows * first.inner && ys.iter().all(|y| y.len() == rows * first.outputs));
        match rows {
            0 => {}
            1..=SIDE if first.packing() == Packing::F32 => self.few_singles(rows, ys, to),
            _ if first.packing() == Packing::F32 => self.many_singles(rows, ys, to),
            1..=SIDE => self.few(rows, ys, to),
            _ => self.many(rows, ys, to),
        }
    }

    /// Calls `body` with rows in the form that the path wants.
    fn with_prepared(&self, x: &[f32], body: impl FnOnce(Rows<'_>)) {
        let inner = self.weights[0].inner;
        let rows = x.len() / inner;
        let panels = rows.div_ceil(SIDE);
        match self.weights[0].packing() {
            Packing::F32 => unreachable!("products in f32 are of other blocks"),
            Packing::Int8 => scratch(panels * slabs::<u8>(inner), |slabs: &mut [Slab]| {
                scratch(rows, |scales| {
                    self.path.int8_rows(x, inner, slabs, scales);
                    body(Rows { x, inner, slabs, scales });
                });
            }),
            // Of all rows, not of these: what is computed must not depend on how they are shared out.
            Packing::Bf16 if self.x.len() / inner <= FEW_ROWS => body(Rows { x, inner, slabs: &[], scales: &[] }),
            Packing::Bf16 => scratch(panels * slabs::<u16>(inner) * PARTS, |slabs: &mut [Slab]| {
                self.path.bf16_rows(x, inner, slabs);
                body(Rows { x, inner, slabs, scales: &[] });
            }),
        }
    }

    /// At most 32 rows: the weights are the traffic, each is read once, and tasks are panels.
    fn few<Y>(&self, rows: usize, ys: &mut [&mut [Y]], to: impl Fn(&[f32], &mut [Y])) {
        let (outputs, inner) = (self.weights[0].outputs, self.weights[0].inner);
        let (panels, size) = (self.weights[0].panels(), rows * SIDE);
        scratch(ys.len() * panels * size, |blocks: &mut [f32]| {
            self.with_prepared(self.x, |prepared| {
                let tasks = blocks.par_chunks_mut(size).enumerate().with_min_len(1 + LEAST / (SIDE * inner));
                tasks.for_each_init(
                    || Workbench::new(self.path),
                    |bench, (i, block)| {
                        self.block(i / panels, i % panels, prepared, bench);
                        block.copy_from_slice(&bench.product[..size]);
                    },
                );
            });
            for (i, block) in blocks.chunks_exact(size).enumerate() {
                put((block, SIDE), i % panels * SIDE, outputs, ys[i / panels], &to);
            }
        });
    }

    /// Many rows: each task has some and multiplies them by all weights, while they are in its cache.
    fn many<Y: Send>(&self, rows: usize, ys: &mut [&mut [Y]], to: impl Fn(&[f32], &mut [Y]) + Sync) {
        let (outputs, inner) = (self.weights[0].outputs, self.weights[0].inner);
        let share = rows / (4 * rayon::current_num_threads());
        let strip = share.next_multiple_of(SIDE).clamp(SIDE, 2 * SIDE);
        let mut strips: Vec<_> = ys.iter_mut().map(|y| y.chunks_mut(strip * outputs)).collect();
        let mut of_all = || strips.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>();
        let tasks: Vec<_> = self.x.chunks(strip * inner).map(|x| (x, of_all())).collect();
        tasks.into_par_iter().for_each(|(x, mut ys)| {
            let mut bench = Workbench::new(self.path);
            self.with_prepared(x, |prepared| {
                for (i, y) in ys.iter_mut().enumerate() {
                    for panel in 0..self.weights[i].panels() {
                        for (part, rows) in y.chunks_mut(SIDE * outputs).enumerate() {
                            self.block(i, panel, prepared.panel(part), &mut bench);
                            put((&bench.product, SIDE), panel * SIDE, outputs, rows, &to);
                        }
                    }
                }
            });
        });
    }

    /// The block of result `i` at a panel, in `bench.product`.
    fn block(&self, i: usize, panel: usize, rows: Rows<'_>, bench: &mut Workbench) {
        let Workbench { worker, sums, gated, product } = bench;
        self.weights[i].block(panel, rows, worker, sums, product);
        if self.finish == Finish::Gate {
            self.weights[i + 1].block(panel, rows, worker, sums, gated);
            let len = rows.count() * SIDE;
            vectorised!(gate(&mut product[..len], &gated[..len]));
        }
    }
}

/// `y ← x`.
#[inline(always)]
fn copy(x: &[f32], y: &mut [f32]) {
    y.copy_from_slice(x);
}

/// `y += x`.
#[inline(always)]
fn add(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// `a ← gelu(a) ⊙ b`.
#[inline(always)]
pub(super) fn gate(a: &mut [f32], b: &[f32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = gelu(*a) * b;
    }
}

/// Puts a block, whose rows are `side` long, into rows, from column `col` on. Most of `to`'s calls have a length that
/// is known when it is compiled, and so no loops.
#[inline(always)]
pub(super) fn put<Y>(
    (block, side): (&[f32], usize),
    col: usize,
    outputs: usize,
    rows: &mut [Y],
    to: impl Fn(&[f32], &mut [Y]),
) {
    let width = side.min(outputs - col);
    vectorised!(for (row, block) in rows.chunks_exact_mut(outputs).zip(block.chunks_exact(side)) {
        let (block, rest) = block[..width].as_chunks::<SIDE>();
        let (row, behind) = row[col..][..width].as_chunks_mut::<SIDE>();
        for (block, row) in block.iter().zip(row) {
            to(block, row);
        }
        if !rest.is_empty() {
            to(rest, behind);
        }
    });
}
