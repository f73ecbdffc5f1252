//! Matrix products and what is fused with them.

use glimmer::backend::{Backend, Mat, Normed, Segments};

use crate::common::naive::Matrix;
use crate::common::{assert_close, assert_rows_close, naive, tolerance};
use crate::harness::{Operand, normal, operand, steady, values, wide};
use crate::predict::predicted;

/// Rows, inputs, outputs. Products of few rows and of many are different code, on either side of 8.
const SIZES: [(usize, usize, usize); 16] = [
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
    (250, 136, 504),
    (300, 128, 384),
    (700, 64, 96),
    (67, 1024, 300),
];

/// Row by row, unless a row is a single number: its terms may cancel, and then their rounding is large beside it.
fn assert_product_close(what: &str, found: &[f64], wanted: &Matrix, bound: f64) {
    match wanted.cols {
        1 => assert_close(what, found, &wanted.data, bound),
        _ => assert_rows_close(what, found, wanted, bound),
    }
}

pub fn linear<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in SIZES {
        let what = format!("linear {rows} × {inputs} → {outputs}");
        let x = normal(be, 0, (rows, inputs), 1.0);
        let w = normal(be, 1, (outputs, inputs), 0.3);
        let found = steady(&what, || values(be, &be.linear(&x.mat, &w.mat)));
        assert_product_close(&what, &found, &naive::linear(&x.plain, &w.plain), tolerance::<B::Elem>(inputs));
    }
}

/// Each as if it were alone.
pub fn linears<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in [(0, 5, 3), (1, 384, 512), (7, 31, 64), (40, 20, 130), (300, 128, 384)] {
        let what = format!("linears {rows} × {inputs} → {outputs}");
        let x = normal(be, 0, (rows, inputs), 1.0);
        let w = [1, 2, 3].map(|stream| normal(be, stream, (outputs, inputs), 0.3));
        let [first, second, third] = w.each_ref().map(|w| &w.mat);
        let of_two = steady(&what, || be.linears(&x.mat, [first, second]).map(|y| values(be, &y)));
        let of_three = steady(&what, || be.linears(&x.mat, [first, second, third]).map(|y| values(be, &y)));
        for (found, w) in of_two.iter().chain(&of_three).zip(w[..2].iter().chain(&w)) {
            assert_rows_close(&what, found, &naive::linear(&x.plain, &w.plain), tolerance::<B::Elem>(inputs));
        }
    }
}

/// Rows, inputs, outputs: on either side of what is normed on the way, in packs and not, and shared by blocks.
const NORMED: [(usize, usize, usize); 8] =
    [(0, 8, 8), (1, 768, 72), (1, 31, 33), (2, 2056, 64), (4, 72, 40), (5, 64, 40), (17, 136, 16), (3, 40, 200)];

/// Rows that differ by more than what their norms make alike.
fn uneven<B: Backend>(be: &B, rows: usize, cols: usize) -> Operand<B> {
    let sizes = [1.0, 1e12, 1e-4, 30.0];
    let mut plain = normal(be, 0, (rows, cols), 1.0).plain;
    plain.data.iter_mut().enumerate().for_each(|(i, x)| *x *= sizes[i / cols % 4]);
    operand(be, cols, plain.data)
}

pub fn normed_linears<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in NORMED {
        let what = format!("normed linears {rows} × {inputs} → {outputs}");
        let (x, g) = (uneven(be, rows, inputs), normal(be, 1, (1, inputs), 1.0));
        let w = [2, 3].map(|stream| normal(be, stream, (outputs, inputs), 0.3));
        let normed = Normed { x: &x.mat, g: &g.mat, eps: 1e-6 };
        let found = steady(&what, || be.normed_linears(normed, w.each_ref().map(|w| &w.mat)).map(|y| values(be, &y)));
        let y = naive::rms_norm(&x.plain, &g.plain.data, 1e-6);
        for (found, w) in found.iter().zip(&w) {
            assert_rows_close(&what, found, &naive::linear(&y, &w.plain), tolerance::<B::Elem>(inputs));
        }
    }
}

