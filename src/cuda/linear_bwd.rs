//! Backward through products with a weight matrix.

use super::buffer::Live;
use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::product::{Forms, LARGE, MEDIUM, PLAIN_OUTPUTS, PLAIN_ROWS, PLAIN_THREADS, SMALL, Shape, Tile};
use super::sum_rows::sum_rows;
use super::{Cuda, Float};
use crate::backend::{Grad, Mat};

const DX: Forms = Forms {
    tiles: &[(LARGE, Kernel::LinearDxLarge), (MEDIUM, Kernel::LinearDxMedium), (SMALL, Kernel::LinearDxSmall)],
    few: None,
    plain: Kernel::LinearDxPlain,
    plain_few: Kernel::LinearDxPlainFew,
};
const DW: [(Tile, Kernel); 3] =
    [(LARGE, Kernel::LinearDwLarge), (MEDIUM, Kernel::LinearDwMedium), (SMALL, Kernel::LinearDwSmall)];

/// Layers of blocks that share the rows, at most, and the fewest rows that are worth sharing.
const LAYERS: usize = 16;
const LEAST_SPAN: usize = 256;
/// Spans are multiples of what is in shared memory together.
const SLICE: usize = 32;
/// Multiply-adds that a multiprocessor could do in the time in which all of them move a byte: from the data sheets of
/// the A100 and the H100.
const PER_BYTE: f64 = 1.0;

/// Of `y = x·Wᵀ`: `dx = dy·W`.
pub(super) fn linear_dx<E: Float>(be: &Cuda<E>, dy: &Mat<Cuda<E>>, x: &Mat<Cuda<E>>, w: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    assert_eq!(dy.cols, w.rows, "linear_bwd: dy and w");
    let (rows, inner, outputs) = (dy.rows, dy.cols, w.cols);
    let live = live(dy, x);
    let mut dx = be.alloc(rows, outputs, live);
    let shape = Shape { rows, inner, outputs, products: 1, writes_pieces: outputs.is_multiple_of(E::PACK) };
    be.multiply(&DX, &shape, args![dy, w, &mut dx, rows, inner, outputs, live], &[]);
    dx
}

/// Of `y = x·Wᵀ`: `dw += dyᵀ·x`.
pub(super) fn linear_dw<E: Float>(be: &Cuda<E>, dy: &Mat<Cuda<E>>, x: &Mat<Cuda<E>>, dw: &mut Grad<Cuda<E>>) {
    assert_eq!(dy.rows, x.rows, "linear_bwd: dy and x");
    assert_eq!((dw.rows, dw.cols), (dy.cols, x.cols), "linear_bwd: dw");
    let (rows, outputs, inputs) = (x.rows, dy.cols, x.cols);
    if rows == 0 {
        return;
    }
    let on_tensor_cores = size_of::<E>() == 2 && outputs.is_multiple_of(E::PACK) && inputs.is_multiple_of(E::PACK);
    let (kernel, grid, layers) = if on_tensor_cores { tiled(be, dw, rows) } else { plain(be, dw, rows) };
    let span = rows.div_ceil(layers).next_multiple_of(SLICE);
    let live = live(dy, x);
    if layers == 1 {
        be.launch(kernel, grid, args![dy, x, &mut dw.buf, outputs, inputs, span, rows, live]);
        return;
    }
    let mut parts = be.buffer(layers * outputs * inputs);
    be.launch(kernel, grid, args![dy, x, &mut parts, outputs, inputs, span, rows, live]);
    sum_rows(be, &parts, layers, &mut dw.buf);
}

/// What says how many rows there are: a gradient that began as zeros has all that there can be.
fn live<'a, E: Float>(dy: &'a Mat<Cuda<E>>, x: &'a Mat<Cuda<E>>) -> Option<&'a Live> {
    x.buf.live().or(dy.buf.live())
}

/// The tile, and the layers of blocks, with which a device would be done first.
fn tiled<E: Float>(be: &Cuda<E>, dw: &Grad<Cuda<E>>, rows: usize) -> (Kernel, Grid, usize) {
    let shape = |layers| Shape {
        rows: dw.rows,
        inner: rows.div_ceil(layers),
        outputs: dw.cols,
        products: layers,
        writes_pieces: true,
    };
    let time = |tile: &Tile, layers: usize| {
        let shape = shape(layers);
        let parts = if layers == 1 { 0 } else { 2 * layers * dw.buf.len() * size_of::<f32>() };
        tile.time(&shape, be.device.multiprocessors) * shape.inner as f64 + parts as f64 * PER_BYTE
    };
    let choices = DW.iter().flat_map(|choice| (1..=layers_of(rows)).map(move |layers| (choice, layers)));
    let best = choices.min_by(|(a, m), (b, n)| time(&a.0, *m).total_cmp(&time(&b.0, *n)));
    let ((tile, kernel), layers) = best.expect("there are tiles of some size");
    (*kernel, tile.grid(&shape(layers)), layers)
}

/// As few layers as give every multiprocessor a block.
fn plain<E: Float>(be: &Cuda<E>, dw: &Grad<Cuda<E>>, rows: usize) -> (Kernel, Grid, usize) {
    let blocks = [dw.cols.div_ceil(PLAIN_OUTPUTS), dw.rows.div_ceil(PLAIN_ROWS)];
    let layers = be.device.multiprocessors.div_ceil(blocks[0] * blocks[1]).min(layers_of(rows));
    let grid = Grid::across([blocks[0], blocks[1], layers]).threads(PLAIN_THREADS, 1);
    (Kernel::LinearDwPlain, grid, layers)
}

/// At most so many layers, none of them without rows.
fn layers_of(rows: usize) -> usize {
    (rows / LEAST_SPAN).clamp(1, LAYERS)
}
