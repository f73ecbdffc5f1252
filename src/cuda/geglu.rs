//! The gated feed-forward's first half.

use super::kernels::Kernel;
use super::launch::args;
use super::product::{Forms, LARGE, MEDIUM, SMALL, Shape};
use super::{Cuda, Float};
use crate::backend::{Backend, Mat, Normed};

const GEGLU: Forms = Forms {
    tiles: &[(LARGE, Kernel::GegluLarge), (MEDIUM, Kernel::GegluMedium), (SMALL, Kernel::GegluSmall)],
    few: Some(Kernel::GegluFew),
    plain: Kernel::GegluPlain,
    plain_few: Kernel::GegluPlainFew,
};

pub(super) fn geglu<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, w_0: &Mat<Cuda<E>>, w_1: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    multiply(be, x, (w_0, w_1), &shape(x, w_0), (None, 0.0))
}

/// As [`geglu`], of `x` normed: of few rows in the same launch.
pub(super) fn normed_geglu<E: Float>(
    be: &Cuda<E>,
    Normed { x, g, eps }: Normed<'_, Cuda<E>>,
    w_0: &Mat<Cuda<E>>,
    w_1: &Mat<Cuda<E>>,
) -> Mat<Cuda<E>> {
    let shape = shape(x, w_0);
    if !be.can_norm(&shape) {
        return geglu(be, &be.rms_norm(x, g, eps), w_0, w_1);
    }
    assert_eq!((g.rows, g.cols), (1, x.cols), "geglu: scale of the norm");
    multiply(be, x, (w_0, w_1), &shape, (Some(g), eps))
}

fn shape<E: Float>(x: &Mat<Cuda<E>>, w_0: &Mat<Cuda<E>>) -> Shape {
    let (rows, inner, outputs) = (x.rows, x.cols, w_0.rows);
    Shape { rows, inner, outputs: 2 * outputs, products: 1, writes_pieces: outputs.is_multiple_of(E::PACK) }
}

fn multiply<E: Float>(
    be: &Cuda<E>,
    x: &Mat<Cuda<E>>,
    (w_0, w_1): (&Mat<Cuda<E>>, &Mat<Cuda<E>>),
    shape: &Shape,
    (g, eps): (Option<&Mat<Cuda<E>>>, f64),
) -> Mat<Cuda<E>> {
    assert_eq!([w_0.cols, w_1.cols], [x.cols; 2], "geglu: x and weights");
    assert_eq!(w_0.rows, w_1.rows, "geglu: weights");
    let live = x.buf.live();
    let mut h = be.alloc(x.rows, w_0.rows, live);
    let args = args![x, w_0, w_1, &mut h, x.rows, x.cols, w_0.rows, live];
    be.multiply(&GEGLU, shape, args, args![g, eps as f32]);
    h
}
