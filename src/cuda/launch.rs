//! The one launch.

use std::ffi::c_void;
use std::fmt;

use cudarc::driver::{DriverError, result};

use super::Cuda;
use super::buffer::{Buffer, Live};
use super::float::Float;
use super::kernels::{Function, Kernel};
use super::probe::Failed;
use crate::backend::Mat;

/// Threads of a warp.
pub(super) const WARP: usize = 32;

/// How many blocks of how many threads, and their dynamic shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    blocks: [u32; 3],
    threads: [u32; 3],
    shared_bytes: u32,
}

impl Grid {
    /// Blocks along one axis. None at all is no launch.
    pub(super) fn of(blocks: usize) -> Self {
        Self::across([blocks, 1, 1])
    }

    /// Blocks along three axes.
    pub(super) fn across(blocks: [usize; 3]) -> Self {
        Self { blocks: blocks.map(narrow), threads: [1, 1, 1], shared_bytes: 0 }
    }

    /// Of so many threads each.
    pub(super) fn threads(self, x: usize, y: usize) -> Self {
        Self { threads: [narrow(x), narrow(y), 1], ..self }
    }

    /// With so much dynamic shared memory each.
    pub(super) fn shared(self, bytes: usize) -> Self {
        Self { shared_bytes: narrow(bytes), ..self }
    }
}

/// A size as the kernels have it.
pub(super) fn narrow(size: usize) -> u32 {
    u32::try_from(size).unwrap_or_else(|_| panic!("{size} is more than a kernel can count"))
}

/// An argument of a kernel, and how to name it when the launch fails.
#[derive(Clone, Copy)]
pub(super) struct Arg {
    /// The value, in the low bytes.
    bits: u64,
    bytes: usize,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Shape {
    Matrix {
        rows: usize,
        cols: usize,
    },
    Run {
        len: usize,
    },
    Live,
    Nothing,
    Whole(u32),
    Bits(u64),
    Real(f32),
    /// Memory that could not be had, so that there is nothing to launch on.
    Missing,
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::Matrix { rows, cols } => write!(f, "[{rows}, {cols}]"),
            Shape::Run { len } => write!(f, "[{len}]"),
            Shape::Live => f.write_str("rows that the device counts"),
            Shape::Nothing => f.write_str("none"),
            Shape::Whole(x) => write!(f, "{x}"),
            Shape::Bits(x) => write!(f, "{x:#x}"),
            Shape::Real(x) => write!(f, "{x:e}"),
            Shape::Missing => f.write_str("missing"),
        }
    }
}

impl Arg {
    fn memory<T>(buf: &Buffer<T>, shape: Shape) -> Self {
        let shape = if buf.is_missing() { Shape::Missing } else { shape };
        Self { bits: buf.address(), bytes: size_of::<u64>(), shape }
    }
}

impl<E: Float> From<&Mat<Cuda<E>>> for Arg {
    fn from(mat: &Mat<Cuda<E>>) -> Self {
        Self::memory(&mat.buf, Shape::Matrix { rows: mat.rows, cols: mat.cols })
    }
}
impl<E: Float> From<&mut Mat<Cuda<E>>> for Arg {
    fn from(mat: &mut Mat<Cuda<E>>) -> Self {
        Self::from(&*mat)
    }
}
impl<E: Float> From<Option<&Mat<Cuda<E>>>> for Arg {
    fn from(mat: Option<&Mat<Cuda<E>>>) -> Self {
        mat.map_or(Self { bits: 0, bytes: size_of::<u64>(), shape: Shape::Nothing }, Self::from)
    }
}
impl<T> From<&Buffer<T>> for Arg {
    fn from(buf: &Buffer<T>) -> Self {
        Self::memory(buf, Shape::Run { len: buf.len() })
    }
}
impl<T> From<&mut Buffer<T>> for Arg {
    fn from(buf: &mut Buffer<T>) -> Self {
        Self::from(&*buf)
    }
}
impl<T> From<Option<&Buffer<T>>> for Arg {
    fn from(buf: Option<&Buffer<T>>) -> Self {
        buf.map_or(Self { bits: 0, bytes: size_of::<u64>(), shape: Shape::Nothing }, Self::from)
    }
}
impl From<Option<&Live>> for Arg {
    fn from(live: Option<&Live>) -> Self {
        let shape = if live.is_some() { Shape::Live } else { Shape::Nothing };
        Self { bits: live.map_or(0, Live::address), bytes: size_of::<u64>(), shape }
    }
}
impl From<usize> for Arg {
    fn from(x: usize) -> Self {
        Self { bits: narrow(x).into(), bytes: size_of::<u32>(), shape: Shape::Whole(narrow(x)) }
    }
}
impl From<u64> for Arg {
    fn from(x: u64) -> Self {
        Self { bits: x, bytes: size_of::<u64>(), shape: Shape::Bits(x) }
    }
}
impl From<f32> for Arg {
    fn from(x: f32) -> Self {
        Self { bits: x.to_bits().into(), bytes: size_of::<f32>(), shape: Shape::Real(x) }
    }
}

/// The arguments of a launch: matrices, buffers, sizes (`usize`, 32 bits in the kernel), `u64`, `f32`, and `live`
/// counts.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { &[$($crate::cuda::launch::Arg::from($arg)),*] };
}
pub(super) use args;

impl<E: Float> Cuda<E> {
    /// Launches a kernel. What goes wrong is remembered for the next download, and nothing is launched until then.
    pub(super) fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) {
        if self.queue.has_failed() || grid.blocks.contains(&0) {
            return;
        }
        let function = self.kernels.get(kernel);
        let missing = args.iter().any(|arg| matches!(arg.shape, Shape::Missing));
        let why = if missing {
            "it needs memory that an earlier failure left missing".to_string()
        } else {
            let Err(error) = self.submit(function, grid, args) else { return };
            Failed(error).to_string()
        };
        self.queue.fail(|| {
            let Grid { blocks, threads, shared_bytes } = grid;
            let args: Vec<String> = args.iter().map(Arg::to_string).collect();
            format!(
                "{} failed: {why}\n  launched as {blocks:?} blocks of {threads:?} threads with {shared_bytes} bytes of \
                 shared memory, on ({})",
                function.name,
                args.join(", ")
            )
        });
    }

    fn submit(&self, function: &Function, grid: Grid, args: &[Arg]) -> Result<(), DriverError> {
        let sizes = args.iter().map(|arg| arg.bytes);
        assert!(
            sizes.eq(function.parameters.iter().copied()),
            "{}: not the parameters that it declares",
            function.name
        );
        let stream = self.queue.stream()?;
        function.allow_shared(grid.shared_bytes)?;
        let mut pointers: Vec<*mut c_void> = args.iter().map(|arg| (&raw const arg.bits).cast_mut().cast()).collect();
        let [blocks, threads] = [grid.blocks, grid.threads].map(|[x, y, z]| (x, y, z));
        // SAFETY: the function is loaded as long as `self`; the arguments are as many as it declares, of the sizes that
        // it declares (asserted above), and are read before this returns. The operations, which alone call this, check
        // shapes, list buffers in the kernel's order, and free memory in the stream's order; kernels mask what is
        // beyond the sizes that they are given.
        unsafe { result::launch_kernel(function.handle, blocks, threads, grid.shared_bytes, stream, &mut pointers) }
    }
}
