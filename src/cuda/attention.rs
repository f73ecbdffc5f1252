//! Attention of many rows, by tiles: in bf16 with heads of 64 on tensor cores, otherwise in f32 arithmetic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::kernels::Kernel;
use super::launch::{Grid, WARP, args};
use super::{Buffer, Cuda, Float};
use crate::backend::{Attend, Backend, Bias, Direction, Dropout, Mat, relative_bucket};

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

/// A bias as the kernels have it; of none, nothing.
pub(super) struct Distances<'a, E: Float> {
    pub(super) table: Option<&'a Mat<Cuda<E>>>,
    buckets: Option<Arc<Buckets>>,
    /// Whether rows look back only.
    pub(super) causal: usize,
}

impl<'a, E: Float> Distances<'a, E> {
    pub(super) fn of(be: &Cuda<E>, a: &Attend<'a, Cuda<E>>) -> Self {
        let past = a.bias.as_ref().is_some_and(|bias| bias.direction == Direction::Past);
        let buckets = a.bias.as_ref().map(|bias| be.bucketings.get(be, bias));
        Self { table: a.bias.as_ref().map(|bias| bias.table), buckets, causal: past.into() }
    }

    /// The bucket of each distance.
    pub(super) fn buckets(&self) -> Option<&Buffer<u16>> {
        self.buckets.as_ref().map(|buckets| &buckets.of_distance)
    }

    pub(super) fn reach(&self) -> usize {
        self.buckets.as_ref().map_or(0, |buckets| buckets.reach)
    }

    /// Number of buckets.
    pub(super) fn count(&self) -> usize {
        self.table.map_or(0, |table| table.rows)
    }

    /// A row of numbers by distance, for tiles of so many rows: `BiasRow` in `kernels/attention.cuh`.
    pub(super) fn row_bytes(&self, edge: usize) -> usize {
        (2 * (self.reach() + 2 * (edge - 1)) + 1) * size_of::<f32>()
    }

    /// A block's biases, by distance and by bucket.
    pub(super) fn shared_bytes(&self, edge: usize) -> usize {
        self.row_bytes(edge) + self.count() * size_of::<f32>()
    }
}

/// A mask as the kernels have it: its stream, its threshold, which is 0 where nothing is dropped, and its scale.
pub(super) fn mask(dropout: Option<Dropout>) -> (u64, usize, f32) {
    dropout.map_or((0, 0, 1.0), |mask| (mask.stream.state(), mask.threshold.into(), mask.scale() as f32))
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
    /// For heads of this width.
    fn of<E: Float>(width: usize, a: &Attend<'_, Cuda<E>>) -> Self {
        if width == 64 && size_of::<E>() == 2 {
            return match (a.rows.longest, a.dropout) {
                (0..=32, None) => Self::tiled(Kernel::AttentionSmall, 32, 2),
                (33..=64, None) => Self::tiled(Kernel::AttentionMedium, 64, 2),
                (_, None) => Self::tiled(Kernel::AttentionLarge, 128, 4),
                (0..=32, Some(_)) => Self::tiled(Kernel::AttentionMaskedSmall, 32, 2),
                (_, Some(_)) => Self::tiled(Kernel::AttentionMaskedLarge, 128, 4),
            };
        }
        match width {
            0..=32 => Self::plain(Kernel::AttentionPlain32, 32),
            33..=64 => Self::plain(Kernel::AttentionPlain64, 64),
            65..=128 => Self::plain(Kernel::AttentionPlain128, 128),
            129..=256 => Self::plain(Kernel::AttentionPlain256, 256),
            _ => panic!("attention: heads of {width}, and the widest that there is a kernel for are of 256"),
        }
    }

    /// `kernels/attention_tiled.cuh`: a warp has 32 rows, and a place the keys and values of 32 tokens.
    fn tiled(kernel: Kernel, rows: usize, places: usize) -> Self {
        Self { kernel, rows, threads: rows / 32 * WARP, shared_bytes: places * 2 * 32 * 64 * 2 }
    }

    /// `kernels/attention_plain.cuh`: 32 rows of queries, of keys or values in turn, and of weights.
    fn plain(kernel: Kernel, width: usize) -> Self {
        let shared_bytes = (32 * width + 32 * (width + 4) + 32 * 32) * size_of::<f32>();
        Self { kernel, rows: 32, threads: 4 * WARP, shared_bytes }
    }
}

