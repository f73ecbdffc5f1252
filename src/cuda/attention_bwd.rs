//! Backward through attention: a kernel whose blocks own queries, one whose blocks own keys, and the bias table's sum.

use super::attention::{Distances, attention, mask};
use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Attend, AttendGrad, Attended, Grad, Mat};

const TABLE_THREADS: usize = 256;

/// Rows of a warp's side, and warps of a block, at most; `kernels/attention_bwd_tiled.cuh` has the same.
const WARP_ROWS: usize = 16;
const WARPS: usize = 11;

/// Whose gradients a kernel makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Queries,
    Keys,
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
            64 if size_of::<E>() == 2 && masked => [AttentionBwdQueriesMasked, AttentionBwdKeysMasked],
            64 if size_of::<E>() == 2 => [AttentionBwdQueries, AttentionBwdKeys],
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
        // Sums by distance, of queries alone.
        let sums_bytes = if side == Side::Queries { distances.row_bytes() } else { 0 };
        let of_distance = distances.shared_bytes();
        if width == 64 && size_of::<E>() == 2 {
            let tiles = Self::tiled(kernel, longest);
            let warps = tiles.threads / WARP;
            return Self { shared_bytes: tiles.shared_bytes + of_distance + warps * sums_bytes, ..tiles };
        }
        let tiles = Self::plain(kernel, width.next_power_of_two().max(32));
        Self { shared_bytes: tiles.shared_bytes + of_distance + sums_bytes, ..tiles }
    }

    /// `kernels/attention_bwd_tiled.cuh`: places for four steps of 32 rows of both operands and two numbers of each, and a
    /// folded piece of each warp. Blocks of equal size: a short last one would leave a multiprocessor waiting.
    fn tiled(kernel: Kernel, longest: usize) -> Self {
        let blocks = longest.div_ceil(WARPS * WARP_ROWS).max(1);
        let warps = longest.div_ceil(blocks * WARP_ROWS).max(1);
        let shared_bytes = 4 * (2 * 32 * 64 * 2 + 32 * 8) + warps * 8 * 24 * size_of::<f32>();
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

pub(super) fn attention_bwd<E: Float>(
    be: &Cuda<E>,
    a: &Attend<'_, Cuda<E>>,
    (saved, d_o): (&Attended<Cuda<E>>, &Mat<Cuda<E>>),
    dtable: Option<&mut Grad<Cuda<E>>>,
) -> AttendGrad<Cuda<E>> {
    a.check();
    let (n, heads, segments) = (a.q.rows, a.heads, a.rows.count);
    let shape = (n, a.q.cols);
    assert_eq!([(d_o.rows, d_o.cols), (saved.o.rows, saved.o.cols)], [shape; 2], "attention_bwd: do, o and q");
    assert_eq!((saved.log_sum.rows, saved.log_sum.cols), (n, heads), "attention_bwd: the rows' sums");
    let table_shape = |dtable: &Grad<Cuda<E>>| (dtable.rows, dtable.cols);
    let wanted = a.bias.as_ref().map(|bias| (bias.table.rows, heads));
    assert_eq!(dtable.as_deref().map(table_shape), wanted, "attention_bwd: a bias and its gradient");

    let width = a.q.cols / heads;
    let distances = Distances::of(be, a);
    let [of_queries, of_keys] = [Side::Queries, Side::Keys].map(|side| Tiles::of(side, a, &distances));
    let [mut dq, mut dk, mut dv] = [a.q, a.k, a.v].map(|x| be.alloc(x.rows, x.cols, x.buf.live()));
    // Two numbers of each query and head.
    let mut of_query: Buffer<f32> = be.buffer(2 * n * heads);
    let parts = segments * a.rows.longest.div_ceil(of_queries.rows);
    let mut dbias: Buffer<f32> = be.buffer(heads * parts * distances.count());
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
        width,
        stream,
        threshold,
        scale,
    ];
    be.launch(of_queries.kernel, of_queries.grid(a.rows.longest, heads, segments), args);
    be.launch(of_keys.kernel, of_keys.grid(a.cols.longest, heads, segments), args);
    if let Some(dtable) = dtable {
        let grid = Grid::of(heads).threads(TABLE_THREADS, 1);
        be.launch(Kernel::AttentionBwdTable, grid, args![&dbias, &mut dtable.buf, parts, dtable.rows]);
    }
    AttendGrad { dq, dk, dv }
}
