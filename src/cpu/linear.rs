//! Matrix products.

use gemm_common::Parallelism;
use half::bf16;
use rayon::prelude::*;

use super::ahead::read_ahead;
use super::packed::{Family, Finish, Path, covers};
use super::real::{dot, singles, singles_mut, vectorised};
use super::scratch::scratch;
use super::{Cpu, Real};
use crate::backend::{Grad, Mat};

/// Where a product goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// `y = …`
    Fresh,
    /// `y += …`
    Sum,
}

/// Up to this many rows the weights are the traffic and each is used at once for all rows; a blocked product
/// would first copy them. Also what makes a decoding step of one question equal that of a batch, bit for bit.
pub(super) const FEW_ROWS: usize = 8;

/// `y = x·Wᵀ`.
pub(super) fn linear<T: Real>(x: &Mat<Cpu<T>>, w: &Mat<Cpu<T>>, y: &mut Mat<Cpu<T>>) {
    assert_eq!(x.cols, w.cols, "linear: x and w");
    assert_eq!((y.rows, y.cols), (x.rows, w.rows), "linear: y");
    if x.rows <= FEW_ROWS {
        return few_rows(x, w, y);
    }
    let product = Product {
        rows: x.rows,
        cols: w.rows,
        inner: x.cols,
        lhs: View { data: &x.buf, row_stride: x.cols, col_stride: 1 },
        rhs: View { data: &w.buf, row_stride: 1, col_stride: w.cols },
        threads: Parallelism::Rayon(0),
    };
    product.write(Into::Fresh, &mut y.buf, w.rows);
}

/// The products with packed weights, and what becomes of them; whether the weights are packed, and this processor
/// multiplies so many rows by them as they are.
pub(super) fn packed<T: Real, const N: usize, const M: usize>(
    x: &Mat<Cpu<T>>,
    w: [&Mat<Cpu<T>>; N],
    finish: Finish,
    y: [&mut Mat<Cpu<T>>; M],
) -> bool {
    multiply(x, w, finish, |family| family.run(&mut y.map(|y| singles_mut(&mut y.buf))))
}

/// The products with packed weights, rounded; see [`packed`].
pub(super) fn packed_rounded<T: Real, const N: usize>(
    x: &Mat<Cpu<T>>,
    w: [&Mat<Cpu<T>>; N],
    y: &mut [&mut [bf16]; N],
) -> bool {
    multiply(x, w, Finish::Store, |family| family.run_rounded(y))
}

