//! The CPU machine: every operation of [`Backend`] in portable Rust, in 32 or 64 bits from one source.
//!
//! Matrix products go to the `gemm` crate but for those with packed weights and of attention, threads to the ambient
//! rayon pool (run a call inside `rayon::ThreadPool::install` to confine it), vector instructions to what the processor
//! has (`pulp`).
//! Results do not depend on the number of threads.

mod adafactor;
mod ahead;
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
mod operations;
mod packed;
mod panels;
mod places;
mod predict;
mod real;
mod rms_norm;
mod rounded;
mod score;
mod scratch;
mod top_m;
#[cfg(target_arch = "x86_64")]
mod transpose;

use std::sync::Arc;

use anyhow::Result;

use crate::backend::{
    Attend, Backend, Bias, Cache, Direction, Join, Mat, Newest, Prediction, Scorer, Segments, Selection, Stored,
};
use attention::Precision;
pub use buffer::Buffer;
use buffer::Shelf;
pub use packed::Packing;
use packed::{Finish, Packed, Path};
pub use real::Real;
use real::{singles, singles_mut};

/// The CPU, computing in `T`: `Cpu<f32>` for speed, `Cpu<f64>` as the reference.
pub struct Cpu<T: Real> {
    shelf: Arc<Shelf<T>>,
    packing: Option<Packing>,
}

impl Cpu<f32> {
    /// A machine that keeps the weights of products as products read them; in fewer bits than f32, it also keeps the
    /// decoder's keys and values of the encoder's output in bf16. In int8, with matrix instructions, it also rounds the
    /// operands of the encoder's attention to bf16. It is for reading: it has no gradients of them.
    pub fn packing(packing: Packing) -> Self {
        Self { packing: Some(packing), ..Self::default() }
    }
}

/// The same machine: what one frees, the other uses again.
impl<T: Real> Clone for Cpu<T> {
    fn clone(&self) -> Self {
        Self { shelf: self.shelf.clone(), packing: self.packing }
    }
}

impl<T: Real> Default for Cpu<T> {
    fn default() -> Self {
        Self { shelf: Arc::default(), packing: None }
    }
}

impl<T: Real> Cpu<T> {
    /// An uninitialised matrix; every operation writes all of what it returns. In debug builds it starts as NaN.
    fn alloc(&self, rows: usize, cols: usize) -> Mat<Self> {
        Mat { rows, cols, buf: Buffer::from_shelf(&self.shelf, rows * cols) }
    }

    /// As [`alloc`](Self::alloc), in bf16.
    fn alloc_rounded(&self, rows: usize, cols: usize) -> Mat<Self> {
        Mat { rows, cols, buf: Buffer::rounded_from_shelf(&self.shelf, rows * cols) }
    }

    /// What rounded keys or values stand for; none where they are not rounded.
    fn widened(&self, x: &Mat<Self>) -> Option<Mat<Self>> {
        let rounded = x.buf.rounded()?;
        let mut wide = self.alloc(x.rows, x.cols);
        rounded::widen_all(rounded, &mut wide.buf);
        Some(wide)
    }

    /// `y = x·Wᵀ` in `T`; where the weight is packed, with what it stands for.
    fn product(&self, x: &Mat<Self>, w: &Mat<Self>, y: &mut Mat<Self>) {
        let Some(packed) = w.buf.packed() else { return T::linear(x, w, y) };
        let mut wide = self.alloc(w.rows, w.cols);
        packed.unpack(singles_mut(&mut wide.buf));
        T::linear(x, &wide, y);
    }
}

impl<T: Real> Backend for Cpu<T> {
    type Elem = T;
    type Wide = T;
    type Buf<U: bytemuck::Pod + Send + Sync> = Buffer<U>;

    fn describe(&self) -> String {
        let numbers = match self.packing {
            None | Some(Packing::F32) => T::NAME.into(),
            Some(Packing::Bf16) => format!("{} with weights in bf16", T::NAME),
            Some(Packing::Int8) => format!("{} with products in int8 by {}", T::NAME, Path::best().name()),
        };
        format!("cpu, {numbers}, {} threads", rayon::current_num_threads())
    }

    fn upload<U: bytemuck::Pod + Send + Sync>(&self, host: Vec<U>) -> Buffer<U> {
        Buffer::from(host)
    }

    fn download_to<U: bytemuck::Pod + Send + Sync>(&self, buf: &Buffer<U>, host: &mut Vec<U>) -> Result<()> {
        host.clear();
        match (buf.packed(), buf.rounded()) {
            (Some(packed), _) => {
                host.resize(packed.outputs * packed.inner, U::zeroed());
                packed.unpack(bytemuck::cast_slice_mut(host));
            }
            (_, Some(rounded)) => {
                host.resize(rounded.len(), U::zeroed());
                rounded::widen_all::<f32>(rounded, bytemuck::cast_slice_mut(host));
            }
            _ => host.extend_from_slice(buf),
        }
        Ok(())
    }

    fn pack(&self, w: Mat<Self>) -> Mat<Self> {
        let packed = self.packing.and_then(|packing| Packed::new(packing, singles(&w.buf), w.rows));
        match packed {
            Some(packed) => Mat { buf: Buffer::of_packed(packed), ..w },
            None => w,
        }
    }

    fn embed(&self, table: &Mat<Self>, ids: &Buffer<u32>) -> Mat<Self> {
        let mut y = self.alloc(ids.len(), table.cols);
        T::embed(table, ids, &mut y);
        y
    }

