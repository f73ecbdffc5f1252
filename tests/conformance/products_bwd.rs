//! Gradients of the products and of what stands between them.

use glimmer::backend::{Backward, Segments, Selection};

use crate::common::naive::{self, Matrix, dot};
use crate::common::naive_bwd::{SLOPE_ERROR, slopes, sum, transposed};
use crate::common::{assert_close, tolerance};
use crate::harness::{Operand, grad, grad_values, mat, normal, operand, steady, values};

/// Rows, inputs, outputs.
const SIZES: [(usize, usize, usize); 12] = [
    (0, 5, 3),
    (1, 1, 1),
    (1, 384, 512),
    (5, 31, 65),
    (8, 300, 1100),
    (9, 1, 7),
    (9, 64, 33),
    (17, 33, 1),
    (129, 257, 65),
    (700, 64, 96),
    (67, 1024, 300),
    (40, 20, 5000),
];

pub fn linear_bwd<B: Backward>(be: &B) {
    for (rows, inputs, outputs) in SIZES {
        let what = format!("linear_bwd {rows} × {inputs} → {outputs}");
        let (dy, x) = (normal(be, 0, (rows, outputs), 1.0), normal(be, 1, (rows, inputs), 1.0));
        let (w, start) = (normal(be, 2, (outputs, inputs), 0.3), normal(be, 3, (outputs, inputs), 1.0).plain);
        let (dx, dw) = steady(&what, || {
            let mut dw = grad(be, &start);
            let dx = be.linear_bwd(&dy.mat, &x.mat, &w.mat, &mut dw);
            (values(be, &dx), grad_values(be, &dw))
        });
        let wanted_dx = naive::linear(&dy.plain, &transposed(&w.plain));
        assert_close(&what, &dx, &wanted_dx.data, tolerance::<B::Elem>(outputs));
        let wanted_dw =
            if rows == 0 { start } else { sum(&start, &naive::linear(&transposed(&dy.plain), &transposed(&x.plain))) };
        assert_close(&what, &dw, &wanted_dw.data, tolerance::<B::Elem>(rows));
    }
}

pub fn linear_gradients_are_slopes<B: Backward>(be: &B) {
    let (dy, x, w) = (normal(be, 0, (5, 4), 1.0), normal(be, 1, (5, 3), 1.0), normal(be, 2, (4, 3), 1.0));
    let mut dw = glimmer::backend::Grad::zeros(be, 4, 3);
    let dx = be.linear_bwd(&dy.mat, &x.mat, &w.mat, &mut dw);
    let bound = tolerance::<B::Elem>(5) + SLOPE_ERROR;
    let by_x = slopes(&x.plain, |x| dot(&dy.plain.data, &naive::linear(x, &w.plain).data));
    assert_close("linear: dx", &values(be, &dx), &by_x.data, bound);
    let by_w = slopes(&w.plain, |w| dot(&dy.plain.data, &naive::linear(&x.plain, w).data));
    assert_close("linear: dw", &grad_values(be, &dw), &by_w.data, bound);
}

pub fn gate<B: Backward>(be: &B) {
    for (rows, f) in [(0, 5), (1, 1), (7, 33), (65, 130)] {
        let [a, b, dh] = [0, 1, 2].map(|stream| normal(be, stream, (rows, f), 1.5));
        let (h, da, db) = steady("gate", || {
            let (da, db) = be.gate_bwd(&dh.mat, &a.mat, &b.mat);
            (values(be, &be.gate(&a.mat, &b.mat)), values(be, &da), values(be, &db))
        });
        let gelu = a.plain.map(naive::gelu);
        let what = format!("gate of [{rows}, {f}]");
        // gelu's own roundings are of the size of its argument's, which a product of one number shows.
        let bound = 4.0 * tolerance::<B::Elem>(1) + SLOPE_ERROR;
        assert_close(&what, &h, &gelu.zip(&b.plain, |g, b| g * b).data, bound);
        assert_close(&what, &db, &gelu.zip(&dh.plain, |g, dh| g * dh).data, bound);
        // One number's slope does not depend on the others, so that all are moved at once.
        let step = 1e-3;
        let at = |steps: f64| a.plain.map(|a| naive::gelu(a + steps * step));
        let (near, far) = (at(1.0).zip(&at(-1.0), |x, y| x - y), at(2.0).zip(&at(-2.0), |x, y| x - y));
        let slope = near.zip(&far, |near, far| (8.0 * near - far) / (12.0 * step));
        let wanted = slope.zip(&b.plain, |slope, b| slope * b).zip(&dh.plain, |x, dh| x * dh);
        assert_close(&what, &da, &wanted.data, bound);
    }
}

/// Where gelu is its argument or 0, its slope is 1 or 0.
pub fn gate_far_from_zero<B: Backward>(be: &B) {
    let a = operand(be, 1, vec![1e30, 1e15, 1e4, 30.0, 0.0, -30.0, -1e4, -1e15, -1e30]);
    let one = operand(be, 1, vec![1.0; 9]);
    let (da, db) = be.gate_bwd(&one.mat, &a.mat, &one.mat);
    assert_eq!(values(be, &da), [1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0]);
    let gelu: Vec<f64> = a.plain.data.iter().map(|a| a.max(0.0)).collect();
    assert_close("gelu far from zero", &values(be, &db), &gelu, tolerance::<B::Elem>(1));
}

