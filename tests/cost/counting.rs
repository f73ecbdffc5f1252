//! A machine that computes as [`Cpu`] does and counts the terms of its matrix products, from the shapes it is given.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytemuck::Pod;
use glimmer::backend::{
    Attend, Backend, Bias, Cache, Direction, Join, Mat, Newest, Prediction, Scorer, Segments, Selection, Stored,
};
use glimmer::cpu::{Buffer, Cpu};

type Machine = Cpu<f64>;

/// See the module.
#[derive(Default)]
pub struct Counting {
    inner: Machine,
    multiply_adds: AtomicU64,
}

impl Counting {
    /// The multiply-adds since the last call.
    pub fn take(&self) -> f64 {
        self.multiply_adds.swap(0, Ordering::Relaxed) as f64
    }

    fn count(&self, factors: &[usize]) {
        self.multiply_adds.fetch_add(factors.iter().product::<usize>() as u64, Ordering::Relaxed);
    }
}

/// A matrix of this machine as one of [`Machine`]'s.
fn mat(x: &Mat<Counting>) -> Mat<Machine> {
    Mat { rows: x.rows, cols: x.cols, buf: Buffer::from(x.buf.to_vec()) }
}

/// The way back.
fn own(x: Mat<Machine>) -> Mat<Counting> {
    Mat { rows: x.rows, cols: x.cols, buf: x.buf }
}

fn segments(s: &Segments<Counting>) -> Segments<Machine> {
    let Segments { count, capacity, longest, .. } = *s;
    Segments { offsets: Buffer::from(s.offsets.to_vec()), count, capacity, longest }
}

fn own_segments(s: Segments<Machine>) -> Segments<Counting> {
    Segments { offsets: s.offsets, count: s.count, capacity: s.capacity, longest: s.longest }
}

fn selection(s: &Selection<Counting>) -> Selection<Machine> {
    Selection { index: Buffer::from(s.index.to_vec()), groups: segments(&s.groups) }
}

fn cache(c: &Cache<Counting>) -> Cache<Machine> {
    Cache { k: mat(&c.k), v: mat(&c.v), capacity: c.capacity, len: Buffer::from(c.len.to_vec()) }
}

/// Rows of each segment.
fn lengths(s: &Segments<Counting>) -> impl Iterator<Item = usize> {
    s.offsets.windows(2).map(|w| (w[1] - w[0]) as usize)
}

/// Pairs of a row and a key that it sees. A row that looks back sees itself and those before it; a machine that
/// computes masked products beside them wastes them, and that is its own affair.
fn pairs(rows: usize, keys: usize, direction: Option<Direction>) -> usize {
    match direction {
        Some(Direction::Past) => (0..rows).map(|row| keys.min(row + 1)).sum(),
        Some(Direction::Both) | None => rows * keys,
    }
}

impl Backend for Counting {
    type Elem = f64;
    type Wide = f64;
    type Buf<T: Pod + Send + Sync> = Buffer<T>;

    fn describe(&self) -> String {
        format!("{}, counting", self.inner.describe())
    }

    fn upload<T: Pod + Send + Sync>(&self, host: Vec<T>) -> Buffer<T> {
        self.inner.upload(host)
    }

    fn download_to<T: Pod + Send + Sync>(&self, buf: &Buffer<T>, host: &mut Vec<T>) -> Result<()> {
        self.inner.download_to(buf, host)
    }

    fn embed(&self, table: &Mat<Self>, ids: &Buffer<u32>) -> Mat<Self> {
        own(self.inner.embed(&mat(table), ids))
    }

    fn rms_norm(&self, x: &Mat<Self>, g: &Mat<Self>, eps: f64) -> Mat<Self> {
        own(self.inner.rms_norm(&mat(x), &mat(g), eps))
    }

