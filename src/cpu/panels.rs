//! Products in f32 with matrices that are packed in panels: the sums of some rows with a panel's columns stay in the
//! registers along the inner dimension. Each row's are added up as they would be alone.

use bytemuck::Zeroable;
use pulp::Simd;

use super::ahead::{ask, read_ahead};
use super::linear::{FEW_ROWS, Into};
use super::packed::{Line, WORDS};
use super::real::Body;

/// Rows whose sums are in the registers together: with 4 vectors of 32, or 2 of 16, they leave some for the operands.
pub(super) const HEIGHT: usize = 6;

/// Steps along the inner dimension from one jump to the next: where threads share a core, every instruction beside the
/// products counts.
const STEPS: usize = 4;

/// Numbers of a line.
const LINE: usize = WORDS;

/// A matrix `[inner, columns]`, panel by panel: of each panel, for each `i` of `inner`, its vectors, the last of which
/// is filled up with zeros. `N` vectors are a panel's width.
#[derive(Default)]
pub(super) struct Panels {
    lines: Vec<Line>,
    inner: usize,
    /// Vectors of all panels together.
    vectors: usize,
}

/// `len` numbers that are anything, in whole lines.
pub(super) fn resize(lines: &mut Vec<Line>, len: usize) -> &mut [f32] {
    lines.resize(len.div_ceil(WORDS), Line::zeroed());
    &mut bytemuck::cast_slice_mut(lines)[..len]
}

/// An expression, compiled for the instructions that are given; see `vectorised!`.
macro_rules! within {
    ($simd:expr, $body:expr) => {
        $crate::cpu::panels::compiled_for(
            $simd,
            #[inline(always)]
            || $body,
        )
    };
}
pub(super) use within;

/// See `within!`.
#[inline(always)]
pub(super) fn compiled_for<S: Simd, R>(simd: S, body: impl FnOnce() -> R) -> R {
    simd.vectorize(Body(body))
}

/// Rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub data: &'a [f32],
    /// From one to the next.
    pub stride: usize,
    pub count: usize,
}

impl Panels {
    fn shape<S: Simd>(&mut self, inner: usize, columns: usize) -> &mut [f32] {
        (self.inner, self.vectors) = (inner, columns.div_ceil(S::F32_LANES));
        resize(&mut self.lines, inner * self.vectors * S::F32_LANES)
    }

    /// The panels of a matrix whose column `t` is `column(t)`.
    #[inline(always)]
    pub fn pack_columns<'a, S: Simd, const N: usize>(
        &mut self,
        count: usize,
        inner: usize,
        column: impl Fn(usize) -> &'a [f32],
    ) {
        let lanes = S::F32_LANES;
        let panels = self.shape::<S>(inner, count).chunks_mut(N * lanes * inner);
        for (p, panel) in panels.enumerate() {
            let width = panel.len() / inner;
            for part in (0..width).step_by(lanes) {
                let first = p * N * lanes + part;
                transpose::<S>(lanes.min(count - first), |t| column(first + t), &mut panel[part..], width);
            }
        }
    }

    /// The panels of a matrix whose row `t` is `row(t)`.
    #[inline(always)]
    pub fn pack_rows<'a, S: Simd, const N: usize>(
        &mut self,
        inner: usize,
        count: usize,
        row: impl Fn(usize) -> &'a [f32],
    ) {
        let lanes = S::F32_LANES;
        let panels = self.shape::<S>(inner, count).chunks_mut(N * lanes * inner);
        for (p, panel) in panels.enumerate() {
            let width = panel.len() / inner;
            for (t, place) in panel.chunks_exact_mut(width).enumerate() {
                let row = &row(t)[p * N * lanes..];
                let len = width.min(row.len());
                place[..len].copy_from_slice(&row[..len]);
                place[len..].fill(0.0);
            }
        }
    }

    /// Of all panels, with what fills up the last vector.
    pub fn columns<S: Simd>(&self) -> usize {
        self.vectors * S::F32_LANES
    }

    /// The number in row `i` and column `column`.
    pub fn at<S: Simd, const N: usize>(&self, i: usize, column: usize) -> f32 {
        let (p, within) = (column / (N * S::F32_LANES), column % (N * S::F32_LANES));
        let width = N.min(self.vectors - p * N) * S::F32_LANES;
        bytemuck::cast_slice::<_, f32>(&self.lines)[p * N * S::F32_LANES * self.inner + i * width + within]
    }

    /// The product of rows with the first of these rows and columns, to rows of `y` that are `stride` apart, up to the
    /// end of a panel. Operands of `depth` steps along the inner dimension are in the cache for all rows.
    #[inline(always)]
    pub fn product<S: Simd, const N: usize>(
        &self,
        simd: S,
        x: Rows<'_>,
        (inner, columns): (usize, usize),
        depth: usize,
        into: Into,
        (y, stride): (&mut [f32], usize),
    ) {
        for p in 0..columns.div_ceil(N * S::F32_LANES) {
            self.panel::<S, N>(simd, p, x, (inner, depth), into, (&mut y[p * N * S::F32_LANES..], stride));
        }
    }

    /// The same with one panel.
    #[inline(always)]
    pub fn panel<S: Simd, const N: usize>(
        &self,
        simd: S,
        p: usize,
        x: Rows<'_>,
        (inner, depth): (usize, usize),
        into: Into,
        (y, stride): (&mut [f32], usize),
    ) {
        let vectors = S::as_simd_f32s(bytemuck::cast_slice(&self.lines)).0;
        let n = N.min(self.vectors - p * N);
        let panel = &vectors[self.inner * p * N..][..inner * n];
        for (part, w) in panel.chunks(depth * n).enumerate() {
            if x.count <= FEW_ROWS {
                read_ahead(w);
            }
            let into = if part > 0 { Into::Sum } else { into };
            let x = Rows { data: &x.data[part * depth..], ..x };
            let y = (&mut y[..], stride);
            match n {
                1 => rows::<S, 1>(simd, x, w, p == 0, into, y),
                2 => rows::<S, 2>(simd, x, w, p == 0, into, y),
                3 => rows::<S, 3>(simd, x, w, p == 0, into, y),
                _ => rows::<S, 4>(simd, x, w, p == 0, into, y),
            }
        }
    }
}

