//! Attention of many rows, by tiles: in bf16 with heads of 64 on tensor cores, otherwise in f32 arithmetic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Attend, Backend, Bias, Direction, Mat, relative_bucket};

/// The bucketing of [`Bias`]: its buckets, its largest distance, its direction.
type Bucketing = (usize, usize, Direction);

/// The buckets of all distances that differ, on the device.
pub(super) struct Buckets {
    /// `[2·reach + 1]`, of the distances `-reach ..= reach`.
    pub(super) of_distance: Buffer<u16>,
    /// Distances from here on share a bucket.
    pub(super) reach: usize,
}

/// The bucketings in use, worked out once.
#[derive(Default)]
pub(super) struct Bucketings(Mutex<HashMap<Bucketing, Arc<Buckets>>>);

impl Bucketings {
    pub(super) fn get<E: Float>(&self, be: &Cuda<E>, bias: &Bias<'_, Cuda<E>>) -> Arc<Buckets> {
        let Bias { table, direction, max_distance } = *bias;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buckets) = known.get(&(table.rows, max_distance, direction)) {
            return buckets.clone();
        }
        // Near distances have a bucket each, whatever the largest is.
        let reach = max_distance.max(table.rows);
        let bucket = |distance| relative_bucket(distance, table.rows, max_distance, direction);
        let narrow = |bucket| u16::try_from(bucket).expect("buckets are fewer than 2^16");
        let of_distance = (-(reach as i64)..=reach as i64).map(|distance| narrow(bucket(distance))).collect();
        let buckets = Arc::new(Buckets { of_distance: be.upload(of_distance), reach });
        // After a failure there was no memory to be had: the next one asks again.
        if !buckets.of_distance.is_missing() {
            known.insert((table.rows, max_distance, direction), buckets.clone());
        }
        buckets
    }
}

/// One of the kernels, and what a block of it has.
struct Tiles {
    kernel: Kernel,
    /// Rows of queries.
    rows: usize,
    threads: usize,
    /// Shared memory, but for the biases.
    shared_bytes: usize,
}

impl Tiles {
    /// For heads of this width, in segments of at most `longest` rows.
    fn of<E: Float>(width: usize, longest: usize) -> Self {
        if width == 64 && size_of::<E>() == 2 {
            return match longest {
                0..=32 => Self::tiled(Kernel::AttentionTiled1, 1, 2),
                33..=64 => Self::tiled(Kernel::AttentionTiled2, 2, 2),
                _ => Self::tiled(Kernel::AttentionTiled4, 4, 4),
            };
        }
        match width {
            0..=32 => Self::plain(Kernel::Attention32, 32),
            33..=64 => Self::plain(Kernel::Attention64, 64),
            65..=128 => Self::plain(Kernel::Attention128, 128),
            129..=256 => Self::plain(Kernel::Attention256, 256),
            _ => panic!("attention: heads of {width}, and the widest that there is a kernel for are of 256"),
        }
    }

    /// `kernels/attention_tiled.cuh`: 32 rows a warp, and places for the keys and values of 32 tokens.
    fn tiled(kernel: Kernel, warps: usize, places: usize) -> Self {
        Self { kernel, rows: 32 * warps, threads: WARP * warps, shared_bytes: places * 2 * 32 * 64 * 2 }
    }

    /// `kernels/attention_plain.cuh`: 32 rows of queries, of keys or values in turn, and of weights.
    fn plain(kernel: Kernel, width: usize) -> Self {
        let shared_bytes = (32 * width + 32 * (width + 4) + 32 * 32) * size_of::<f32>();
        Self { kernel, rows: 32, threads: 4 * WARP, shared_bytes }
    }
}

/// A block's biases, by distance and by bucket: `BiasRow` in `kernels/attention.cuh`.
fn bias_bytes(reach: usize, buckets: usize) -> usize {
    (2 * (reach + 2 * 31) + 1 + buckets) * size_of::<f32>()
}

/// Attention; and into `log_sum`, `[n, h]`, the logarithms of the rows' sums of exponentials.
pub(super) fn attention<E: Float>(
    be: &Cuda<E>,
    a: &Attend<'_, Cuda<E>>,
    log_sum: Option<&mut Buffer<f32>>,
) -> Mat<Cuda<E>> {
    assert!(a.dropout.is_none(), "attention: dropout is for training");
    let mut o = be.alloc(a.q.rows, a.q.cols, a.q.buf.live());
    let width = a.q.cols / a.heads;
    let tiles = Tiles::of::<E>(width, a.rows.longest);
    let buckets = a.bias.as_ref().map(|bias| be.bucketings.get(be, bias));
    let of_distance = buckets.as_ref().map(|buckets| &buckets.of_distance);
    let reach = buckets.as_ref().map_or(0, |buckets| buckets.reach);
    let table = a.bias.map(|bias| bias.table);
    let count = table.map_or(0, |table| table.rows);
    let causal = usize::from(a.bias.is_some_and(|bias| bias.direction == Direction::Past));
    let grid = Grid::across([a.rows.longest.div_ceil(tiles.rows), a.heads, a.rows.count])
        .threads(tiles.threads, 1)
        .shared(tiles.shared_bytes + bias_bytes(reach, count));
    let (rows, cols) = (&a.rows.offsets, &a.cols.offsets);
    let args =
        args![a.q, a.k, a.v, &mut o, log_sum.as_deref(), rows, cols, table, of_distance, count, reach, causal, width];
    be.launch(tiles.kernel, grid, args);
    o
}