    fn linear(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self> {
        self.count(&[x.rows, w.rows, w.cols]);
        own(self.inner.linear(&mat(x), &mat(w)))
    }

    fn linear_add(&self, x: &Mat<Self>, w: &Mat<Self>, y: &mut Mat<Self>) {
        self.count(&[x.rows, w.rows, w.cols]);
        let mut sum = mat(y);
        self.inner.linear_add(&mat(x), &mat(w), &mut sum);
        *y = own(sum);
    }

    fn geglu(&self, x: &Mat<Self>, w_0: &Mat<Self>, w_1: &Mat<Self>) -> Mat<Self> {
        self.count(&[x.rows, w_0.rows, w_0.cols]);
        self.count(&[x.rows, w_1.rows, w_1.cols]);
        own(self.inner.geglu(&mat(x), &mat(w_0), &mat(w_1)))
    }

    fn linear_relu(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self> {
        self.count(&[x.rows, w.rows, w.cols]);
        own(self.inner.linear_relu(&mat(x), &mat(w)))
    }

    fn attention(&self, a: Attend<'_, Self>) -> Mat<Self> {
        let direction = a.bias.map(|bias| bias.direction);
        for (rows, keys) in lengths(a.rows).zip(lengths(a.cols)) {
            self.count(&[pairs(rows, keys, direction), a.q.cols]);
            self.count(&[pairs(rows, keys, direction), a.v.cols]);
        }
        let (q, k, v, rows, cols) = (mat(a.q), mat(a.k), mat(a.v), segments(a.rows), segments(a.cols));
        let table = a.bias.map(|bias| mat(bias.table));
        let bias = a.bias.zip(table.as_ref()).map(|(bias, table)| Bias {
            table,
            direction: bias.direction,
            max_distance: bias.max_distance,
        });
        own(self.inner.attention(Attend {
            q: &q,
            k: &k,
            v: &v,
            rows: &rows,
            cols: &cols,
            bias,
            heads: a.heads,
            dropout: a.dropout,
        }))
    }

    fn cache(&self, batch: usize, capacity: usize, width: usize) -> Cache<Self> {
        let Cache { k, v, capacity, len } = self.inner.cache(batch, capacity, width);
        Cache { k: own(k), v: own(v), capacity, len }
    }

    fn decode_attention(&self, newest: Newest<'_, Self>, keys: &mut Cache<Self>, bias: Bias<'_, Self>) -> Mat<Self> {
        let len = keys.len[0] as usize + 1;
        self.count(&[newest.q.rows, len, keys.k.cols]);
        self.count(&[newest.q.rows, len, keys.v.cols]);
        let table = mat(bias.table);
        let bias = Bias { table: &table, direction: bias.direction, max_distance: bias.max_distance };
        let (q, k, v) = (&mat(newest.q), &mat(newest.k), &mat(newest.v));
        let mut longer = cache(keys);
        let o = self.inner.decode_attention(Newest { q, k, v }, &mut longer, bias);
        *keys = Cache { k: own(longer.k), v: own(longer.v), capacity: longer.capacity, len: longer.len };
        own(o)
    }

    fn score(&self, x: &Mat<Self>, rows: &Segments<Self>, scorer: Scorer<'_, Self>) -> Buffer<f64> {
        self.count(&[rows.count, scorer.weight.rows, scorer.weight.cols]);
        let (weight, norm) = (mat(scorer.weight), scorer.norm.map(mat));
        let scorer =
            Scorer { weight: &weight, norm: norm.as_ref(), prior: scorer.prior, pool: scorer.pool, eps: scorer.eps };
        self.inner.score(&mat(x), &segments(rows), scorer)
    }

    fn mean_pool(&self, x: &Mat<Self>, rows: &Segments<Self>) -> Mat<Self> {
        own(self.inner.mean_pool(&mat(x), &segments(rows)))
    }

    fn top_m(&self, scores: &Buffer<f64>, groups: &Segments<Self>, m: usize) -> Selection<Self> {
        let Selection { index, groups } = self.inner.top_m(scores, &segments(groups), m);
        Selection { index, groups: own_segments(groups) }
    }

    fn gather(&self, x: &Mat<Self>, rows: &Segments<Self>, chosen: &Selection<Self>) -> (Mat<Self>, Segments<Self>) {
        let (y, kept) = self.inner.gather(&mat(x), &segments(rows), &selection(chosen));
        (own(y), own_segments(kept))
    }

    fn merge(&self, rows: &Segments<Self>, groups: &Segments<Self>) -> Segments<Self> {
        own_segments(self.inner.merge(&segments(rows), &segments(groups)))
    }

    fn join(&self, j: Join<'_, Self>) -> (Mat<Self>, Segments<Self>) {
        let (joined, rows) = self.inner.join(Join {
            question: &mat(j.question),
            question_rows: &segments(j.question_rows),
            passage: &mat(j.passage),
            passage_rows: &segments(j.passage_rows),
            groups: &segments(j.groups),
        });
        (own(joined), own_segments(rows))
    }

    fn dequantise(&self, width: usize, stored: &[Stored<'_>]) -> Mat<Self> {
        own(self.inner.dequantise(width, stored))
    }

    fn predict(&self, x: &Mat<Self>, head: &Mat<Self>, next: &mut Prediction<Self>) {
        self.count(&[x.rows, head.rows, head.cols]);
        let mut found = Prediction::certain(&self.inner, vec![0; x.rows]);
        self.inner.predict(&mat(x), &mat(head), &mut found);
        (next.token, next.log_prob) = (found.token, found.log_prob);
    }

    fn log_prob(&self, logits: &Mat<Self>, target: &Buffer<u32>) -> Buffer<f64> {
        self.inner.log_prob(&mat(logits), target)
    }
}