pub fn normed_geglu<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in NORMED {
        let what = format!("normed geglu {rows} × {inputs} → {outputs}");
        let (x, g) = (uneven(be, rows, inputs), normal(be, 1, (1, inputs), 1.0));
        let deviation = (inputs as f64).powf(-0.5);
        let [w_0, w_1] = [2, 3].map(|stream| normal(be, stream, (outputs, inputs), deviation));
        let normed = Normed { x: &x.mat, g: &g.mat, eps: 1e-6 };
        let found = steady(&what, || values(be, &be.normed_geglu(normed, &w_0.mat, &w_1.mat)));
        let wanted = naive::geglu(&naive::rms_norm(&x.plain, &g.plain.data, 1e-6), &w_0.plain, &w_1.plain);
        assert_close(&what, &found, &wanted.data, tolerance::<B::Elem>(inputs));
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
        assert_product_close(&what, &found, &wanted, tolerance::<B::Elem>(inputs));
    }
}

/// A product large enough that every thread has blocks of its own.
pub fn linear_does_not_depend_on_threads<B: Backend>(be: &B) {
    for (rows, inputs, outputs) in [(520, 1024, 1500), (8, 1024, 20_000), (2000, 700, 129)] {
        let x = normal(be, 0, (rows, inputs), 1.0);
        let w = normal(be, 1, (outputs, inputs), 0.3);
        let found = steady(&format!("{rows} × {inputs} → {outputs}"), || values(be, &be.linear(&x.mat, &w.mat)));
        assert!(found.iter().all(|x| x.is_finite()));
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

/// Where the cube leaves the range of f32, gelu is still its argument or 0. What is asked for is `gelu(x) · x`.
pub fn geglu_far_from_zero<B: Backend>(be: &B) {
    let x = operand(be, 1, vec![1e15, 1e4, 30.0, 8.0, 1e-10, 0.0, -1e-10, -8.0, -30.0, -1e4, -1e15]);
    let one = operand(be, 1, vec![1.0]);
    let found = values(be, &be.geglu(&x.mat, &one.mat, &one.mat));
    for (x, found) in x.plain.data.into_iter().zip(found) {
        if x < -5.0 {
            // The formula's sum of 1 and nearly −1 has no digits left.
            assert!((0.0..1e-12).contains(&found), "gelu({x:e}) · {x:e} = {found:e}");
        } else {
            assert_close(&format!("gelu({x:e})"), &[found], &[naive::gelu(x) * x], tolerance::<B::Elem>(1));
        }
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

/// Rows of chosen segments, which a machine that works ahead of its host knows how many there are: what is behind them is
/// neither read nor written.
pub fn of_rows_that_the_machine_counts<B: Backend>(be: &B) {
    for lengths in [[3, 1, 5, 2], [2, 200, 33, 140]] {
        let (d, f) = (40, 72);
        let x = normal(be, 0, (lengths.iter().sum(), d), 1.0);
        let w = [1, 2].map(|stream| normal(be, stream, (f, d), 0.2));
        let square = normal(be, 3, (d, d), 0.2);
        let rows = Segments::packed(be, lengths);
        let scores = wide(be, vec![3.0, 1.0, 2.0, 4.0]);
        let chosen = be.top_m(&scores.buf, &Segments::packed(be, [4]), 2);
        let kept = || be.gather(&x.mat, &rows, &chosen).0;

        let ranges = naive::ranges(&lengths);
        let plain = x.plain.gather(ranges[3].clone().chain(ranges[0].clone()));
        let check = |name: &str, found: Mat<B>, wanted: &Matrix| {
            assert_close(name, &values(be, &found), &wanted.data, tolerance::<B::Elem>(d));
        };
        let product = naive::linear(&plain, &w[0].plain);
        check("linear", be.linear(&kept(), &w[0].mat), &product);
        check("linear_relu", be.linear_relu(&kept(), &w[0].mat), &naive::linear_relu(&plain, &w[0].plain));
        let gated = naive::geglu(&plain, &w[0].plain, &w[1].plain);
        check("geglu", be.geglu(&kept(), &w[0].mat, &w[1].mat), &gated);
        let mut sum = kept();
        be.linear_add(&kept(), &square.mat, &mut sum);
        check("linear_add", sum, &naive::linear(&plain, &square.plain).zip(&plain, |product, y| y + product));
        let (tokens, _) = predicted(be, &kept(), &w[0].mat);
        let best: Vec<u32> = product.rows().map(|row| naive::argmax(row) as u32).collect();
        assert_eq!(tokens, best, "predict");
    }
}
