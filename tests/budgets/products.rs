//! Matrix products and what is fused with them.

use glimmer::backend::{Backend, Mat, Normed, Prediction};
use glimmer::cuda::{Cuda, Float};
use glimmer_emulator::count::Counters;
use half::bf16;

use crate::{Counted, assert_no_excess, assert_within};

/// Widths of T5.1.1: model, all heads, feed-forward; small, base, large, XL, XXL.
pub const SIZES: [(usize, usize, usize); 5] =
    [(512, 384, 1024), (768, 768, 2048), (1024, 1024, 2816), (2048, 2048, 5120), (4096, 4096, 10240)];
/// Questions with their passages, of 352 tokens each.
const PASSAGES: [usize; 3] = [1, 8, 25];
pub const TOKENS: usize = 352;
const VOCABULARY: usize = 32128;

pub fn zeros<E: Float>(be: &Cuda<E>, rows: usize, cols: usize) -> Mat<Cuda<E>> {
    Mat::upload(be, rows, cols, vec![E::from_f64(0.0); rows * cols])
}

/// Multiply-adds on tensor cores.
pub fn multiply_adds(counters: &Counters) -> f64 {
    counters.matrix.values().map(|work| work.multiply_adds).sum::<u64>() as f64
}

pub fn global_bytes(counters: &[Counters]) -> f64 {
    counters.iter().map(|c| c.global_loads.bytes + c.global_stores.bytes).sum::<u64>() as f64
}

/// Everything moves in whole sectors, and no bank is waited for.
pub fn assert_smooth(what: &str, counters: &[Counters]) {
    for c in counters {
        let what = format!("{what}, {}", c.kernel);
        assert_no_excess(&what, "global loads", c.global_loads);
        assert_no_excess(&what, "global stores", c.global_stores);
        assert_no_excess(&what, "shared loads", c.shared_loads);
        assert_no_excess(&what, "shared stores", c.shared_stores);
    }
}

/// The tensor cores do little beyond what was asked for. Their work is in proportion to the inner dimension, which is
/// therefore kept short.
#[test]
fn reading_wastes_little_of_the_tensor_cores() {
    let counted = Counted::<bf16>::new();
    let inner = 32;
    for (d, heads, f) in SIZES {
        for rows in PASSAGES.map(|passages| passages * TOKENS) {
            // The largest products are made of the same tiles, and take the emulator long.
            if rows * f > 8_000_000 {
                continue;
            }
            let x = zeros(&counted.be, rows, inner);
            let check = |name: &str, outputs: usize, counters: Vec<Counters>| {
                let what = format!("{name} [{rows}, {inner}] → {outputs}");
                let [counters] = &counters[..] else { panic!("{what}: {} launches", counters.len()) };
                let wasted = multiply_adds(counters) / (rows * inner * outputs) as f64;
                assert_within(&format!("{what}: multiply-adds beside the useful"), wasted, 1.10);
                assert_smooth(&what, std::slice::from_ref(counters));
            };
            for outputs in [heads, d] {
                let w = zeros(&counted.be, outputs, inner);
                check("linear", outputs, counted.count(|be| be.linear(&x, &w)));
            }
            let (w, mut y) = (zeros(&counted.be, d, inner), zeros(&counted.be, rows, d));
            check("linear_add", d, counted.count(|be| be.linear_add(&x, &w, &mut y)));
            let w = zeros(&counted.be, f, inner);
            check("geglu", 2 * f, counted.count(|be| be.geglu(&x, &w, &w)));
        }
    }
}

/// The whole of an inner dimension: the main loop meets no bank twice.
#[test]
fn a_long_inner_dimension_is_smooth() {
    let counted = Counted::<bf16>::new();
    let (rows, inner) = (TOKENS, 4096);
    let x = zeros(&counted.be, rows, inner);
    for outputs in [64, 256, 384] {
        let w = zeros(&counted.be, outputs, inner);
        let counters = counted.count(|be| be.linear(&x, &w));
        assert_within("multiply-adds", multiply_adds(&counters[0]) / (rows * inner * outputs) as f64, 1.10);
        assert_smooth(&format!("linear to {outputs}"), &counters);
    }
}