fn multiply<T: Real, const N: usize>(
    x: &Mat<Cpu<T>>,
    w: [&Mat<Cpu<T>>; N],
    finish: Finish,
    run: impl FnOnce(Family<'_>),
) -> bool {
    let (packed, path) = (w.map(|w| w.buf.packed()), Path::best());
    if packed.iter().any(Option::is_none) {
        return false;
    }
    let weights = packed.map(|packed| packed.expect("all are"));
    if !covers(weights[0].packing(), x.rows, path) {
        return false;
    }
    assert_eq!(x.cols, w[0].cols, "linear: x and w");
    run(Family { x: singles(&x.buf), weights: &weights, finish, path });
    true
}

/// A matrix in someone else's memory.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T> {
    pub data: &'a [T],
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a, T: Real> View<'a, T> {
    /// A matrix from a row and a column on.
    pub(super) fn of_columns(mat: &'a Mat<Cpu<T>>, row: usize, col: usize) -> Self {
        Self { data: &mat.buf[(row * mat.cols + col).min(mat.buf.len())..], row_stride: mat.cols, col_stride: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        Self { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// Elements from the first to the last one, of `rows · cols`.
    fn span(&self, rows: usize, cols: usize) -> usize {
        if rows == 0 || cols == 0 { 0 } else { (rows - 1) * self.row_stride + (cols - 1) * self.col_stride + 1 }
    }
}

/// `lhs · rhs`, `[rows, inner] · [inner, cols]`.
pub(super) struct Product<'a, T> {
    pub rows: usize,
    pub cols: usize,
    pub inner: usize,
    pub lhs: View<'a, T>,
    pub rhs: View<'a, T>,
    pub threads: Parallelism,
}

impl<T: Real> Product<'_, T> {
    /// Writes or adds the product to row-major `y`, whose rows are `stride` apart.
    pub(super) fn write(&self, into: Into, y: &mut [T], stride: usize) {
        let Self { rows, cols, inner, lhs, rhs, threads } = *self;
        assert!(lhs.span(rows, inner) <= lhs.data.len() && rhs.span(inner, cols) <= rhs.data.len());
        assert!((View { data: &*y, row_stride: stride, col_stride: 1 }).span(rows, cols) <= y.len() && cols <= stride);
        // The transposed product, since the result's rows are contiguous: `yᵀ = rhsᵀ · lhsᵀ`.
        let (gemm, lhs, rhs) = (T::gemm(), rhs.transposed(), lhs.transposed());
        // SAFETY: the three spans lie within their slices, as asserted, and `y` is borrowed mutably, so that it
        // overlaps neither operand and, with `cols <= stride`, not itself. `Fresh` reads nothing of `y`.
        unsafe {
            gemm(
                cols,
                rows,
                inner,
                y.as_mut_ptr(),
                stride as isize,
                1,
                into == Into::Sum,
                lhs.data.as_ptr(),
                lhs.col_stride as isize,
                lhs.row_stride as isize,
                rhs.data.as_ptr(),
                rhs.col_stride as isize,
                rhs.row_stride as isize,
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                threads,
            );
        }
    }
}

/// One pass over the weights, all rows at once.
fn few_rows<T: Real>(x: &Mat<Cpu<T>>, w: &Mat<Cpu<T>>, y: &mut Mat<Cpu<T>>) {
    /// Outputs a task computes at a time.
    const OUTPUTS: usize = 32;
    let (rows, cols, inner) = (x.rows, w.rows, x.cols);
    let tasks = w.buf.par_chunks(OUTPUTS * inner).with_min_len(1 + 32_768 / (OUTPUTS * inner));
    scratch(FEW_ROWS * cols.next_multiple_of(OUTPUTS), |columns: &mut [T]| {
        tasks.zip(columns.par_chunks_mut(FEW_ROWS * OUTPUTS)).for_each(|(w, out)| {
            vectorised!({
                for (o, w) in w.chunks_exact(inner).enumerate() {
                    read_ahead(w);
                    for (r, x) in x.buf.chunks_exact(inner).enumerate() {
                        out[r * OUTPUTS + o] = dot(x, w);
                    }
                }
            });
        });
        for (first, out) in (0..cols).step_by(OUTPUTS).zip(columns.chunks_exact(FEW_ROWS * OUTPUTS)) {
            let width = OUTPUTS.min(cols - first);
            for r in 0..rows {
                y.buf[r * cols + first..][..width].copy_from_slice(&out[r * OUTPUTS..][..width]);
            }
        }
    });
}

/// Of `y = x·Wᵀ`: `dx = dy·W`.
pub(super) fn linear_dx<T: Real>(dy: &Mat<Cpu<T>>, w: &Mat<Cpu<T>>, dx: &mut Mat<Cpu<T>>) {
    assert_eq!(dy.cols, w.rows, "linear_bwd: dy and w");
    assert_eq!((dx.rows, dx.cols), (dy.rows, w.cols), "linear_bwd: dx");
    let product = Product {
        rows: dy.rows,
        cols: w.cols,
        inner: w.rows,
        lhs: View { data: &dy.buf, row_stride: dy.cols, col_stride: 1 },
        rhs: View { data: &w.buf, row_stride: w.cols, col_stride: 1 },
        threads: Parallelism::Rayon(0),
    };
    product.write(Into::Fresh, &mut dx.buf, w.cols);
}

/// Of `y = x·Wᵀ`: `dw += dyᵀ·x`.
pub(super) fn linear_dw<T: Real>(dy: &Mat<Cpu<T>>, x: &Mat<Cpu<T>>, dw: &mut Grad<Cpu<T>>) {
    assert_eq!(dy.rows, x.rows, "linear_bwd: dy and x");
    assert_eq!((dw.rows, dw.cols), (dy.cols, x.cols), "linear_bwd: dw");
    let product = Product {
        rows: dy.cols,
        cols: x.cols,
        inner: x.rows,
        lhs: View { data: &dy.buf, row_stride: 1, col_stride: dy.cols },
        rhs: View { data: &x.buf, row_stride: x.cols, col_stride: 1 },
        threads: Parallelism::Rayon(0),
    };
    product.write(Into::Sum, &mut dw.buf, x.cols);
}
