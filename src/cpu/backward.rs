//! What the CPU needs for training.

use anyhow::Result;

use super::{Buffer, Cpu, Precision, Real, elementwise};
use crate::backend::{
    AdafactorState, AdafactorStep, Attend, AttendGrad, Attended, Backward, Distill, Dropout, Grad, Join, Mat, Scorer,
    ScorerGrad, Segments, Selection,
};

impl<T: Real> Backward for Cpu<T> {
    const SIDE_BY_SIDE: bool = true;

    fn zeros(&self, rows: usize, cols: usize) -> Mat<Self> {
        let mut y = self.alloc(rows, cols);
        T::fill(&mut y.buf, T::ZERO);
        y
    }

    fn copy(&self, x: &Mat<Self>) -> Mat<Self> {
        let mut y = self.alloc(x.rows, x.cols);
        T::copy(&x.buf, &mut y.buf);
        y
    }

    fn add(&self, x: &Mat<Self>, y: &mut Mat<Self>) {
        elementwise::add(x, y);
    }

    fn clear(&self, grad: &mut Grad<Self>) {
        T::fill(&mut grad.buf, T::ZERO);
    }

    fn dropout(&self, x: &mut Mat<Self>, mask: &Dropout) {
        T::dropout(x, mask);
    }

    fn embed_bwd(&self, dy: &Mat<Self>, ids: &Buffer<u32>, dtable: &mut Grad<Self>) {
        T::embed_bwd(dy, ids, dtable);
    }

    fn rms_norm_bwd(
        &self,
        dy: &Mat<Self>,
        normed: (&Mat<Self>, &Mat<Self>, f64),
        dg: &mut Grad<Self>,
        dx: &mut Mat<Self>,
    ) {
        T::rms_norm_bwd(dy, normed, dg, dx);
    }

    fn linear_bwd(&self, dy: &Mat<Self>, x: &Mat<Self>, w: &Mat<Self>, dw: &mut Grad<Self>) -> Mat<Self> {
        T::linear_dw(dy, x, dw);
        let mut dx = self.alloc(dy.rows, w.cols);
        T::linear_dx(dy, w, &mut dx);
        dx
    }

    fn gate(&self, a: &Mat<Self>, b: &Mat<Self>) -> Mat<Self> {
        let mut h = self.alloc(a.rows, a.cols);
        T::gated(a, b, &mut h);
        h
    }

    fn gate_bwd(&self, dh: &Mat<Self>, a: &Mat<Self>, b: &Mat<Self>) -> (Mat<Self>, Mat<Self>) {
        let [mut da, mut db] = [(); 2].map(|()| self.alloc(a.rows, a.cols));
        T::gate_bwd(dh, (a, b), (&mut da, &mut db));
        (da, db)
    }

    fn attention_saved(&self, a: Attend<'_, Self>) -> Attended<Self> {
        a.check();
        let (mut o, Mat { rows, cols, mut buf }) = (self.alloc(a.q.rows, a.q.cols), self.alloc(a.q.rows, a.heads));
        T::attention(&a, Precision::Full, &mut o, Some(&mut buf));
        Attended { o, log_sum: Grad { rows, cols, buf } }
    }

    fn attention_bwd(
        &self,
        a: Attend<'_, Self>,
        saved: &Attended<Self>,
        d_o: &Mat<Self>,
        dtable: Option<&mut Grad<Self>>,
    ) -> AttendGrad<Self> {
        a.check();
        let [dq, dk, dv] = [a.q, a.k, a.v].map(|x| self.alloc(x.rows, x.cols));
        let mut grad = AttendGrad { dq, dk, dv };
        T::attention_bwd(&a, (saved, d_o), &mut grad, dtable);
        grad
    }

    fn score_bwd(
        &self,
        ds: &Buffer<T>,
        scored: (&Mat<Self>, &Segments<Self>, Scorer<'_, Self>),
        dscorer: ScorerGrad<'_, Self>,
        dx: &mut Mat<Self>,
    ) {
        T::score_bwd(ds, scored, dscorer, dx);
    }

    fn gather_bwd(&self, dy: &Mat<Self>, rows: &Segments<Self>, chosen: &Selection<Self>, dx: &mut Mat<Self>) {
        T::gather_bwd(dy, rows, chosen, dx);
    }

    fn join_bwd(&self, dy: &Mat<Self>, j: &Join<'_, Self>) -> (Mat<Self>, Mat<Self>) {
        let [mut dquestion, mut dpassage] = [j.question, j.passage].map(|x| self.alloc(x.rows, x.cols));
        T::join_bwd(dy, j, (&mut dquestion, &mut dpassage));
        (dquestion, dpassage)
    }

    fn cross_entropy(&self, mut logits: Mat<Self>, target: &Buffer<u32>, scale: f64) -> (Buffer<T>, Mat<Self>) {
        let log_probs = T::cross_entropy(&mut logits, target, scale);
        (log_probs, logits)
    }

    fn distill(&self, d: Distill<'_, Self>) -> (Buffer<T>, Buffer<T>) {
        let mut dscores = self.alloc(d.scores.len(), 1).buf;
        let losses = T::distill(&d, &mut dscores);
        (losses, dscores)
    }

    fn square_sum(&self, grads: &[&Grad<Self>]) -> Result<f64> {
        Ok(grads.iter().map(|grad| T::square_sum(&grad.buf)).sum())
    }

    fn adafactor(&self, w: &mut Mat<Self>, grad: &Grad<Self>, state: &mut AdafactorState<Self>, step: AdafactorStep) {
        T::adafactor(w, grad, &mut state.moments, step);
    }
}
