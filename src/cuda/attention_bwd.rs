//! Backward through attention: a kernel whose blocks own queries, one whose blocks own keys, and the bias table's sum.

use super::attention::{Distances, attention, mask};
use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Attend, AttendGrad, Attended, Grad, Mat};

const TABLE_THREADS: usize = 256;

/// One kernel of each side, and what a block of them has.
struct Tiles {
    queries: Kernel,
    keys: Kernel,
    /// Rows of its side.
    rows: usize,
    threads: usize,
    /// Shared memory, but for what goes by distance.
    shared_bytes: usize,
}

impl Tiles {
    fn of(width: usize) -> Self {
        use Kernel::*;
        match width {
            0..=32 => Self::plain([AttentionBwdQueriesPlain32, AttentionBwdKeysPlain32], 32),
            33..=64 => Self::plain([AttentionBwdQueriesPlain64, AttentionBwdKeysPlain64], 64),
            65..=128 => Self::plain([AttentionBwdQueriesPlain128, AttentionBwdKeysPlain128], 128),
            129..=256 => Self::plain([AttentionBwdQueriesPlain256, AttentionBwdKeysPlain256], 256),
            _ => panic!("attention: heads of {width}, and the widest that there is a kernel for are of 256"),
        }
    }

    /// `kernels/attention_bwd_plain.cuh`: of both operands, own rows and 32 that pass by; and two tiles between them.
    fn plain([queries, keys]: [Kernel; 2], width: usize) -> Self {
        let rows = if width > 128 { 8 } else { 32 };
        let shared_bytes = 2 * (rows * width + 32 * (width + 4) + rows * 32) * size_of::<f32>();
        Self { queries, keys, rows, threads: 4 * WARP, shared_bytes }
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
    let tiles = Tiles::of(width);
    let distances = Distances::of(be, a);
    let [mut dq, mut dk, mut dv] = [a.q, a.k, a.v].map(|x| be.alloc(x.rows, x.cols, x.buf.live()));
    // Two numbers of each query and head.
    let mut of_query: Buffer<f32> = be.buffer(2 * n * heads);
    let parts = segments * a.rows.longest.div_ceil(tiles.rows);
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
    let shared_bytes = tiles.shared_bytes + distances.shared_bytes() + distances.row_bytes();
    let grid = |longest: usize| {
        let blocks = [longest.div_ceil(tiles.rows), heads, segments];
        Grid::across(blocks).threads(tiles.threads, 1).shared(shared_bytes)
    };
    be.launch(tiles.queries, grid(a.rows.longest), args);
    be.launch(tiles.keys, grid(a.cols.longest), args);
    if let Some(dtable) = dtable {
        let grid = Grid::of(heads).threads(TABLE_THREADS, 1);
        be.launch(Kernel::AttentionBwdTable, grid, args![&dbias, &mut dtable.buf, parts, dtable.rows]);
    }
    AttendGrad { dq, dk, dv }
}
