//! Random operands in a machine's own numbers, and runs that must not vary.

use std::sync::LazyLock;

use glimmer::backend::{Backend, Backward, Element, Grad, Mat};
use glimmer::random;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::common::naive::Matrix;
use crate::common::{emulated, round};

/// A matrix on the machine, and the same numbers in f64.
pub struct Operand<B: Backend> {
    pub mat: Mat<B>,
    pub plain: Matrix,
}

/// These numbers, rounded to the machine's.
pub fn operand<B: Backend>(be: &B, cols: usize, data: Vec<f64>) -> Operand<B> {
    let host: Vec<B::Elem> = data.iter().map(|&x| B::Elem::from_f64(x)).collect();
    let plain = Matrix { cols, data: data.iter().map(|&x| round::<B::Elem>(x)).collect() };
    Operand { mat: Mat::upload(be, data.len() / cols, cols, host), plain }
}

/// A run of the machine's wide numbers, and the same in f64 as a column.
pub struct Wide<B: Backend> {
    pub buf: B::Buf<B::Wide>,
    pub plain: Matrix,
}

/// These numbers, rounded to the machine's wide ones.
pub fn wide<B: Backend>(be: &B, data: Vec<f64>) -> Wide<B> {
    let buf = be.upload(data.iter().map(|&x| B::Wide::from_f64(x)).collect());
    Wide { buf, plain: Matrix { cols: 1, data: data.into_iter().map(round::<B::Wide>).collect() } }
}

/// Normally distributed numbers; another `stream` gives others.
pub fn normal<B: Backend>(be: &B, stream: u64, (rows, cols): (usize, usize), deviation: f64) -> Operand<B> {
    let draw = |i| deviation * random::normal(11, stream, i);
    operand(be, cols, (0..(rows * cols) as u64).map(draw).collect())
}

/// Token ids below `bound`.
pub fn ids(stream: u64, count: usize, bound: usize) -> Vec<u32> {
    (0..count as u64).map(|i| random::below(11, stream, i, bound) as u32).collect()
}

/// The values of `mat`, widened.
pub fn values<B: Backend>(be: &B, mat: &Mat<B>) -> Vec<f64> {
    widened(mat.download(be).unwrap())
}

pub fn widened<E: Element>(values: Vec<E>) -> Vec<f64> {
    values.into_iter().map(Element::to_f64).collect()
}

/// These numbers, which are the machine's, on the machine.
pub fn mat<B: Backend>(be: &B, plain: &Matrix) -> Mat<B> {
    operand(be, plain.cols, plain.data.clone()).mat
}

/// As a gradient that something was added to before.
pub fn grad<B: Backward>(be: &B, plain: &Matrix) -> Grad<B> {
    let host: Vec<B::Wide> = plain.data.iter().map(|&x| Element::from_f64(x)).collect();
    Grad { rows: plain.data.len() / plain.cols, cols: plain.cols, buf: be.upload(host) }
}

/// The values of a gradient, widened.
pub fn grad_values<B: Backward>(be: &B, grad: &Grad<B>) -> Vec<f64> {
    wide_values(be, &grad.buf)
}

pub fn wide_values<B: Backend>(be: &B, buf: &B::Buf<B::Wide>) -> Vec<f64> {
    be.download(buf).unwrap().into_iter().map(Element::to_f64).collect()
}

/// The result of `run`, which must be the same every time, on any number of threads, and in any order of an emulated
/// device's blocks and warps. NaN differs from itself.
pub fn steady<R: PartialEq + Send>(what: &str, run: impl Fn() -> R + Send + Sync) -> R {
    static ONE: LazyLock<ThreadPool> = LazyLock::new(|| ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    static THREE: LazyLock<ThreadPool> = LazyLock::new(|| ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    static MANY: LazyLock<ThreadPool> = LazyLock::new(|| ThreadPoolBuilder::new().num_threads(16).build().unwrap());
    let found = run();
    if emulated::is_emulated() {
        emulated::reschedule(1);
        assert!(ONE.install(&run) == found, "{what}: differs under another schedule, from another thread");
        return found;
    }
    assert!(run() == found, "{what}: a second run differs");
    assert!(ONE.install(&run) == found, "{what}: differs on one thread");
    assert!(THREE.install(&run) == found, "{what}: differs on three threads");
    assert!(MANY.install(&run) == found, "{what}: differs on sixteen threads");
    found
}
