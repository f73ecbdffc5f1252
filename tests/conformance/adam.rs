//! Adam against its definition, written out.

use glimmer::backend::{AdamMoments, AdamStep, Backward};

use crate::common::naive::Matrix;
use crate::common::{assert_close, round, tolerance};
use crate::harness::{grad, grad_values, mat, normal, operand, steady, values};

/// Ten steps, each from the plain numbers of the one before, rounded.
pub fn adam<B: Backward>(be: &B) {
    for shape in [(1, 1), (1, 33), (65, 130)] {
        let mut w = normal(be, 0, shape, 0.05).plain;
        let zeros = || Matrix { cols: shape.1, data: vec![0.0; shape.0 * shape.1] };
        let (mut first, mut second) = (zeros(), zeros());
        for t in 1..=10u64 {
            let gradient = normal(be, t, shape, 10f64.powi(t as i32 % 3 - 2)).plain;
            let step = AdamStep { learning_rate: 0.01, decay: [0.9, 0.98], epsilon: 1e-8, scale: 0.125, step: t };
            let found = steady("adam", || {
                let mut found = mat(be, &w);
                let mut moments = AdamMoments { first: grad(be, &first), second: grad(be, &second) };
                be.adam(&mut found, &grad(be, &gradient), &mut moments, step);
                [values(be, &found), grad_values(be, &moments.first), grad_values(be, &moments.second)]
            });
            for i in 0..w.data.len() {
                let g = 0.125 * gradient.data[i];
                let (m, v) = (&mut first.data[i], &mut second.data[i]);
                (*m, *v) = (0.9 * *m + 0.1 * g, 0.98 * *v + 0.02 * g * g);
                let (m, v) = (*m / (1.0 - 0.9f64.powi(t as i32)), *v / (1.0 - 0.98f64.powi(t as i32)));
                w.data[i] -= 0.01 * m / (v.sqrt() + 1e-8);
            }
            for (found, wanted) in found.iter().zip([&w, &first, &second]) {
                assert_close(&format!("step {t} of {shape:?}"), found, &wanted.data, tolerance::<B::Elem>(1));
            }
            w = operand(be, shape.1, w.data).plain;
            for moments in [&mut first, &mut second] {
                moments.data.iter_mut().for_each(|x| *x = round::<B::Wide>(*x));
            }
        }
    }
}
