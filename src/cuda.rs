//! The CUDA machine: every operation of [`Backend`] and of [`Backward`](crate::backend::Backward) as kernels of this
//! crate, in bf16 for speed, or in f32 as its exact twin.
//!
//! The kernels' PTX is part of the crate and the driver is found at run time, so that building needs no CUDA and
//! running needs the NVIDIA driver alone. [`probe()`] says whether it is there. Everything happens in one stream, in
//! order, and ahead of the host, which waits in [`download`](Backend::download) and nowhere else.

mod adafactor;
mod all_reduce;
mod attention;
mod attention_bwd;
mod backward;
mod buffer;
mod cross_entropy;
mod decode_attention;
mod dequantise;
mod distill;
mod dropout;
mod elementwise;
mod embed;
mod embed_bwd;
mod float;
mod gate;
mod gather;
mod gather_bwd;
mod geglu;
mod graph;
mod join;
mod join_bwd;
mod kernels;
mod launch;
mod linear;
mod linear_bwd;
mod log_prob;
mod predict;
mod probe;
mod product;
mod queue;
mod rms_norm;
mod rms_norm_bwd;
mod score;
mod score_bwd;
mod square_sum;
mod staging;
mod sum_rows;
mod top_m;

use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytemuck::Pod;

use crate::backend::{
    Attend, Backend, Bias, Cache, Direction, Join, Mat, Newest, Normed, Prediction, Scorer, Segments, Selection, Stored,
};
use attention::Bucketings;
pub use buffer::Buffer;
use buffer::Live;
use decode_attention::Counters;
pub use float::Float;
use kernels::Kernels;
pub use probe::{Absent, Device, devices, probe};
use queue::{Queue, Sharing};

/// A CUDA device, computing in `E`: `Cuda<bf16>` for speed, `Cuda<f32>` as its exact twin. Sums are in f32 in both.
pub struct Cuda<E: Float> {
    kernels: Arc<Kernels>,
    queue: Arc<Queue>,
    device: Device,
    /// How blocks that make a product together count themselves; zeros between launches.
    tickets: Arc<Buffer<u32>>,
    bucketings: Arc<Bucketings>,
    counters: Arc<Counters>,
    computes_in: PhantomData<E>,
}

/// The same machine: one stream, one memory, the same kernels.
impl<E: Float> Clone for Cuda<E> {
    fn clone(&self) -> Self {
        Self {
            kernels: self.kernels.clone(),
            queue: self.queue.clone(),
            device: self.device.clone(),
            tickets: self.tickets.clone(),
            bucketings: self.bucketings.clone(),
            counters: self.counters.clone(),
            computes_in: PhantomData,
        }
    }
}

impl<E: Float> Cuda<E> {
    /// The machine that works on `device`.
    ///
    /// # Errors
    /// The driver refuses the device or the kernels.
    pub fn new(device: &Device) -> Result<Self> {
        Self::open(device, Sharing::Shared)
    }

    /// As [`new`](Self::new), in a context of its own: a fault there leaves other machines on the device alone.
    ///
    /// # Errors
    /// As those of [`new`](Self::new); a driver for CUDA before 12.5 has no such contexts.
    pub fn isolated(device: &Device) -> Result<Self> {
        Self::open(device, Sharing::Own)
    }

    fn open(device: &Device, sharing: Sharing) -> Result<Self> {
        let queue = Arc::new(Queue::open(device, sharing)?);
        Ok(Self {
            kernels: Arc::new(Kernels::load::<E>(&queue)?),
            tickets: Arc::new(Buffer::from_host(&queue, &vec![0; product::tickets(device.multiprocessors)])),
            queue,
            device: device.clone(),
            bucketings: Arc::default(),
            counters: Arc::default(),
            computes_in: PhantomData,
        })
    }

    /// The most device memory that was in use at once since the process began, in bytes: what a device has to have.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn peak_bytes(&self) -> Result<u64> {
        let peak = self.queue.peak_bytes();
        peak.map_err(|error| anyhow!("cannot ask for the device's memory: {}", probe::Failed(error)))
    }

    /// Values that the operation at hand will write, all of them that are there.
    fn buffer<T: Pod>(&self, len: usize) -> Buffer<T> {
        Buffer::uninitialised(&self.queue, len)
    }

    /// A matrix that the operation at hand will write, of as many rows as `live` says; all, if it is none.
    fn alloc(&self, rows: usize, cols: usize, live: Option<&Live>) -> Mat<Self> {
        Mat { rows, cols, buf: self.buffer(rows * cols).with_live(live.map(|live| live.of_width(cols))) }
    }
}

impl<E: Float> Backend for Cuda<E> {
    type Elem = E;
    type Wide = f32;
    type Buf<T: Pod + Send + Sync> = Buffer<T>;

    fn describe(&self) -> String {
        format!("cuda, {}, {}", E::SUFFIX, self.device)
    }

