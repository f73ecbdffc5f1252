//! Backward through attention: a kernel whose blocks have whole heads of segments, or where those do not fit, one whose
//! blocks own queries and one whose blocks own keys; and the bias table's sum.

use super::attention::{Distances, attention, mask};
use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Attend, AttendGrad, Attended, Grad, Mat};

const TABLE_THREADS: usize = 256;

/// Rows of a warp's side, and warps of a block, at most; `kernels/attention_bwd_tiled.cuh` has the same.
const WARP_ROWS: usize = 16;
const WARPS: usize = 11;
/// A warp's folded piece.
const FOLDED_BYTES: usize = 8 * 24 * size_of::<f32>();

/// Whether tensor cores have kernels for such heads.
fn is_tiled<E: Float>(width: usize) -> bool {
    width == 64 && size_of::<E>() == 2
}

/// Whose gradients a kernel makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Queries,
    Keys,
}

/// `kernels/attention_bwd_whole.cuh`: a block has a head of a segment of up to `rows` queries and `cols` keys.
struct Whole {
    rows: usize,
    cols: usize,
    threads: usize,
    shared_bytes: usize,
}

impl Whole {
    /// None where a block's operands do not fit.
    fn of<E: Float>(be: &Cuda<E>, a: &Attend<'_, Cuda<E>>, distances: &Distances<'_, E>) -> Option<Self> {
        let [rows, cols] = [a.rows.longest, a.cols.longest].map(|longest| longest.next_multiple_of(WARP_ROWS));
        let strips = (rows.max(cols) / WARP_ROWS).max(1);
        let warps = strips.div_ceil(strips.div_ceil(WARPS));
        // q, do, k and two pieces of v; two numbers of each query.
        let operands = (2 * rows + cols + 2 * WARP_ROWS) * 64 * size_of::<E>() + rows * 2 * size_of::<f32>();
        let by_distance = distances.shared_bytes(WARP_ROWS) + warps * distances.row_bytes(WARP_ROWS);
        let shared_bytes = operands + warps * FOLDED_BYTES + by_distance;
        let fits = is_tiled::<E>(a.q.cols / a.heads) && shared_bytes <= be.device.shared_bytes;
        fits.then_some(Self { rows, cols, threads: warps * WARP, shared_bytes })
    }
}

/// A kernel, and what a block of it has.
struct Tiles {
    kernel: Kernel,
    /// Rows of its side.
    rows: usize,
    threads: usize,
    shared_bytes: usize,
}

impl Tiles {
    /// For heads of this width, in segments of at most `longest` rows of this side.
    fn of<E: Float>(side: Side, a: &Attend<'_, Cuda<E>>, distances: &Distances<'_, E>) -> Self {
        use Kernel::*;
        let (width, masked) = (a.q.cols / a.heads, a.dropout.is_some());
        let [of_queries, of_keys] = match width {
            64 if is_tiled::<E>(width) && masked => [AttentionBwdQueriesMasked, AttentionBwdKeysMasked],
            64 if is_tiled::<E>(width) => [AttentionBwdQueries, AttentionBwdKeys],
            0..=32 => [AttentionBwdQueriesPlain32, AttentionBwdKeysPlain32],
            33..=64 => [AttentionBwdQueriesPlain64, AttentionBwdKeysPlain64],
            65..=128 => [AttentionBwdQueriesPlain128, AttentionBwdKeysPlain128],
            129..=256 => [AttentionBwdQueriesPlain256, AttentionBwdKeysPlain256],
            _ => panic!("attention: heads of {width}, and the widest that there is a kernel for are of 256"),
        };
        let (kernel, longest) = match side {
            Side::Queries => (of_queries, a.rows.longest),
            Side::Keys => (of_keys, a.cols.longest),
        };
        let (tiles, edge, sums) = if is_tiled::<E>(width) {
            let tiles = Self::tiled(kernel, longest);
            let warps = tiles.threads / WARP;
            (tiles, WARP_ROWS, warps)
        } else {
            (Self::plain(kernel, width.next_power_of_two().max(32)), 32, 1)
        };
        // Of queries alone.
        let sums_bytes = if side == Side::Queries { sums * distances.row_bytes(edge) } else { 0 };
        Self { shared_bytes: tiles.shared_bytes + distances.shared_bytes(edge) + sums_bytes, ..tiles }
    }

    /// `kernels/attention_bwd_tiled.cuh`: places for four steps of 32 rows of both operands and two numbers of each, and a
    /// folded piece of each warp. Blocks of equal size: a short last one would leave a multiprocessor waiting.
    fn tiled(kernel: Kernel, longest: usize) -> Self {
        let blocks = longest.div_ceil(WARPS * WARP_ROWS).max(1);
        let warps = longest.div_ceil(blocks * WARP_ROWS).max(1);
        let shared_bytes = 4 * (2 * 32 * 64 * 2 + 32 * 8) + warps * FOLDED_BYTES;
        Self { kernel, rows: warps * WARP_ROWS, threads: warps * WARP, shared_bytes }
    }

