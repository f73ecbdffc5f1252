//! Adafactor with the semantics of T5X, see [`AdafactorStep`], without the host.

use super::kernels::Kernel;
use super::launch::{Arg, Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{AdafactorState, AdafactorStep, Grad, Mat, Moments};

const THREADS: usize = 256;
/// Rows of a block's tile; `kernels/adafactor.cu` has the same.
const ROWS: usize = 64;

pub(super) fn adafactor<E: Float>(
    be: &Cuda<E>,
    w: &mut Mat<Cuda<E>>,
    grad: &Grad<Cuda<E>>,
    state: &mut AdafactorState<Cuda<E>>,
    step: AdafactorStep,
) {
    let (rows, cols) = (w.rows, w.cols);
    assert_eq!((rows, cols), (grad.rows, grad.cols), "adafactor: w and its gradient");
    let rest = state.remainder.as_mut().map(|rest| &mut rest.buf);
    assert_eq!(rest.as_ref().map(|rest| rest.len()), (size_of::<E>() < size_of::<f32>()).then_some(rows * cols));
    if rows * cols == 0 {
        return;
    }
    let of_parameter = args![&grad.buf, &*w, rest.as_deref(), rows, cols];
    let tiles = Tiles::of(rows, cols);
    match &mut state.moments {
        Moments::Factored { row, col } => {
            assert_eq!((row.buf.len(), col.buf.len()), (rows, cols), "adafactor: moments");
            factored(be, of_parameter, (&grad.buf, &mut row.buf, &mut col.buf), (&tiles, step));
        }
        Moments::Whole(moment) => {
            assert_eq!(moment.buf.len(), rows * cols, "adafactor: moments");
            whole(be, of_parameter, &mut moment.buf, (&tiles, step));
        }
    }
}

/// A block for each tile of a parameter.
struct Tiles {
    rows: usize,
    cols: usize,
    across: usize,
    down: usize,
}

impl Tiles {
    fn of(rows: usize, cols: usize) -> Self {
        let quads = if cols.is_multiple_of(4) { cols / 4 } else { cols };
        Self { rows, cols, across: quads.div_ceil(WARP), down: rows.div_ceil(ROWS) }
    }

    fn count(&self) -> usize {
        self.across * self.down
    }

    fn grid(&self) -> Grid {
        Grid::across([self.across, self.down, 1]).threads(THREADS, 1)
    }
}

fn factored<E: Float>(
    be: &Cuda<E>,
    of_parameter: &[Arg],
    (grad, row, col): (&Buffer<f32>, &mut Buffer<f32>, &mut Buffer<f32>),
    (tiles, step): (&Tiles, AdafactorStep),
) {
    let &Tiles { rows, cols, across, down } = tiles;
    let mut by_row = be.buffer::<f32>(across * rows);
    let mut by_col = be.buffer::<f32>(down * cols);
    be.launch(Kernel::AdafactorSquares, tiles.grid(), args![grad, &mut by_row, &mut by_col, rows, cols]);
    let totals = blend(be, (&by_row, across, cols), row, step);
    blend(be, (&by_col, down, rows), col, step);
    let [_, _, scale] = decay(step);
    let mut sizes = be.buffer::<f64>(2 * tiles.count());
    let moments = args![&*row, &*col, scale];
    be.launch(Kernel::AdafactorSizes, tiles.grid(), &[of_parameter, moments, args![&mut sizes]].concat());
    let rate = rate(be, &sizes, Some(&totals), (tiles, step));
    be.launch(Kernel::AdafactorStep, tiles.grid(), &[of_parameter, moments, args![&rate]].concat());
}

fn whole<E: Float>(
    be: &Cuda<E>,
    of_parameter: &[Arg],
    moment: &mut Buffer<f32>,
    (tiles, step): (&Tiles, AdafactorStep),
) {
    let [keep, take, scale] = decay(step);
    let mut sizes = be.buffer::<f64>(2 * tiles.count());
    let args = [of_parameter, args![&mut *moment, keep, take, scale, &mut sizes]].concat();
    be.launch(Kernel::AdafactorWholeSizes, tiles.grid(), &args);
    let rate = rate(be, &sizes, None, (tiles, step));
    be.launch(Kernel::AdafactorWholeStep, tiles.grid(), &[of_parameter, args![&*moment, scale, &rate]].concat());
}

/// `β`, `1 − β`, which is rounded by itself, and what the gradient is multiplied by.
fn decay(step: AdafactorStep) -> [f32; 3] {
    [step.decay, 1.0 - step.decay, step.scale].map(|x| x as f32)
}

/// The moments of rows or columns, by the `count` parts of their sums over `others` elements. → sums of the moments.
fn blend<E: Float>(
    be: &Cuda<E>,
    (parts, count, others): (&Buffer<f32>, usize, usize),
    moment: &mut Buffer<f32>,
    step: AdafactorStep,
) -> Buffer<f64> {
    let len = moment.len();
    let blocks = len.div_ceil(WARP);
    let mut totals = be.buffer::<f64>(blocks);
    let [keep, take, scale] = decay(step);
    let args = args![parts, moment, &mut totals, count, len, others, keep, take, scale];
    be.launch(Kernel::AdafactorMoment, Grid::of(blocks).threads(THREADS, 1), args);
    totals
}

/// By how much the update moves the parameter, on the device.
fn rate<E: Float>(
    be: &Cuda<E>,
    sizes: &Buffer<f64>,
    totals: Option<&Buffer<f64>>,
    (tiles, step): (&Tiles, AdafactorStep),
) -> Buffer<f32> {
    let mut rate = be.buffer::<f32>(1);
    let count = totals.map_or(0, Buffer::len);
    let learning_rate = step.learning_rate as f32;
    let args = args![sizes, tiles.count(), totals, count, tiles.rows, tiles.cols, learning_rate, &mut rate];
    be.launch(Kernel::AdafactorRate, Grid::of(1).threads(THREADS, 1), args);
    rate
}
