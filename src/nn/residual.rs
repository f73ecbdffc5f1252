//! The end of every block: a product, dropped out in training, added to the residual stream.

use crate::backend::{Backward, Dropout, Grad, Mat};

/// `x + mask ⊙ h·Wᵀ`.
pub(super) fn residual<B: Backward>(be: &B, x: &Mat<B>, h: &Mat<B>, w: &Mat<B>, mask: Option<Dropout>) -> Mat<B> {
    let mut out = be.linear(h, w);
    if let Some(mask) = &mask {
        be.dropout(&mut out, mask);
    }
    be.add(x, &mut out);
    out
}

/// The gradient of `h`; that of `x` is `dout` itself.
pub(super) fn residual_bwd<B: Backward>(
    be: &B,
    dout: &Mat<B>,
    h: &Mat<B>,
    (w, mask): (&Mat<B>, Option<Dropout>),
    dw: &mut Grad<B>,
) -> Mat<B> {
    let Some(mask) = &mask else { return be.linear_bwd(dout, h, w, dw) };
    let mut dropped = be.copy(dout);
    be.dropout(&mut dropped, mask);
    be.linear_bwd(&dropped, h, w, dw)
}
