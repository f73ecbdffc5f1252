//! The CPU machine: every operation of [`Backend`] in portable Rust, in 32 or 64 bits from one source.
//!
//! Matrix products go to the `gemm` crate, threads to the ambient rayon pool (run a call inside
//! `rayon::ThreadPool::install` to confine it), vector instructions to what the processor has (`pulp`).
//! Results do not depend on the number of threads.

mod adafactor;
mod attention;
mod attention_bwd;
mod backward;
mod buffer;
mod cross_entropy;
mod decode_attention;
mod distill;
mod dropout;
mod elementwise;
mod embed;
mod gather;
mod geglu;
mod join;
mod linear;
mod places;
mod predict;
mod real;
mod rms_norm;
mod score;
mod top_m;

use std::sync::Arc;

use anyhow::Result;

use crate::backend::{
    Attend, Backend, Bias, Cache, Direction, Join, Mat, Newest, Prediction, Scorer, Segments, Selection, Stored,
};
pub use buffer::Buffer;
use buffer::Shelf;
pub use real::Real;

/// The CPU, computing in `T`: `Cpu<f32>` for speed, `Cpu<f64>` as the reference.
pub struct Cpu<T: Real> {
    shelf: Arc<Shelf<T>>,
}

/// The same machine: what one frees, the other uses again.
impl<T: Real> Clone for Cpu<T> {
    fn clone(&self) -> Self {
        Self { shelf: self.shelf.clone() }
    }
}

impl<T: Real> Default for Cpu<T> {
    fn default() -> Self {
        Self { shelf: Arc::default() }
    }
}

impl<T: Real> Cpu<T> {
    /// An uninitialised matrix; every operation writes all of what it returns. In debug builds it starts as NaN.
    fn alloc(&self, rows: usize, cols: usize) -> Mat<Self> {
        Mat { rows, cols, buf: Buffer::from_shelf(&self.shelf, rows * cols) }
    }
}

impl<T: Real> Backend for Cpu<T> {
    type Elem = T;
    type Wide = T;
    type Buf<U: bytemuck::Pod + Send + Sync> = Buffer<U>;

    fn describe(&self) -> String {
        format!("cpu, {}, {} threads", T::NAME, rayon::current_num_threads())
    }

    fn upload<U: bytemuck::Pod + Send + Sync>(&self, host: Vec<U>) -> Buffer<U> {
        Buffer::from(host)
    }

    fn download<U: bytemuck::Pod + Send + Sync>(&self, buf: &Buffer<U>) -> Result<Vec<U>> {
        Ok(buf.to_vec())
    }

    fn embed(&self, table: &Mat<Self>, ids: &Buffer<u32>) -> Mat<Self> {
        let mut y = self.alloc(ids.len(), table.cols);
        embed::embed(table, ids, &mut y);
        y
    }

    fn rms_norm(&self, x: &Mat<Self>, g: &Mat<Self>, eps: f64) -> Mat<Self> {
        assert_eq!((g.rows, g.cols), (1, x.cols), "rms_norm: scale");
        let mut y = self.alloc(x.rows, x.cols);
        rms_norm::rms_norm(x, g, eps, &mut y);
        y
    }

    fn linear(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self> {
        let mut y = self.alloc(x.rows, w.rows);
        linear::linear(x, w, &mut y);
        y
    }

    fn linear_add(&self, x: &Mat<Self>, w: &Mat<Self>, y: &mut Mat<Self>) {
        elementwise::add(&self.linear(x, w), y);
    }

    fn geglu(&self, x: &Mat<Self>, w_0: &Mat<Self>, w_1: &Mat<Self>) -> Mat<Self> {
        let mut a = self.linear(x, w_0);
        let b = self.linear(x, w_1);
        geglu::gate(&mut a, &b);
        a
    }

    fn linear_relu(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self> {
        let mut a = self.linear(x, w);
        geglu::relu(&mut a);
        a
    }

    fn attention(&self, a: Attend<'_, Self>) -> Mat<Self> {
        a.check();
        let mut o = self.alloc(a.q.rows, a.q.cols);
        if a.rows.longest <= 1 && a.bias.is_none() && a.dropout.is_none() {
            decode_attention::cross(&a, &mut o);
        } else {
            attention::attention(&a, &mut o, None);
        }
        o
    }

    fn cache(&self, batch: usize, capacity: usize, width: usize) -> Cache<Self> {
        let rows = batch * capacity;
        Cache { k: self.alloc(rows, width), v: self.alloc(rows, width), capacity, len: Buffer::from(vec![0]) }
    }

    fn decode_attention(&self, newest: Newest<'_, Self>, cache: &mut Cache<Self>, bias: Bias<'_, Self>) -> Mat<Self> {
        assert_eq!(bias.direction, Direction::Past, "decoding looks back");
        let mut o = self.alloc(newest.q.rows, newest.q.cols);
        decode_attention::newest(&newest, cache, bias, &mut o);
        o
    }

    fn score(&self, x: &Mat<Self>, rows: &Segments<Self>, scorer: Scorer<'_, Self>) -> Buffer<T> {
        let mut s = self.alloc(rows.count, 1).buf;
        score::score(x, rows, &scorer, &mut s);
        s
    }

    fn mean_pool(&self, x: &Mat<Self>, rows: &Segments<Self>) -> Mat<Self> {
        let mut y = self.alloc(rows.count, x.cols);
        score::mean_pool(x, rows, &mut y);
        y
    }

    fn top_m(&self, scores: &Buffer<T>, groups: &Segments<Self>, m: usize) -> Selection<Self> {
        top_m::top_m(self, scores, groups, m)
    }

    fn gather(&self, x: &Mat<Self>, rows: &Segments<Self>, chosen: &Selection<Self>) -> (Mat<Self>, Segments<Self>) {
        let kept = gather::kept(self, rows, chosen);
        let mut y = self.alloc(kept.capacity, x.cols);
        gather::gather(x, rows, chosen, &kept, &mut y);
        (y, kept)
    }

    fn merge(&self, rows: &Segments<Self>, groups: &Segments<Self>) -> Segments<Self> {
        gather::merge(self, rows, groups)
    }

    fn join(&self, j: Join<'_, Self>) -> (Mat<Self>, Segments<Self>) {
        let joined = join::joined(self, &j);
        let mut y = self.alloc(joined.capacity, j.question.cols);
        join::join(&j, &joined, &mut y);
        (y, joined)
    }

    fn dequantise(&self, width: usize, stored: &[Stored<'_>]) -> Mat<Self> {
        let mut y = self.alloc(join::stored_rows(width, stored), width);
        join::dequantise(width, stored, &mut y);
        y
    }

    fn predict(&self, x: &Mat<Self>, head: &Mat<Self>, next: &mut Prediction<Self>) {
        *next = predict::predict(&self.linear(x, head));
    }

    fn log_prob(&self, logits: &Mat<Self>, target: &Buffer<u32>) -> Buffer<T> {
        predict::log_prob(logits, target)
    }
}
