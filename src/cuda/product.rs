//! Products with weights: which form of a kernel suits a shape, and on what grid.
//!
//! In bf16 whose rows are made of 16-byte pieces, tensor cores multiply: tiles of three sizes where there are many rows,
//! and where there are few, a form that lives from the weights' bytes alone. Everything else, f32 above all, has a plain
//! form.

use super::kernels::Kernel;
use super::launch::{Arg, Grid, WARP, args};
use super::{Cuda, Float};

/// A kernel in all its forms.
pub(super) struct Forms {
    /// On tensor cores, many rows.
    pub tiles: &'static [(Tile, Kernel)],
    /// On tensor cores, at most [`FEW_ROWS`]; without it, such are few tiles.
    pub few: Option<Kernel>,
    /// Of any widths and type.
    pub plain: Kernel,
    /// As `plain`, with less waste where there are few rows.
    pub plain_few: Kernel,
}

/// How large the tiles of a form are. `kernels/tiled.cuh` has the same numbers.
pub(super) struct Tile {
    rows: usize,
    cols: usize,
    warps: usize,
    stages: usize,
    /// How fast a multiprocessor is with them, beside the largest: the wider a warp's part, the more products each
    /// operand is loaded for. Measured on an H200, by the test below, at 40 shapes: what is chosen by this takes at
    /// most 1.02 of the fastest.
    speed: f64,
}

pub(super) const LARGE: Tile = Tile { rows: 128, cols: 256, warps: 8, stages: 4, speed: 1.0 };
pub(super) const MEDIUM: Tile = Tile { rows: 128, cols: 128, warps: 4, stages: 3, speed: 0.86 };
pub(super) const SMALL: Tile = Tile { rows: 64, cols: 64, warps: 4, stages: 4, speed: 0.42 };

/// Columns of the operands in a stage, in bytes of bf16.
const SLICE_BYTES: usize = 32 * 2;

impl Tile {
    /// Of each product.
    fn blocks(&self, shape: &Shape) -> usize {
        shape.rows.div_ceil(self.rows) * shape.outputs.div_ceil(self.cols)
    }

    /// What the busiest multiprocessor has to do, in some unit.
    pub(super) fn time(&self, shape: &Shape, multiprocessors: usize) -> f64 {
        ((shape.products * self.blocks(shape)).div_ceil(multiprocessors) * self.rows * self.cols) as f64 / self.speed
    }

    pub(super) fn grid(&self, shape: &Shape) -> Grid {
        let shared_bytes = self.stages * (self.rows + self.cols) * SLICE_BYTES;
        Grid::across([self.blocks(shape), 1, shape.products]).threads(self.warps * WARP, 1).shared(shared_bytes)
    }
}

/// `[rows, inner] · [outputs, inner]ᵀ`
pub(super) struct Shape {
    pub rows: usize,
    pub inner: usize,
    /// Rows of the weights, both of them where there are two.
    pub outputs: usize,
    /// Products of this shape in one launch.
    pub products: usize,
    /// Whether rows of what is written are made of as many numbers as a tensor core's form writes at once.
    pub writes_pieces: bool,
}

/// Rows that the form for few can take, and outputs of its blocks; `kernels/few.cuh` has the same numbers.
const FEW_ROWS: usize = 16;
const FEW_OUTPUTS: usize = 64;
const FEW_WARPS: usize = 4;
/// Rows that the form for few can norm on their way: each of its blocks norms all of them anew.
const NORMED_ROWS: usize = 4;
/// What a block's warps take of the inner dimension at a time: blocks that share it do so in multiples of this.
const FEW_STEP: usize = FEW_WARPS * 64;
/// Blocks that each multiprocessor should have, before it is worth the while that blocks do not share.
const FEW_BLOCKS: usize = 2;

/// Outputs of a block of the plain forms, its threads, and the rows of either form; `kernels/plain.cuh` has the same.
pub(super) const PLAIN_OUTPUTS: usize = 64;
pub(super) const PLAIN_THREADS: usize = 128;
pub(super) const PLAIN_ROWS: usize = 64;
const PLAIN_FEW_ROWS: usize = 8;
/// Up to here, tiles of few rows waste less than their narrowness costs.
const PLAIN_FEW_UP_TO: usize = 32;

/// Blocks that share an inner dimension count themselves, a counter for each block of outputs. There are fewer of those
/// than this, or they would not share.
pub(super) fn tickets(multiprocessors: usize) -> usize {
    FEW_BLOCKS * multiprocessors
}

impl<E: Float> Cuda<E> {
    /// Launches the form that suits the shape. Forms for few rows have more parameters, which are behind `args`: the
    /// norm's, where a product can have one, and how blocks share the inner dimension.
    pub(super) fn multiply(&self, forms: &Forms, shape: &Shape, args: &[Arg], norm: &[Arg]) {
        if !self.is_on_tensor_cores(shape) {
            return self.multiply_plainly(forms, shape, args);
        }
        match forms.few {
            Some(few) if shape.rows <= FEW_ROWS => self.multiply_few(few, shape, &[args, norm].concat()),
            _ => self.multiply_tiled(forms.tiles, shape, args),
        }
    }

    /// Whether the product is launched in a form that can norm its rows on their way.
    pub(super) fn can_norm(&self, shape: &Shape) -> bool {
        shape.rows <= NORMED_ROWS && self.is_on_tensor_cores(shape)
    }

