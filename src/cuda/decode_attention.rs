//! Attention of one row a sequence, split over the keys.

use std::sync::{Arc, Mutex, PoisonError};

use super::kernels::Kernel;
use super::launch::{Grid, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Attend, Backend, Bias, Cache, Mat, Newest};

/// Keys and threads of a block; `kernels/decode_attention.cu` has the same.
const KEYS: usize = 256;
const THREADS: usize = 256;

/// Zeros, by which the blocks of a row, and all blocks, know who is last. Every launch leaves zeros.
#[derive(Default)]
pub(super) struct Counters(Mutex<Vec<Arc<Buffer<u32>>>>);

impl Counters {
    /// At least `count`.
    fn get<E: Float>(&self, be: &Cuda<E>, count: usize) -> Arc<Buffer<u32>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = all.last().filter(|last| last.len() >= count) {
            return last.clone();
        }
        let fresh = Arc::new(be.upload(vec![0; count.next_power_of_two()]));
        if !fresh.is_missing() {
            // Those before are kept: a captured graph may go on with them.
            all.push(fresh.clone());
        }
        fresh
    }
}

/// Cross-attention; `a.rows` holds at most one row a segment.
pub(super) fn cross<E: Float>(be: &Cuda<E>, a: &Attend<'_, Cuda<E>>) -> Mat<Cuda<E>> {
    let keys = Keys {
        k: a.k,
        v: a.v,
        longest: a.cols.longest,
        segments: Some((&a.rows.offsets, &a.cols.offsets)),
        newest: None,
        len: None,
    };
    decode(be, a.q, (a.rows.count, a.heads), &keys, None)
}

/// Self-attention of the newest token of each sequence, which joins the cache.
pub(super) fn newest<E: Float>(
    be: &Cuda<E>,
    newest: &Newest<'_, Cuda<E>>,
    cache: &mut Cache<Cuda<E>>,
    bias: Bias<'_, Cuda<E>>,
) -> Mat<Cuda<E>> {
    let Newest { q, k, v } = newest;
    let (batch, width) = (q.rows, q.cols);
    assert!([k, v].iter().all(|mat| (mat.rows, mat.cols) == (batch, width)), "decode_attention: q, k and v");
    assert_eq!((cache.k.rows, cache.k.cols), (batch * cache.capacity, width), "decode_attention: the cache");
    let keys = Keys {
        k: &cache.k,
        v: &cache.v,
        longest: cache.capacity,
        segments: None,
        newest: Some(newest),
        len: Some(&cache.len),
    };
    decode(be, q, (batch, bias.table.cols), &keys, Some(bias))
}

/// What the rows attend to.
struct Keys<'a, E: Float> {
    k: &'a Mat<Cuda<E>>,
    v: &'a Mat<Cuda<E>>,
    /// Keys of a sequence, at most: the rows that it has in a cache.
    longest: usize,
    /// Offsets of the queries' and of the keys' segments; none of a cache.
    segments: Option<(&'a Buffer<u32>, &'a Buffer<u32>)>,
    /// The token that joins a cache.
    newest: Option<&'a Newest<'a, Cuda<E>>>,
    /// How many are in a cache.
    len: Option<&'a Buffer<u32>>,
}

fn decode<E: Float>(
    be: &Cuda<E>,
    q: &Mat<Cuda<E>>,
    (sequences, heads): (usize, usize),
    keys: &Keys<'_, E>,
    bias: Option<Bias<'_, Cuda<E>>>,
) -> Mat<Cuda<E>> {
    assert_eq!(q.cols % heads, 0, "attention: {} columns among {heads} heads", q.cols);
    let width = q.cols / heads;
    let kernel = match width {
        64 => Kernel::DecodeAttention,
        0..=32 => Kernel::DecodeAttentionPlain32,
        33..=128 => Kernel::DecodeAttentionPlain128,
        129..=256 => Kernel::DecodeAttentionPlain256,
        _ => panic!("attention: heads of {width}, and the widest that there is a kernel for are of 256"),
    };
    let mut o = be.alloc(q.rows, q.cols, q.buf.live());
    let blocks = keys.longest.div_ceil(KEYS).max(1);
    let rows = sequences * heads;
    // A block alone with its row has nobody to leave anything to.
    let found = be.buffer::<f32>(if blocks > 1 { rows * blocks * (width + 2) } else { 0 });
    let arrived = be.counters.get(be, rows + 1);
    let buckets = bias.as_ref().map(|bias| be.bucketings.get(be, bias));
    let of_distance = buckets.as_ref().map(|buckets| &buckets.of_distance);
    let reach = buckets.as_ref().map_or(0, |buckets| buckets.reach);
    let table = bias.map(|bias| bias.table);
    let count = table.map_or(0, |table| table.rows);
    let (row_offsets, col_offsets) = keys.segments.unzip();
    let (newest_k, newest_v) = keys.newest.map(|newest| (newest.k, newest.v)).unzip();
    let capacity = keys.longest;
    let grid = Grid::across([blocks, heads, sequences]).threads(THREADS, 1);
    let args = args![
        q,
        keys.k,
        keys.v,
        &mut o,
        row_offsets,
        col_offsets,
        newest_k,
        newest_v,
        keys.len,
        capacity,
        table,
        of_distance,
        count,
        reach,
        width,
        &found,
        &*arrived,
    ];
    be.launch(kernel, grid, args);
    o
}