/// Writes the columns of up to a vector's rows to vectors that are `stride` apart.
#[inline(always)]
fn transpose<'a, S: Simd>(count: usize, row: impl Fn(usize) -> &'a [f32], y: &mut [f32], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == 16 {
        // SAFETY: vectors of 16 numbers are those of AVX-512.
        return unsafe { super::transpose::transpose(count, row, y, stride) };
    }
    for t in 0..S::F32_LANES {
        let places = y[t..].iter_mut().step_by(stride);
        if t < count {
            places.zip(row(t)).for_each(|(place, &x)| *place = x);
        } else {
            places.for_each(|place| *place = 0.0);
        }
    }
}

/// The product of rows with `[inner, N]` vectors. While it lasts, the vectors behind come nearer, and the rows where
/// they are `new`.
#[inline(always)]
fn rows<S: Simd, const N: usize>(
    simd: S,
    x: Rows<'_>,
    w: &[S::f32s],
    new: bool,
    into: Into,
    (y, stride): (&mut [f32], usize),
) {
    let mut behind = w.as_ptr_range().end.cast::<Line>();
    let w = w.as_chunks::<N>().0;
    for first in (0..x.count).step_by(HEIGHT) {
        if new {
            for row in first + HEIGHT..x.count.min(first + 2 * HEIGHT) {
                x.data[row * x.stride..][..w.len()].iter().step_by(LINE).for_each(|place| ask(place));
            }
        }
        let (data, y) = (&x.data[first * x.stride..], (&mut y[first * stride..], stride));
        match x.count - first {
            1 => block::<S, 1, N>(simd, (data, x.stride), w, behind, into, y),
            2 => block::<S, 2, N>(simd, (data, x.stride), w, behind, into, y),
            3 => block::<S, 3, N>(simd, (data, x.stride), w, behind, into, y),
            4 => block::<S, 4, N>(simd, (data, x.stride), w, behind, into, y),
            5 => block::<S, 5, N>(simd, (data, x.stride), w, behind, into, y),
            _ => block::<S, HEIGHT, N>(simd, (data, x.stride), w, behind, into, y),
        }
        behind = behind.wrapping_add(w.len() / STEPS);
    }
}

/// The same of `M` rows. Asks for a line from `behind` on with every few steps. The sums are only ever named by their
/// place: handed to a function that is not inlined, as a `zip` is in dev builds, they would not stay in the registers.
#[inline(always)]
fn block<S: Simd, const M: usize, const N: usize>(
    simd: S,
    (x, x_stride): (&[f32], usize),
    w: &[[S::f32s; N]],
    behind: *const Line,
    into: Into,
    (y, y_stride): (&mut [f32], usize),
) {
    assert!((M - 1) * x_stride + w.len() <= x.len());
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    let mut rows = y.chunks_mut(y_stride);
    let places: [&mut [S::f32s; N]; M] = std::array::from_fn(|_| {
        let row = rows.next().and_then(|row| S::as_mut_simd_f32s(row).0.first_chunk_mut());
        row.expect("M rows of N vectors")
    });
    if into == Into::Sum {
        for (m, sums) in sums.iter_mut().enumerate() {
            *sums = *places[m];
        }
    }
    let (whole, rest) = w.as_chunks::<STEPS>();
    for (i, w) in whole.iter().enumerate() {
        ask(behind.wrapping_add(i));
        for (step, w) in w.iter().enumerate() {
            // SAFETY: this is below `w.len()`, and the last row's too lies within `x`, as asserted.
            unsafe { add::<S, M, N>(simd, x.as_ptr().add(i * STEPS + step), x_stride, w, &mut sums) };
        }
    }
    for (i, w) in rest.iter().enumerate() {
        // SAFETY: as above.
        unsafe { add::<S, M, N>(simd, x.as_ptr().add(whole.len() * STEPS + i), x_stride, w, &mut sums) };
    }
    for (m, place) in places.into_iter().enumerate() {
        *place = sums[m];
    }
}

/// One step along the inner dimension.
///
/// # Safety
/// `x` points to the first of `M` numbers that are `stride` apart.
#[inline(always)]
unsafe fn add<S: Simd, const M: usize, const N: usize>(
    simd: S,
    x: *const f32,
    stride: usize,
    w: &[S::f32s; N],
    sums: &mut [[S::f32s; N]; M],
) {
    let mut next = x;
    for sums in sums {
        // SAFETY: as the caller says.
        let x = simd.splat_f32s(unsafe { *next });
        for (n, sum) in sums.iter_mut().enumerate() {
            *sum = simd.mul_add_f32s(x, w[n], *sum);
        }
        next = next.wrapping_add(stride);
    }
}