    fn is_on_tensor_cores(&self, shape: &Shape) -> bool {
        size_of::<E>() == 2 && shape.inner.is_multiple_of(E::PACK) && shape.writes_pieces
    }

    fn multiply_tiled(&self, tiles: &[(Tile, Kernel)], shape: &Shape, args: &[Arg]) {
        let time = |tile: &Tile| tile.time(shape, self.device.multiprocessors);
        let best = tiles.iter().min_by(|(a, _), (b, _)| time(a).total_cmp(&time(b)));
        let (tile, kernel) = best.expect("there are tiles of some size");
        self.launch(*kernel, tile.grid(shape), args);
    }

    fn multiply_few(&self, kernel: Kernel, shape: &Shape, args: &[Arg]) {
        let blocks = shape.outputs.div_ceil(FEW_OUTPUTS);
        let all = shape.products * blocks;
        let wanted = (FEW_BLOCKS * self.device.multiprocessors).div_ceil(all.max(1));
        let span = shape.inner.div_ceil(wanted).max(1).next_multiple_of(FEW_STEP);
        let shares = shape.inner.div_ceil(span).max(1);
        let sums = if shares == 1 { 0 } else { all * shares * shape.rows * FEW_OUTPUTS };
        let partial = self.buffer::<f32>(sums);
        let grid = Grid::across([blocks, shares, shape.products]).threads(FEW_WARPS * WARP, 1);
        self.launch(kernel, grid, &[args, args![span, &partial, &*self.tickets]].concat());
    }

    fn multiply_plainly(&self, forms: &Forms, shape: &Shape, args: &[Arg]) {
        let few = shape.rows <= PLAIN_FEW_UP_TO;
        let (kernel, rows) = if few { (forms.plain_few, PLAIN_FEW_ROWS) } else { (forms.plain, PLAIN_ROWS) };
        let blocks = [shape.outputs.div_ceil(PLAIN_OUTPUTS), shape.rows.div_ceil(rows), shape.products];
        self.launch(kernel, Grid::across(blocks).threads(PLAIN_THREADS, 1), args);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use half::bf16;

    use super::*;
    use crate::backend::{Backend, Mat};
    use crate::cuda::probe;

    /// What [`Tile::speed`] was found by: the time of every tile at T5's shapes, on a real device.
    #[test]
    #[ignore = "needs a device: cargo test --release --lib chosen_tile -- --ignored --nocapture"]
    fn the_chosen_tile_is_nearly_the_fastest() {
        let be = Cuda::<bf16>::new(&probe().unwrap()).unwrap();
        let random = |rows: usize, cols: usize| {
            let draw = |i| bf16::from_f64(0.1 * crate::random::normal(1, cols as u64, i as u64));
            Mat::upload(&be, rows, cols, (0..rows * cols).map(draw).collect())
        };
        let idle = be.upload(vec![0u32]);
        println!(
            "{:>6} {:>6} {:>6} {:>2}  µs of tiles 128 x 256, 128 x 128, 64 x 64; blocks of each; the one chosen",
            "rows", "inner", "outs", "n"
        );
        for rows in [48, 352, 1760, 2816, 8800] {
            for (inner, outputs, products) in [
                (768, 768, 1),
                (768, 768, 3),
                (768, 4096, 1),
                (2048, 768, 1),
                (1024, 1024, 1),
                (1024, 1024, 3),
                (1024, 5632, 1),
                (2816, 1024, 1),
            ] {
                let (x, w) = (random(rows, inner), random(outputs, inner));
                let y = be.alloc(rows, outputs, None);
                let shape = Shape { rows, inner, outputs, products, writes_pieces: true };
                let tiles =
                    [(LARGE, Kernel::LinearLarge), (MEDIUM, Kernel::LinearMedium), (SMALL, Kernel::LinearSmall)];
                let time = |(tile, kernel): &(Tile, Kernel)| {
                    let args =
                        args![&x, &w, &w, &w, &y, &y, &y, rows, inner, outputs, None::<&super::super::buffer::Live>];
                    let run = |times: usize| {
                        let start = Instant::now();
                        (0..times).for_each(|_| be.launch(*kernel, tile.grid(&shape), args));
                        be.download(&idle).unwrap();
                        start.elapsed().as_secs_f64() / times as f64
                    };
                    run(20);
                    let mut times: Vec<f64> = (0..5).map(|_| run(50)).collect();
                    times.sort_by(f64::total_cmp);
                    times[2] * 1e6
                };
                let blocks = tiles.each_ref().map(|(tile, _)| tile.blocks(&shape) * products);
                let chosen = tiles.iter().map(|(tile, _)| tile.time(&shape, be.device.multiprocessors)).enumerate();
                let chosen = chosen.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
                let times @ [large, medium, small] = tiles.each_ref().map(time);
                let what = format!("{rows:>6} {inner:>6} {outputs:>6} {products:>2}");
                println!("{what}  {large:7.1} {medium:7.1} {small:7.1}  {blocks:?} {chosen}");
                let fastest = times.into_iter().fold(f64::INFINITY, f64::min);
                assert!(times[chosen] <= 1.1 * fastest, "{what}: {} µs, and {fastest} µs would do", times[chosen]);
            }
        }
    }
}