/// Attention; and into `log_sum`, `[n, h]`, the logarithms of the rows' sums of exponentials.
pub(super) fn attention<E: Float>(
    be: &Cuda<E>,
    a: &Attend<'_, Cuda<E>>,
    log_sum: Option<&mut Buffer<f32>>,
) -> Mat<Cuda<E>> {
    let mut o = be.alloc(a.q.rows, a.q.cols, a.q.buf.live());
    let width = a.q.cols / a.heads;
    let tiles = Tiles::of(width, a);
    let distances = Distances::of(be, a);
    let grid = Grid::across([a.rows.longest.div_ceil(tiles.rows), a.heads, a.rows.count])
        .threads(tiles.threads, 1)
        .shared(tiles.shared_bytes + distances.shared_bytes(32));
    let (stream, threshold, scale) = mask(a.dropout);
    let args = args![
        a.q,
        a.k,
        a.v,
        &mut o,
        log_sum.as_deref(),
        &a.rows.offsets,
        &a.cols.offsets,
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
    be.launch(tiles.kernel, grid, args);
    o
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::backend::Segments;
    use crate::cuda::probe;
    use crate::random;

    const BUCKETS: usize = 32;
    const MAX_DISTANCE: usize = 128;

    /// `rows × cols` normal numbers of the machine, and the same in f64.
    fn normal<E: Float>(be: &Cuda<E>, stream: u64, rows: usize, cols: usize) -> (Mat<Cuda<E>>, Vec<f64>) {
        let host: Vec<E> = (0..(rows * cols) as u64).map(|i| E::from_f64(random::normal(3, stream, i))).collect();
        let plain = host.iter().map(|x| x.to_f64()).collect();
        (Mat::upload(be, rows, cols, host), plain)
    }

    /// The sums are f32 whatever the operands are.
    fn check<E: Float>(heads: usize, width: usize, direction: Option<Direction>) {
        glimmer_emulator::open().unwrap();
        let be = &Cuda::<E>::isolated(&probe().unwrap()).unwrap();
        let (row_counts, key_counts) = match direction {
            Some(_) => ([3, 0, 140], [3, 0, 140]),
            None => ([3, 2, 40], [70, 0, 33]),
        };
        let (n, m, d) = (row_counts.iter().sum(), key_counts.iter().sum(), heads * width);
        let ((q, plain_q), (k, plain_k)) = (normal(be, 0, n, d), normal(be, 1, m, d));
        let ((v, _), (table, plain_table)) = (normal(be, 2, m, d), normal(be, 3, BUCKETS, heads));
        let bias = direction.map(|direction| Bias { table: &table, direction, max_distance: MAX_DISTANCE });
        let (rows, cols) = (&Segments::packed(be, row_counts), &Segments::packed(be, key_counts));
        let mut log_sum = be.buffer::<f32>(n * heads);
        let a = Attend { q: &q, k: &k, v: &v, rows, cols, bias, heads, dropout: None };
        attention(be, &a, Some(&mut log_sum));

        let found = be.download(&log_sum).unwrap();
        let (mut row, mut first_key) = (0, 0);
        for (rows, keys) in row_counts.into_iter().zip(key_counts) {
            for position in 0..rows {
                let seen = if direction == Some(Direction::Past) { position + 1 } else { keys };
                for head in 0..heads {
                    let logit = |key: usize| {
                        let (q, k) =
                            (&plain_q[row * d + head * width..], &plain_k[(first_key + key) * d + head * width..]);
                        let dot: f64 = q[..width].iter().zip(k).map(|(q, k)| q * k).sum();
                        let bucket =
                            |direction| relative_bucket(key as i64 - position as i64, BUCKETS, MAX_DISTANCE, direction);
                        dot + direction.map_or(0.0, |direction| plain_table[bucket(direction) * heads + head])
                    };
                    let wanted = (0..seen).map(|key| logit(key).exp()).sum::<f64>().ln();
                    let found = f64::from(found[row * heads + head]);
                    let close = found == wanted || (found - wanted).abs() <= 1e-5 * wanted.abs().max(1.0);
                    assert!(close, "{direction:?} {heads} × {width}, row {row}, head {head}: {found}, wanted {wanted}");
                }
                row += 1;
            }
            first_key += keys;
        }
    }

    #[test]
    fn logarithms_of_the_sums() {
        for direction in [Some(Direction::Both), Some(Direction::Past), None] {
            check::<f32>(2, 64, direction);
            check::<f32>(3, 5, direction);
            check::<bf16>(2, 64, direction);
            check::<bf16>(1, 80, direction);
        }
    }
}
