//! Adafactor against its definition in T5X, written out.

use glimmer::backend::{AdafactorState, AdafactorStep, Backward, Grad, Moments};

use crate::common::naive::Matrix;
use crate::common::{assert_close, round, tolerance};
use crate::harness::{grad, grad_values, mat, normal, steady, values};

/// How the second moments are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    Factored,
    Whole,
}

/// A parameter and its moments in f64.
struct Plain {
    w: Matrix,
    row: Vec<f64>,
    col: Vec<f64>,
    whole: Vec<f64>,
}

fn rms(x: &[f64]) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt()
}

impl Plain {
    fn new(w: Matrix) -> Self {
        Self { row: vec![0.0; w.count()], col: vec![0.0; w.cols], whole: vec![0.0; w.data.len()], w }
    }

    /// What a step divides the gradient by, element by element.
    fn factored(&mut self, squares: &Matrix, decay: f64) -> Vec<f64> {
        let (rows, cols) = (squares.count(), squares.cols);
        let mean = |x: &mut dyn Iterator<Item = f64>, count: usize| x.sum::<f64>() / count as f64;
        for i in 0..rows {
            let of_row = mean(&mut squares.row(i).iter().copied(), cols);
            self.row[i] = decay * self.row[i] + (1.0 - decay) * of_row;
        }
        for j in 0..cols {
            let of_col = mean(&mut squares.rows().map(|row| row[j]), rows);
            self.col[j] = decay * self.col[j] + (1.0 - decay) * of_col;
        }
        let of_rows = mean(&mut self.row.iter().copied(), rows);
        let place = |i: usize| ((self.row[i / cols] / of_rows).sqrt(), self.col[i % cols].sqrt());
        (0..rows * cols).map(|i| place(i).0 * place(i).1).collect()
    }

    fn whole(&mut self, squares: &Matrix, decay: f64) -> Vec<f64> {
        for (v, s) in self.whole.iter_mut().zip(&squares.data) {
            *v = decay * *v + (1.0 - decay) * s;
        }
        self.whole.iter().map(|v| v.sqrt()).collect()
    }

    /// → the size of the update before it was clipped.
    fn step(&mut self, gradient: &Matrix, step: AdafactorStep, kept: Kept) -> f64 {
        let g = gradient.map(|g| g * step.scale);
        let squares = g.map(|g| g * g + 1e-30);
        let roots = match kept {
            Kept::Factored => self.factored(&squares, step.decay),
            Kept::Whole => self.whole(&squares, step.decay),
        };
        let update: Vec<f64> = g.data.iter().zip(roots).map(|(g, root)| g / root).collect();
        let size = rms(&update);
        let rate = step.learning_rate * rms(&self.w.data).max(1e-3) / size.max(1.0);
        self.w.data.iter_mut().zip(update).for_each(|(w, u)| *w -= rate * u);
        size
    }
}

fn moments<B: Backward>(be: &B, plain: &Plain, kept: Kept) -> Moments<B> {
    let of = |cols: usize, data: &[f64]| grad(be, &Matrix { cols, data: data.to_vec() });
    match kept {
        Kept::Factored => {
            Moments::Factored { row: of(plain.row.len(), &plain.row), col: of(plain.col.len(), &plain.col) }
        }
        Kept::Whole => Moments::Whole(of(plain.w.cols, &plain.whole)),
    }
}

/// The numbers of a parameter after a step, what it then lacks, and its moments.
fn found<B: Backward>(be: &B, plain: &Plain, (gradient, step): (&Grad<B>, AdafactorStep), kept: Kept) -> [Vec<f64>; 4] {
    steady("adafactor", || {
        let w = plain.w.map(round::<B::Elem>);
        let lacks = plain.w.zip(&w, |x, w| x - w);
        let remainder = Grad::remainder(be, 1, 1).map(|_| grad(be, &lacks));
        let (mut w, mut state) = (mat(be, &w), AdafactorState { moments: moments(be, plain, kept), remainder });
        be.adafactor(&mut w, gradient, &mut state, step);
        let (first, second) = match &state.moments {
            Moments::Factored { row, col } => (grad_values(be, row), grad_values(be, col)),
            Moments::Whole(whole) => (grad_values(be, whole), Vec::new()),
        };
        let w = values(be, &w);
        let lacks = state.remainder.map_or(vec![0.0; w.len()], |remainder| grad_values(be, &remainder));
        [w, lacks, first, second]
    })
}

/// Ten steps, each from the plain numbers of the one before, rounded.
fn ten_steps<B: Backward>(be: &B, shape: (usize, usize), deviation: f64, kept: Kept) -> Vec<f64> {
    let mut plain = Plain::new(normal(be, 0, shape, deviation).plain);
    let narrow = |x: &mut Vec<f64>| x.iter_mut().for_each(|x| *x = round::<B::Wide>(*x));
    let mut sizes = Vec::new();
    for t in 0..10u32 {
        // Gradients of many sizes; without warning a hundred times the usual one, which is what clipping is for.
        let spread = 10f64.powi(t as i32 % 3 - 2) * if t == 6 { 100.0 } else { 1.0 };
        let gradient = normal(be, 1 + u64::from(t), shape, spread).plain;
        let decay = if t == 0 { 0.0 } else { 1.0 - f64::from(t + 1).powf(-0.8) };
        let step = AdafactorStep { learning_rate: 0.01, decay, scale: 0.125 };
        let [w, lacks, first, second] = found(be, &plain, (&grad(be, &gradient), step), kept);
        sizes.push(plain.step(&gradient, step, kept));
        let what = format!("step {t} of {shape:?}, {kept:?}");
        let bound = tolerance::<B::Wide>(shape.0.max(shape.1).min(100));
        let sum: Vec<f64> = w.iter().zip(&lacks).map(|(w, lacks)| w + lacks).collect();
        assert_close(&what, &sum, &plain.w.data, tolerance::<B::Wide>(1));
        assert_eq!(w, sum.iter().map(|&x| round::<B::Elem>(x)).collect::<Vec<_>>(), "{what}: rounded");
        if kept == Kept::Factored {
            assert_close(&what, &first, &plain.row, bound);
            assert_close(&what, &second, &plain.col, bound);
        } else {
            assert_close(&what, &first, &plain.whole, bound);
        }
        narrow(&mut plain.w.data);
        [&mut plain.row, &mut plain.col, &mut plain.whole].into_iter().for_each(narrow);
    }
    sizes
}

pub fn adafactor<B: Backward>(be: &B) {
    for shape in [(1, 1), (1, 33), (7, 5), (65, 130), (200, 257)] {
        for kept in [Kept::Factored, Kept::Whole] {
            let sizes = ten_steps(be, shape, 0.05, kept);
            if shape.0 > 1 {
                assert!(sizes.iter().any(|&size| size > 1.2) && sizes.iter().any(|&size| size < 0.9), "{sizes:?}");
            }
        }
    }
}

/// A parameter of zeros moves by the least size; one without a gradient not at all.
pub fn adafactor_of_nothing<B: Backward>(be: &B) {
    for kept in [Kept::Factored, Kept::Whole] {
        ten_steps(be, (6, 40), 0.0, kept);
        let plain = Plain::new(normal(be, 0, (6, 40), 1.0).plain);
        let step = AdafactorStep { learning_rate: 0.01, decay: 0.0, scale: 1.0 };
        let [w, ..] = found(be, &plain, (&Grad::zeros(be, 6, 40), step), kept);
        assert_eq!(w, plain.w.data);
    }
}
