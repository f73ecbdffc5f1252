//! What the device needs for training.

use anyhow::Result;

use super::{
    Buffer, Cuda, Float, adafactor, all_reduce, attention_bwd, cross_entropy, distill, dropout, elementwise, embed_bwd,
    gate, gather_bwd, join_bwd, linear_bwd, rms_norm_bwd, score_bwd, square_sum,
};
use crate::backend::{
    AdafactorState, AdafactorStep, AllReduce, Attend, AttendGrad, Attended, Backward, Distill, Dropout, Grad, Join,
    Mat, Member, Scorer, ScorerGrad, Segments, Selection,
};

impl<E: Float> Backward for Cuda<E> {
    /// There is one stream, and its order is that of the host's calls.
    const SIDE_BY_SIDE: bool = false;

    fn zeros(&self, rows: usize, cols: usize) -> Mat<Self> {
        elementwise::zeros(self, rows, cols)
    }

    fn copy(&self, x: &Mat<Self>) -> Mat<Self> {
        elementwise::copy(self, x)
    }

    fn add(&self, x: &Mat<Self>, y: &mut Mat<Self>) {
        elementwise::add(self, x, y);
    }

    fn clear(&self, grad: &mut Grad<Self>) {
        grad.buf.clear();
    }

    fn dropout(&self, x: &mut Mat<Self>, mask: &Dropout) {
        dropout::dropout(self, x, mask);
    }

    fn embed_bwd(&self, dy: &Mat<Self>, ids: &Buffer<u32>, dtable: &mut Grad<Self>) {
        embed_bwd::embed_bwd(self, dy, ids, dtable);
    }

    fn rms_norm_bwd(
        &self,
        dy: &Mat<Self>,
        normed: (&Mat<Self>, &Mat<Self>, f64),
        dg: &mut Grad<Self>,
        dx: &mut Mat<Self>,
    ) {
        rms_norm_bwd::rms_norm_bwd(self, dy, normed, dg, dx);
    }

    fn linear_bwd(&self, dy: &Mat<Self>, x: &Mat<Self>, w: &Mat<Self>, dw: &mut Grad<Self>) -> Mat<Self> {
        linear_bwd::linear_dw(self, dy, x, dw);
        linear_bwd::linear_dx(self, dy, x, w)
    }

    fn gate(&self, a: &Mat<Self>, b: &Mat<Self>) -> Mat<Self> {
        gate::gate(self, a, b)
    }

    fn gate_bwd(&self, dh: &Mat<Self>, a: &Mat<Self>, b: &Mat<Self>) -> (Mat<Self>, Mat<Self>) {
        gate::gate_bwd(self, dh, a, b)
    }

    fn attention_saved(&self, a: Attend<'_, Self>) -> Attended<Self> {
        attention_bwd::attention_saved(self, &a)
    }

    fn attention_bwd(
        &self,
        a: Attend<'_, Self>,
        saved: &Attended<Self>,
        d_o: &Mat<Self>,
        dtable: Option<&mut Grad<Self>>,
    ) -> AttendGrad<Self> {
        attention_bwd::attention_bwd(self, &a, (saved, d_o), dtable)
    }

    fn score_bwd(
        &self,
        ds: &Buffer<f32>,
        scored: (&Mat<Self>, &Segments<Self>, Scorer<'_, Self>),
        dscorer: ScorerGrad<'_, Self>,
        dx: &mut Mat<Self>,
    ) {
        score_bwd::score_bwd(self, ds, scored, dscorer, dx);
    }

    fn gather_bwd(&self, dy: &Mat<Self>, rows: &Segments<Self>, chosen: &Selection<Self>, dx: &mut Mat<Self>) {
        gather_bwd::gather_bwd(self, dy, rows, chosen, dx);
    }

    fn join_bwd(&self, dy: &Mat<Self>, j: &Join<'_, Self>) -> (Mat<Self>, Mat<Self>) {
        join_bwd::join_bwd(self, dy, j)
    }

    fn cross_entropy(&self, logits: Mat<Self>, target: &Buffer<u32>, scale: f64) -> (Buffer<f32>, Mat<Self>) {
        cross_entropy::cross_entropy(self, logits, target, scale)
    }

    fn distill(&self, d: Distill<'_, Self>) -> (Buffer<f32>, Buffer<f32>) {
        distill::distill(self, &d)
    }

    fn square_sum(&self, grads: &[&Grad<Self>]) -> Result<f64> {
        square_sum::square_sum(self, grads)
    }

    fn adafactor(&self, w: &mut Mat<Self>, grad: &Grad<Self>, state: &mut AdafactorState<Self>, step: AdafactorStep) {
        adafactor::adafactor(self, w, grad, state, step);
    }

    /// By NCCL, which is looked for here and nowhere else.
    fn all_reduce(&self, member: Member<'_>) -> Result<Option<Box<dyn AllReduce<Self>>>> {
        all_reduce::join(self, member).map(Some)
    }
}