    fn upload<T: Pod + Send + Sync>(&self, host: Vec<T>) -> Buffer<T> {
        Buffer::from_host(&self.queue, &host)
    }

    fn download_to<T: Pod + Send + Sync>(&self, buf: &Buffer<T>, host: &mut Vec<T>) -> Result<()> {
        self.queue.report()?;
        let found = buf.to_host(host);
        self.queue.report()?;
        found.map_err(|error| anyhow!("cannot copy from the device: {}", probe::Failed(error)))
    }

    fn embed(&self, table: &Mat<Self>, ids: &Buffer<u32>) -> Mat<Self> {
        embed::embed(self, table, ids)
    }

    fn rms_norm(&self, x: &Mat<Self>, g: &Mat<Self>, eps: f64) -> Mat<Self> {
        rms_norm::rms_norm(self, x, g, eps)
    }

    fn linear(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self> {
        let [y] = linear::linears(self, x, [w]);
        y
    }

    fn linears<const N: usize>(&self, x: &Mat<Self>, w: [&Mat<Self>; N]) -> [Mat<Self>; N] {
        linear::linears(self, x, w)
    }

    fn normed_linears<const N: usize>(&self, x: Normed<'_, Self>, w: [&Mat<Self>; N]) -> [Mat<Self>; N] {
        linear::normed_linears(self, x, w)
    }

    fn linear_add(&self, x: &Mat<Self>, w: &Mat<Self>, y: &mut Mat<Self>) {
        linear::linear_add(self, x, w, y);
    }

    fn geglu(&self, x: &Mat<Self>, w_0: &Mat<Self>, w_1: &Mat<Self>) -> Mat<Self> {
        geglu::geglu(self, x, w_0, w_1)
    }

    fn normed_geglu(&self, x: Normed<'_, Self>, w_0: &Mat<Self>, w_1: &Mat<Self>) -> Mat<Self> {
        geglu::normed_geglu(self, x, w_0, w_1)
    }

    fn linear_relu(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self> {
        linear::linear_relu(self, x, w)
    }

    fn attention(&self, a: Attend<'_, Self>) -> Mat<Self> {
        a.check();
        if a.rows.longest <= 1 && a.bias.is_none() && a.dropout.is_none() {
            return decode_attention::cross(self, &a);
        }
        attention::attention(self, &a, None)
    }

    fn cache(&self, batch: usize, capacity: usize, width: usize) -> Cache<Self> {
        let rows = batch * capacity;
        Cache {
            k: self.alloc(rows, width, None),
            v: self.alloc(rows, width, None),
            capacity,
            len: self.upload(vec![0]),
        }
    }

    fn decode_attention(&self, newest: Newest<'_, Self>, cache: &mut Cache<Self>, bias: Bias<'_, Self>) -> Mat<Self> {
        assert_eq!(bias.direction, Direction::Past, "decoding looks back");
        decode_attention::newest(self, &newest, cache, bias)
    }

    fn score(&self, x: &Mat<Self>, rows: &Segments<Self>, scorer: Scorer<'_, Self>) -> Buffer<f32> {
        score::score(self, x, rows, &scorer)
    }

    fn mean_pool(&self, x: &Mat<Self>, rows: &Segments<Self>) -> Mat<Self> {
        score::mean_pool(self, x, rows)
    }

    fn top_m(&self, scores: &Buffer<f32>, groups: &Segments<Self>, m: usize) -> Selection<Self> {
        top_m::top_m(self, scores, groups, m)
    }

    fn gather(&self, x: &Mat<Self>, rows: &Segments<Self>, chosen: &Selection<Self>) -> (Mat<Self>, Segments<Self>) {
        gather::gather(self, x, rows, chosen)
    }

    fn merge(&self, rows: &Segments<Self>, groups: &Segments<Self>) -> Segments<Self> {
        gather::merge(self, rows, groups)
    }

    fn join(&self, j: Join<'_, Self>) -> (Mat<Self>, Segments<Self>) {
        join::join(self, &j)
    }

    fn dequantise(&self, width: usize, stored: &[Stored<'_>]) -> Mat<Self> {
        dequantise::dequantise(self, width, stored)
    }

    fn predict(&self, x: &Mat<Self>, head: &Mat<Self>, next: &mut Prediction<Self>) {
        predict::predict(self, x, head, next);
    }

    fn log_prob(&self, logits: &Mat<Self>, target: &Buffer<u32>) -> Buffer<f32> {
        log_prob::log_prob(self, logits, target)
    }

    /// The first step is launched, the second recorded as a graph, which is launched for it and for each that follows.
    /// Within another `repeat` of this machine, each step is launched by itself.
    fn repeat<S>(
        &self,
        times: usize,
        state: &mut S,
        step: impl Fn(&mut S),
        goes_on: impl FnMut(&S) -> Result<bool>,
    ) -> Result<()> {
        graph::repeat(&self.queue, times, state, step, goes_on)
    }
}
