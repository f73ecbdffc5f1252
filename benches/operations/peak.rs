//! What the machine can do at the most, as found out by doing it.

use std::hint::black_box;
use std::time::Instant;

use glimmer::backend::{Backend, Mat, Segments, Selection};

/// FLOP a second of a large matrix product, and bytes a second of a large copy, read and written: the best of some.
#[derive(Clone, Copy)]
pub struct Peak {
    pub flops: f64,
    pub bytes: f64,
}

const RUNS: usize = 8;
/// Of a row that is copied.
const WIDTH: usize = 2048;

impl Peak {
    /// By a product of matrices of so many rows and columns, and a copy of so many numbers.
    pub fn of<B: Backend>(be: &B, side: usize, copied: usize) -> Self {
        let (x, w) = (super::matrix(be, side, side), super::matrix(be, side, side));
        let flops = 2.0 * (side as f64).powi(3) / best(be, || be.linear(&x, &w));
        // A gather of everything is a copy.
        let rows = copied / WIDTH;
        let all: Mat<B> = super::matrix(be, rows, WIDTH);
        let (one, everything) = (Segments::packed(be, [rows]), Selection::all(be, 1));
        let bytes = 2.0 * (copied * size_of::<B::Elem>()) as f64 / best(be, || be.gather(&all, &one, &everything));
        Self { flops, bytes }
    }
}

/// Seconds of the fastest run.
fn best<B: Backend, R>(be: &B, mut run: impl FnMut() -> R) -> f64 {
    let one = be.upload(vec![0u32]);
    let mut times = (0..RUNS).map(|_| {
        let start = Instant::now();
        black_box(run());
        be.download(&one).expect("the machine works");
        start.elapsed().as_secs_f64()
    });
    let first = times.next().unwrap_or(f64::INFINITY);
    times.fold(first, f64::min)
}