pub fn rms_norm_bwd<B: Backward>(be: &B) {
    for (rows, d) in [(0, 20), (1, 1), (1, 130), (7, 20), (17, 33), (32, 5), (70, 31)] {
        let what = format!("rms_norm_bwd of [{rows}, {d}]");
        let (dy, x) = (normal(be, 0, (rows, d), 1.0), normal(be, 1, (rows, d), 1.0));
        let (g, dg_start) = (normal(be, 2, (1, d), 1.0), normal(be, 3, (1, d), 1.0).plain);
        let dx_start = normal(be, 4, (rows, d), 1.0).plain;
        let eps = 0.01;
        let (dg, dx) = steady(&what, || {
            let (mut dg, mut dx) = (grad(be, &dg_start), mat(be, &dx_start));
            be.rms_norm_bwd(&dy.mat, (&x.mat, &g.mat, eps), &mut dg, &mut dx);
            (grad_values(be, &dg), values(be, &dx))
        });
        let bound = tolerance::<B::Elem>(d + rows) + SLOPE_ERROR;
        let by_x = slopes(&x.plain, |x| dot(&dy.plain.data, &naive::rms_norm(x, &g.plain.data, eps).data));
        assert_close(&what, &dx, &sum(&dx_start, &by_x).data, bound);
        let by_g = slopes(&g.plain, |g| dot(&dy.plain.data, &naive::rms_norm(&x.plain, &g.data, eps).data));
        assert_close(&what, &dg, &sum(&dg_start, &by_g).data, bound);
    }
}

/// The slope is the norm's, whatever the size of the row; a row of zeros has one too.
pub fn rms_norm_bwd_of_huge_and_tiny_rows<B: Backward>(be: &B) {
    let unit = normal(be, 0, (1, 33), 1.0).plain;
    let (g, dy) = (normal(be, 1, (1, 33), 1.0), normal(be, 2, (1, 33), 1.0));
    let eps = 1e-6;
    for size in [1e15, 1e-2, 1e-20, 0.0] {
        let x = operand(be, 33, unit.data.iter().map(|x| x * size).collect());
        let (mut dg, mut dx) = (glimmer::backend::Grad::zeros(be, 1, 33), be.zeros(1, 33));
        be.rms_norm_bwd(&dy.mat, (&x.mat, &g.mat, eps), &mut dg, &mut dx);
        // d(norm(x))/dx is d(norm(u))/du · c where x = u/c and ε grows by c².
        let c = 1.0 / size.max(eps.sqrt());
        let scaled = x.plain.map(|x| x * c);
        let wanted = slopes(&scaled, |x| c * dot(&dy.plain.data, &naive::rms_norm(x, &g.plain.data, eps * c * c).data));
        assert_close(&format!("size {size:e}"), &values(be, &dx), &wanted.data, tolerance::<B::Elem>(33) + SLOPE_ERROR);
    }
}

/// As the reader's own backward pass has them: rows that the machine counts, beside gradients that began as zeros.
pub fn gradients_of_rows_that_the_machine_counts<B: Backward>(be: &B) {
    for lengths in [[3, 1, 5, 2], [2, 200, 33, 340]] {
        let (d, f, eps) = (40, 72, 0.01);
        let count = lengths.iter().sum();
        let [x, a, b, dh] =
            [(0, d), (1, f), (2, f), (3, f)].map(|(stream, width)| normal(be, stream, (count, width), 1.0));
        let (w, g) = (normal(be, 4, (f, d), 0.3), normal(be, 5, (1, d), 1.0));
        let rows = Segments::packed(be, lengths);
        let chosen = Selection { index: be.upload(vec![3, 0]), groups: Segments::packed(be, [2]) };
        let kept = |operand: &Operand<B>| be.gather(&operand.mat, &rows, &chosen).0;
        let ranges = naive::ranges(&lengths);
        let plain = |operand: &Operand<B>| operand.plain.gather(ranges[3].clone().chain(ranges[0].clone()));
        let check = |name: &str, found: &[f64], wanted: &Matrix, terms: usize| {
            assert!(found[wanted.data.len()..].iter().all(|&x| x == 0.0), "{name}: behind the last row");
            assert_close(name, &found[..wanted.data.len()], &wanted.data, tolerance::<B::Elem>(terms) + SLOPE_ERROR);
        };
        let mut dy = be.zeros(kept(&dh).rows, f);
        be.add(&kept(&dh), &mut dy);
        check("add", &values(be, &dy), &plain(&dh), 1);
        for dy in [dy, kept(&dh)] {
            let mut dw = glimmer::backend::Grad::zeros(be, f, d);
            let dx = be.linear_bwd(&dy, &kept(&x), &w.mat, &mut dw);
            check("dx", &values(be, &dx), &naive::linear(&plain(&dh), &transposed(&w.plain)), f);
            let wanted = naive::linear(&transposed(&plain(&dh)), &transposed(&plain(&x)));
            check("dw", &grad_values(be, &dw), &wanted, count);
            let (da, db) = be.gate_bwd(&dy, &kept(&a), &kept(&b));
            check("db", &values(be, &db), &plain(&a).map(naive::gelu).zip(&plain(&dh), |g, dh| g * dh), 4);
            assert_eq!(values(be, &da).len(), values(be, &db).len());
        }
        let (mut dg, mut dx) = (glimmer::backend::Grad::zeros(be, 1, d), be.zeros(kept(&x).rows, d));
        be.rms_norm_bwd(&be.copy(&kept(&x)), (&kept(&x), &g.mat, eps), &mut dg, &mut dx);
        let x = plain(&x);
        let wanted = slopes(&g.plain, |g| dot(&x.data, &naive::rms_norm(&x, &g.data, eps).data));
        check("dg", &grad_values(be, &dg), &wanted, count);
    }
}
