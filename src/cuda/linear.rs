//! Products with one weight matrix.

use super::kernels::Kernel;
use super::launch::{Arg, args};
use super::product::{Forms, LARGE, MEDIUM, SMALL, Shape};
use super::{Cuda, Float};
use crate::backend::{Backend, Mat, Normed};

const LINEAR: Forms = Forms {
    tiles: &[(LARGE, Kernel::LinearLarge), (MEDIUM, Kernel::LinearMedium), (SMALL, Kernel::LinearSmall)],
    few: Some(Kernel::LinearFew),
    plain: Kernel::LinearPlain,
    plain_few: Kernel::LinearPlainFew,
};
const ADD: Forms = Forms {
    tiles: &[(LARGE, Kernel::LinearAddLarge), (MEDIUM, Kernel::LinearAddMedium), (SMALL, Kernel::LinearAddSmall)],
    few: Some(Kernel::LinearAddFew),
    plain: Kernel::LinearAddPlain,
    plain_few: Kernel::LinearAddPlainFew,
};
const RELU: Forms = Forms {
    tiles: &[(LARGE, Kernel::LinearReluLarge), (MEDIUM, Kernel::LinearReluMedium), (SMALL, Kernel::LinearReluSmall)],
    few: Some(Kernel::LinearReluFew),
    plain: Kernel::LinearReluPlain,
    plain_few: Kernel::LinearReluPlainFew,
};

/// Weights of a launch, at most; `kernels/linear.cu` has as many parameters.
const TOGETHER: usize = 3;

/// The products of `x` with each of these weights, in one launch.
pub(super) fn linears<E: Float, const N: usize>(
    be: &Cuda<E>,
    x: &Mat<Cuda<E>>,
    w: [&Mat<Cuda<E>>; N],
) -> [Mat<Cuda<E>>; N] {
    multiply(be, x, w, &shape(x, w), (None, 0.0))
}

/// As [`linears`], of `x` normed: of few rows in the same launch.
pub(super) fn normed_linears<E: Float, const N: usize>(
    be: &Cuda<E>,
    Normed { x, g, eps }: Normed<'_, Cuda<E>>,
    w: [&Mat<Cuda<E>>; N],
) -> [Mat<Cuda<E>>; N] {
    let shape = shape(x, w);
    if !be.can_norm(&shape) {
        return linears(be, &be.rms_norm(x, g, eps), w);
    }
    assert_eq!((g.rows, g.cols), (1, x.cols), "linear: scale of the norm");
    multiply(be, x, w, &shape, (Some(g), eps))
}

fn shape<E: Float, const N: usize>(x: &Mat<Cuda<E>>, w: [&Mat<Cuda<E>>; N]) -> Shape {
    let (rows, inner, outputs) = (x.rows, x.cols, w[0].rows);
    Shape { rows, inner, outputs, products: N, writes_pieces: outputs.is_multiple_of(E::PACK) }
}

fn multiply<E: Float, const N: usize>(
    be: &Cuda<E>,
    x: &Mat<Cuda<E>>,
    w: [&Mat<Cuda<E>>; N],
    shape: &Shape,
    norm: (Option<&Mat<Cuda<E>>>, f64),
) -> [Mat<Cuda<E>>; N] {
    const { assert!(0 < N && N <= TOGETHER, "a launch takes one to three weights") };
    let &Shape { rows, inner, outputs, .. } = shape;
    assert!(w.iter().all(|w| (w.rows, w.cols) == (outputs, inner)), "linear: x and weights");
    let live = x.buf.live();
    let y = w.map(|_| be.alloc(rows, outputs, live));
    let of_three = |mats: [Option<&Mat<Cuda<E>>>; TOGETHER]| mats.map(Arg::from);
    let (weights, results) = ([0, 1, 2].map(|i| w.get(i).copied()), [0, 1, 2].map(|i| y.get(i)));
    let sizes = args![rows, inner, outputs, live];
    let args = [args![x], &of_three(weights)[..], &of_three(results), sizes].concat();
    be.multiply(&LINEAR, shape, &args, args![norm.0, norm.1 as f32]);
    y
}

pub(super) fn linear_relu<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, w: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    let mut y = be.alloc(x.rows, w.rows, x.buf.live());
    write(be, &RELU, x, w, &mut y);
    y
}

pub(super) fn linear_add<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, w: &Mat<Cuda<E>>, y: &mut Mat<Cuda<E>>) {
    write(be, &ADD, x, w, y);
}

fn write<E: Float>(be: &Cuda<E>, forms: &Forms, x: &Mat<Cuda<E>>, w: &Mat<Cuda<E>>, y: &mut Mat<Cuda<E>>) {
    assert_eq!(x.cols, w.cols, "linear: x and w");
    assert_eq!((y.rows, y.cols), (x.rows, w.rows), "linear: y");
    let (rows, inner, outputs) = (x.rows, x.cols, w.rows);
    let shape = Shape { rows, inner, outputs, products: 1, writes_pieces: outputs.is_multiple_of(E::PACK) };
    be.multiply(forms, &shape, args![x, w, y, rows, inner, outputs, x.buf.live()], &[]);
}