/// A norm on the way of one row has no launch of its own, and every block reads the row once more for it.
#[test]
fn norming_one_row_costs_little() {
    let counted = Counted::<bf16>::new();
    for (d, heads, f) in SIZES {
        let (x, g) = (zeros(&counted.be, 1, d), zeros(&counted.be, 1, d));
        let normed = Normed { x: &x, g: &g, eps: 1e-6 };
        let check = |name: &str, (weights, outputs): (usize, usize), counters: Vec<Counters>| {
            let what = format!("{name} [1, {d}] → {outputs}");
            assert_eq!(counters.len(), 1, "{what}: launches");
            let least = 2 * (d * weights + 2 * d + outputs);
            assert_within(&format!("{what}: traffic"), global_bytes(&counters) / least as f64, 1.12);
            assert_smooth(&what, &counters);
        };
        let w = zeros(&counted.be, heads, d);
        check("linear", (heads, heads), counted.count(|be| be.normed_linears(normed, [&w])));
        let w = zeros(&counted.be, f.min(4096), d);
        check("geglu", (2 * w.rows, w.rows), counted.count(|be| be.normed_geglu(normed, &w, &w)));
    }
}

/// Decoding one question moves the weights, and hardly anything besides.
#[test]
fn decoding_one_row_moves_the_weights_once() {
    fn check<E: Float>(sizes: &[(usize, usize, usize)], vocabulary: usize) {
        let counted = Counted::<E>::new();
        let size = size_of::<E>();
        for &(d, heads, f) in sizes {
            let check = |name: &str, (inner, weights, outputs): (usize, usize, usize), counters: Vec<Counters>| {
                let what = format!("{name} [1, {inner}] → {outputs} in {size} bytes");
                let least = (inner * weights + inner + outputs) * size;
                assert_within(&format!("{what}: traffic"), global_bytes(&counters) / least as f64, 1.05);
                assert_smooth(&what, &counters);
            };
            let [of_d, of_heads, of_f] = [d, heads, f].map(|width| zeros(&counted.be, 1, width));
            let w = zeros(&counted.be, heads, d);
            check("linear", (d, heads, heads), counted.count(|be| be.linear(&of_d, &w)));
            let w = zeros(&counted.be, f, d);
            check("geglu", (d, 2 * f, f), counted.count(|be| be.geglu(&of_d, &w, &w)));
            for (x, inner) in [(&of_heads, heads), (&of_f, f)] {
                let (w, mut y) = (zeros(&counted.be, d, inner), zeros(&counted.be, 1, d));
                // The residual stream is read, too.
                check("linear_add", (inner, d, 2 * d), counted.count(|be| be.linear_add(x, &w, &mut y)));
            }
            let head = zeros(&counted.be, vocabulary, d);
            let mut next = Prediction::certain(&counted.be, vec![0]);
            let counters = counted.count(|be| be.predict(&of_d, &head, &mut next));
            assert_eq!(counters.len(), 2, "predict: launches");
            check("predict", (d, vocabulary, 4), counters);
        }
    }
    check::<bf16>(&SIZES[..1], VOCABULARY);
    check::<bf16>(&SIZES[1..], 4096);
    check::<f32>(&SIZES[..1], 4096);
}

/// Of several rows, the weights are still read once. Every block of 64 outputs reads all of x, from the second-level cache,
/// and blocks that share an inner dimension leave their sums there for the last one.
#[test]
fn decoding_several_rows_reads_each_weight_once() {
    let counted = Counted::<bf16>::new();
    for rows in [2, 8, 16] {
        for (inner, outputs, shares) in [(512, 512, 2), (1024, 2816, 4), (4096, 4096, 4)] {
            let what = format!("linear [{rows}, {inner}] → {outputs}");
            let (x, w) = (zeros(&counted.be, rows, inner), zeros(&counted.be, outputs, inner));
            let [counters] = &counted.count(|be| be.linear(&x, &w))[..] else { panic!("{what}: launches") };
            let (of_w, of_x, of_y) = (inner * outputs * 2, outputs / 64 * rows * inner * 2, rows * outputs * 2);
            let partial = shares * rows * outputs * 4;
            assert_eq!(counters.global_loads.bytes, (of_w + of_x + partial) as u64, "{what}: loads");
            assert_eq!(counters.global_stores.bytes, (partial + of_y) as u64, "{what}: stores");
            assert_smooth(&what, std::slice::from_ref(counters));
        }
    }
}
