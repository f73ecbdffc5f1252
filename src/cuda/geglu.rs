//! The gated feed-forward's first half.

use super::kernels::Kernel;
use super::launch::args;
use super::product::{Forms, LARGE, MEDIUM, SMALL, Shape};
use super::{Cuda, Float};
use crate::backend::Mat;

const GEGLU: Forms = Forms {
    tiles: &[(LARGE, Kernel::GegluLarge), (MEDIUM, Kernel::GegluMedium), (SMALL, Kernel::GegluSmall)],
    few: Some(Kernel::GegluFew),
    plain: Kernel::GegluPlain,
    plain_few: Kernel::GegluPlainFew,
};

pub(super) fn geglu<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, w_0: &Mat<Cuda<E>>, w_1: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    assert_eq!([w_0.cols, w_1.cols], [x.cols; 2], "geglu: x and weights");
    assert_eq!(w_0.rows, w_1.rows, "geglu: weights");
    let (rows, inner, outputs) = (x.rows, x.cols, w_0.rows);
    let live = x.buf.live();
    let mut h = be.alloc(rows, outputs, live);
    let shape =
        Shape { rows, inner, outputs: 2 * outputs, products: 1, writes_pieces: outputs.is_multiple_of(E::PACK) };
    be.multiply(&GEGLU, &shape, args![x, w_0, w_1, &mut h, rows, inner, outputs, live]);
    h
}