    /// `kernels/attention_bwd_plain.cuh`: of both operands, own rows and 32 that pass by; and two tiles between them.
    fn plain(kernel: Kernel, width: usize) -> Self {
        let rows = if width > 128 { 8 } else { 32 };
        let shared_bytes = 2 * (rows * width + 32 * (width + 4) + rows * 32) * size_of::<f32>();
        Self { kernel, rows, threads: 4 * WARP, shared_bytes }
    }

    fn grid(&self, longest: usize, heads: usize, segments: usize) -> Grid {
        let blocks = [longest.div_ceil(self.rows), heads, segments];
        Grid::across(blocks).threads(self.threads, 1).shared(self.shared_bytes)
    }
}

pub(super) fn attention_saved<E: Float>(be: &Cuda<E>, a: &Attend<'_, Cuda<E>>) -> Attended<Cuda<E>> {
    a.check();
    let (rows, cols) = (a.q.rows, a.heads);
    let mut buf = be.buffer(rows * cols);
    let o = attention(be, a, Some(&mut buf));
    let buf = buf.with_live(a.q.buf.live().map(|live| live.of_width(cols)));
    Attended { o, log_sum: Grad { rows, cols, buf } }
}

/// Asserts that the shapes agree.
fn check<E: Float>(
    a: &Attend<'_, Cuda<E>>,
    (saved, d_o): (&Attended<Cuda<E>>, &Mat<Cuda<E>>),
    dtable: Option<&Grad<Cuda<E>>>,
) {
    a.check();
    let shape = (a.q.rows, a.q.cols);
    assert_eq!([(d_o.rows, d_o.cols), (saved.o.rows, saved.o.cols)], [shape; 2], "attention_bwd: do, o and q");
    assert_eq!((saved.log_sum.rows, saved.log_sum.cols), (a.q.rows, a.heads), "attention_bwd: the rows' sums");
    let table = a.bias.as_ref().map(|bias| (bias.table.rows, a.heads));
    assert_eq!(dtable.map(|dtable| (dtable.rows, dtable.cols)), table, "attention_bwd: a bias and its gradient");
}

pub(super) fn attention_bwd<E: Float>(
    be: &Cuda<E>,
    a: &Attend<'_, Cuda<E>>,
    (saved, d_o): (&Attended<Cuda<E>>, &Mat<Cuda<E>>),
    dtable: Option<&mut Grad<Cuda<E>>>,
) -> AttendGrad<Cuda<E>> {
    check(a, (saved, d_o), dtable.as_deref());
    let (n, heads, segments) = (a.q.rows, a.heads, a.rows.count);
    let distances = Distances::of(be, a);
    let [mut dq, mut dk, mut dv] = [a.q, a.k, a.v].map(|x| be.alloc(x.rows, x.cols, x.buf.live()));
    let whole = Whole::of(be, a, &distances);
    let [of_queries, of_keys] = [Side::Queries, Side::Keys].map(|side| Tiles::of(side, a, &distances));
    // Two numbers of each query and head, where one kernel leaves them to another.
    let mut of_query: Buffer<f32> = be.buffer(if whole.is_some() { 0 } else { 2 * n * heads });
    let tiles = if whole.is_some() { 1 } else { a.rows.longest.div_ceil(of_queries.rows) };
    let mut dbias: Buffer<f32> = be.buffer(heads * segments * tiles * distances.count());
    let (stream, threshold, scale) = mask(a.dropout);
    let args = args![
        a.q,
        a.k,
        a.v,
        &saved.o,
        d_o,
        &saved.log_sum.buf,
        &mut of_query,
        &mut dq,
        &mut dk,
        &mut dv,
        &mut dbias,
        &a.rows.offsets,
        &a.cols.offsets,
        n,
        distances.table,
        distances.buckets(),
        distances.count(),
        distances.reach(),
        distances.causal,
        a.q.cols / heads,
        stream,
        threshold,
        scale,
    ];
    if let Some(Whole { rows, cols, threads, shared_bytes }) = whole {
        let kernel = if a.dropout.is_some() { Kernel::AttentionBwdWholeMasked } else { Kernel::AttentionBwdWhole };
        let grid = Grid::across([1, heads, segments]).threads(threads, 1).shared(shared_bytes);
        be.launch(kernel, grid, &[&args[..], args![rows, cols]].concat());
    } else {
        be.launch(of_queries.kernel, of_queries.grid(a.rows.longest, heads, segments), args);
        be.launch(of_keys.kernel, of_keys.grid(a.cols.longest, heads, segments), args);
    }
    if let Some(dtable) = dtable {
        let grid = Grid::of(heads).threads(TABLE_THREADS, 1);
        let args = args![&dbias, &mut dtable.buf, segments * tiles, dtable.rows];
        be.launch(Kernel::AttentionBwdTable, grid, args);
    }
    AttendGrad { dq, dk, dv }
}