    fn rms_norm(&self, x: &Mat<Self>, g: &Mat<Self>, eps: f64) -> Mat<Self> {
        assert_eq!((g.rows, g.cols), (1, x.cols), "rms_norm: scale");
        let mut y = self.alloc(x.rows, x.cols);
        T::rms_norm(x, g, eps, &mut y);
        y
    }

    fn linear(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self> {
        let [y] = self.linears(x, [w]);
        y
    }

    fn linears<const N: usize>(&self, x: &Mat<Self>, w: [&Mat<Self>; N]) -> [Mat<Self>; N] {
        let mut y = w.map(|w| self.alloc(x.rows, w.rows));
        if !linear::packed(x, w, Finish::Store, y.each_mut()) {
            w.into_iter().zip(&mut y).for_each(|(w, y)| self.product(x, w, y));
        }
        y
    }

    fn keys_and_values(&self, x: &Mat<Self>, w: [&Mat<Self>; 2]) -> [Mat<Self>; 2] {
        if matches!(self.packing, None | Some(Packing::F32)) {
            return self.linears(x, w);
        }
        let mut y = w.map(|w| self.alloc_rounded(x.rows, w.rows));
        let mut places = y.each_mut().map(|y| y.buf.rounded_mut().expect("allocated so"));
        if !linear::packed_rounded(x, w, &mut places) {
            for (w, place) in w.into_iter().zip(places) {
                rounded::round_all(singles(&self.linear(x, w).buf), place);
            }
        }
        y
    }

    fn linear_add(&self, x: &Mat<Self>, w: &Mat<Self>, y: &mut Mat<Self>) {
        if !linear::packed(x, [w], Finish::Add, [&mut *y]) {
            elementwise::add(&self.linear(x, w), y);
        }
    }

    fn geglu(&self, x: &Mat<Self>, w_0: &Mat<Self>, w_1: &Mat<Self>) -> Mat<Self> {
        let mut a = self.alloc(x.rows, w_0.rows);
        if !linear::packed(x, [w_0, w_1], Finish::Gate, [&mut a]) {
            self.product(x, w_0, &mut a);
            T::gate(&mut a, &self.linear(x, w_1));
        }
        a
    }

    fn linear_relu(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self> {
        let mut a = self.linear(x, w);
        T::relu(&mut a);
        a
    }

    fn attention(&self, a: Attend<'_, Self>) -> Mat<Self> {
        a.check();
        let mut o = self.alloc(a.q.rows, a.q.cols);
        if a.rows.longest <= 1 && a.bias.is_none() && a.dropout.is_none() {
            T::attention_of_single_rows(&a, &mut o);
        } else {
            let wide = [a.k, a.v].map(|x| self.widened(x));
            let [k, v] = wide.each_ref().map(Option::as_ref);
            // Products in int8 round far more than this does. The decoder's is that which its caches give, in `T`.
            let of_encoder = matches!(a.bias, Some(Bias { direction: Direction::Both, .. }));
            let rounded = self.packing == Some(Packing::Int8) && of_encoder;
            let precision = if rounded { Precision::Rounded } else { Precision::Full };
            T::attention(&Attend { k: k.unwrap_or(a.k), v: v.unwrap_or(a.v), ..a }, precision, &mut o, None);
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
        T::decode_attention(&newest, cache, bias, &mut o);
        o
    }

    fn score(&self, x: &Mat<Self>, rows: &Segments<Self>, scorer: Scorer<'_, Self>) -> Buffer<T> {
        let mut s = self.alloc(rows.count, 1).buf;
        T::score(x, rows, &scorer, &mut s);
        s
    }

    fn mean_pool(&self, x: &Mat<Self>, rows: &Segments<Self>) -> Mat<Self> {
        let mut y = self.alloc(rows.count, x.cols);
        T::mean_pool(x, rows, &mut y);
        y
    }

    fn top_m(&self, scores: &Buffer<T>, groups: &Segments<Self>, m: usize) -> Selection<Self> {
        T::top_m(self, scores, groups, m)
    }

    fn gather(&self, x: &Mat<Self>, rows: &Segments<Self>, chosen: &Selection<Self>) -> (Mat<Self>, Segments<Self>) {
        let kept = T::kept(self, rows, chosen);
        let mut y = self.alloc(kept.capacity, x.cols);
        T::gather(x, rows, chosen, &kept, &mut y);
        (y, kept)
    }

    fn merge(&self, rows: &Segments<Self>, groups: &Segments<Self>) -> Segments<Self> {
        T::merge(self, rows, groups)
    }

    fn join(&self, j: Join<'_, Self>) -> (Mat<Self>, Segments<Self>) {
        let joined = T::joined(self, &j);
        let mut y = self.alloc(joined.capacity, j.question.cols);
        T::join(&j, &joined, &mut y);
        (y, joined)
    }

    fn dequantise(&self, width: usize, stored: &[Stored<'_>]) -> Mat<Self> {
        let mut y = self.alloc(join::stored_rows(width, stored), width);
        T::dequantise(width, stored, &mut y);
        y
    }

    fn predict(&self, x: &Mat<Self>, head: &Mat<Self>, next: &mut Prediction<Self>) {
        T::predict(&self.linear(x, head), next);
    }

    fn log_prob(&self, logits: &Mat<Self>, target: &Buffer<u32>) -> Buffer<T> {
        T::log_prob(logits, target)
    }
}
