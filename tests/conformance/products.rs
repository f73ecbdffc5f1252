//! Matrix products and what is fused with them.

use glimmer::backend::{Backend, Mat};

use crate::common::{assert_close, assert_rows_close, naive, tolerance};
use crate::harness::{normal, operand, steady, values};

/// Rows, inputs, outputs. Products of few rows and of many are different code, on either side of 8.
const SIZES: [(usize, usize, usize); 15] = [
    (0, 5, 3),
    (1, 1, 1),
    (1, 65, 33),
    (1, 384, 512),
    (7, 31, 64),
    (8, 64, 31),
    (8, 300, 1100),
    (9, 1, 7),
    (9, 64, 33),
    (17, 33, 1),
    (40, 20, 130),
    (129, 257, 65),
    (300, 128, 384),
    (700, 64, 96),
    (67, 1024, 300),
];

pub fn linear<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in SIZES {
        let what = format!("linear {rows} × {inputs} → {outputs}");
        let x = normal(be, 0, (rows, inputs), 1.0);
        let w = normal(be, 1, (outputs, inputs), 0.3);
        let found = steady(&what, || values(be, &be.linear(&x.mat, &w.mat)));
        assert_rows_close(&what, &found, &naive::linear(&x.plain, &w.plain), tolerance::<B::Elem>(inputs));
    }
}

pub fn linear_add<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in SIZES {
        let what = format!("linear_add {rows} × {inputs} → {outputs}");
        let x = normal(be, 0, (rows, inputs), 1.0);
        let w = normal(be, 1, (outputs, inputs), 0.3);
        let y = normal(be, 2, (rows, outputs), 3.0);
        let found = steady(&what, || {
            let mut sum = Mat::upload(be, rows, outputs, y.mat.download(be).unwrap());
            be.linear_add(&x.mat, &w.mat, &mut sum);
            values(be, &sum)
        });
        let wanted = naive::linear(&x.plain, &w.plain).zip(&y.plain, |product, y| y + product);
        assert_rows_close(&what, &found, &wanted, tolerance::<B::Elem>(inputs));
    }
}

/// A row's numbers stand for themselves: its neighbours' size does not matter.
pub fn linear_of_huge_and_tiny_rows<B: Backend>(be: &B) {
    for rows in [3, 40] {
        let sizes = [1e15, 1e-20, 1.0];
        let mut x = normal(be, 0, (rows, 65), 1.0).plain;
        x.data.iter_mut().enumerate().for_each(|(i, x)| *x *= sizes[i / 65 % 3]);
        let x = operand(be, 65, x.data);
        let w = normal(be, 1, (40, 65), 0.3);
        let found = values(be, &be.linear(&x.mat, &w.mat));
        let wanted = naive::linear(&x.plain, &w.plain);
        assert_rows_close("linear of huge and tiny rows", &found, &wanted, tolerance::<B::Elem>(65));
    }
}

pub fn geglu<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in SIZES {
        let what = format!("geglu {rows} × {inputs} → {outputs}");
        let x = normal(be, 0, (rows, inputs), 1.0);
        let deviation = (inputs as f64).powf(-0.5);
        let w_0 = normal(be, 1, (outputs, inputs), deviation);
        let w_1 = normal(be, 2, (outputs, inputs), deviation);
        let found = steady(&what, || values(be, &be.geglu(&x.mat, &w_0.mat, &w_1.mat)));
        let wanted = naive::geglu(&x.plain, &w_0.plain, &w_1.plain);
        // The whole, not row by row: where a row is one number near gelu's zero, its relative error is the product's.
        assert_close(&what, &found, &wanted.data, tolerance::<B::Elem>(inputs));
    }
}

/// Where the cube leaves the range of f32, gelu is still its argument or 0.
pub fn geglu_far_from_zero<B: Backend>(be: &B) {
    let x = operand(be, 1, vec![1e15, 1e4, 30.0, 8.0, 1e-20, 0.0, -1e-20, -8.0, -30.0, -1e4, -1e15]);
    let one = operand(be, 1, vec![1.0]);
    let found = values(be, &be.geglu(&x.mat, &one.mat, &one.mat));
    let wanted = naive::geglu(&x.plain, &one.plain, &one.plain);
    for (i, (found, wanted)) in found.iter().zip(&wanted.data).enumerate() {
        // gelu(−8) = −5e-15 is the difference of two numbers near 1 in the formula, and hardly a number in f32.
        let wanted = if wanted.abs() < 1e-12 && x.plain.data[i] < -1.0 { found.clamp(0.0, 1e-12) } else { *wanted };
        // (1e-20)² is no normal number of f32.
        if x.plain.data[i].abs() == x.plain.data[4] {
            assert!(found.abs() <= 1e-38, "gelu near zero: {found:e}");
            continue;
        }
        assert_close(&format!("gelu({:e})", x.plain.data[i]), &[*found], &[wanted], tolerance::<B::Elem>(1));
    }
}

pub fn linear_relu<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in SIZES {
        let what = format!("linear_relu {rows} × {inputs} → {outputs}");
        let x = normal(be, 0, (rows, inputs), 1.0);
        let w = normal(be, 1, (outputs, inputs), 0.3);
        let found = steady(&what, || values(be, &be.linear_relu(&x.mat, &w.mat)));
        let wanted = naive::linear_relu(&x.plain, &w.plain);
        assert_close(&what, &found, &wanted.data, tolerance::<B::Elem>(inputs));
    }
}
