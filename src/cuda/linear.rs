//! Products with one weight matrix.

use super::kernels::Kernel;
use super::launch::args;
use super::product::{Forms, LARGE, MEDIUM, SMALL, Shape};
use super::{Cuda, Float};
use crate::backend::Mat;

const LINEAR: Forms = Forms {
    tiles: &[(LARGE, Kernel::LinearLarge), (MEDIUM, Kernel::LinearMedium), (SMALL, Kernel::LinearSmall)],
    few: Kernel::LinearFew,
    plain: Kernel::LinearPlain,
    plain_few: Kernel::LinearPlainFew,
};
const ADD: Forms = Forms {
    tiles: &[(LARGE, Kernel::LinearAddLarge), (MEDIUM, Kernel::LinearAddMedium), (SMALL, Kernel::LinearAddSmall)],
    few: Kernel::LinearAddFew,
    plain: Kernel::LinearAddPlain,
    plain_few: Kernel::LinearAddPlainFew,
};
const RELU: Forms = Forms {
    tiles: &[(LARGE, Kernel::LinearReluLarge), (MEDIUM, Kernel::LinearReluMedium), (SMALL, Kernel::LinearReluSmall)],
    few: Kernel::LinearReluFew,
    plain: Kernel::LinearReluPlain,
    plain_few: Kernel::LinearReluPlainFew,
};

pub(super) fn linear<E: Float>(be: &Cuda<E>, x: &Mat<Cuda<E>>, w: &Mat<Cuda<E>>) -> Mat<Cuda<E>> {
    let mut y = be.alloc(x.rows, w.rows, x.buf.live());
    write(be, &LINEAR, x, w, &mut y);
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
    let shape = Shape { rows, inner, outputs, writes_pieces: outputs.is_multiple_of(E::PACK) };
    be.multiply(forms, &shape, args![x, w, y, rows, inner, outputs, x.buf.live()]);
}
