//! What training adds: gradients of products, of what moves rows, and the optimiser.

use glimmer::backend::{AdafactorState, AdafactorStep, Backward, Grad, Join, Mat, Moments, Noise, Segments, Selection};
use glimmer::cuda::Cuda;
use glimmer::random;
use glimmer_emulator::count::Counters;
use half::bf16;

use crate::products::{SIZES, TOKENS, assert_smooth, global_bytes, multiply_adds, zeros};
use crate::{Counted, assert_within};

type Machine = Cuda<bf16>;

/// Products that take the emulator too long: they are made of the same tiles.
const LARGEST: usize = 8_000_000;

/// The tensor cores do little beyond what was asked for. Their work is in proportion to the inner dimension, which is
/// therefore kept short.
#[test]
fn gradients_of_products_waste_little_of_the_tensor_cores() {
    let counted = Counted::<bf16>::new();
    let inner = 32;
    let check = |what: &str, useful: usize, counters: &Counters| {
        assert_within(
            &format!("{what}: multiply-adds beside the useful"),
            multiply_adds(counters) / useful as f64,
            1.10,
        );
        assert_smooth(what, std::slice::from_ref(counters));
    };
    for (d, heads, f) in SIZES {
        for (outputs, inputs) in [(heads, d), (f, d), (d, f)] {
            if outputs * inputs <= LARGEST {
                let counters = counted.count(|be| gradient_of_weights(be, inner, (outputs, inputs)));
                check(&format!("dw [{outputs}, {inputs}]"), inner * outputs * inputs, &counters[0]);
            }
        }
        let rows = 8 * TOKENS;
        for inputs in [d, heads, f].into_iter().filter(|inputs| rows * inputs <= LARGEST) {
            let counters = counted.count(|be| {
                let (dy, x, w) = (zeros(be, rows, inner), zeros(be, rows, inputs), zeros(be, inner, inputs));
                be.linear_bwd(&dy, &x, &w, &mut Grad::zeros(be, inner, inputs))
            });
            let dx = counters.last().unwrap();
            assert!(dx.kernel.starts_with("linear_dx"), "{}", dx.kernel);
            check(&format!("dx [{rows}, {inputs}]"), rows * inner * inputs, dx);
        }
    }
}

/// Runs `linear_bwd` over so many rows.
fn gradient_of_weights(be: &Machine, rows: usize, (outputs, inputs): (usize, usize)) {
    let (dy, x, w) = (zeros(be, rows, outputs), zeros(be, rows, inputs), zeros(be, outputs, inputs));
    be.linear_bwd(&dy, &x, &w, &mut Grad::zeros(be, outputs, inputs));
}

/// The gradient of weights reads the activations as they lie, once for each tile, and nothing else: there is no pass over
/// them besides. Where blocks share the rows, it writes a part for each layer of blocks, and another launch adds those.
#[test]
fn the_gradient_of_weights_adds_no_pass_over_the_activations() {
    let counted = Counted::<bf16>::new();
    let mut layered = 0;
    for (rows, outputs, inputs) in [(TOKENS, 512, 384), (8 * TOKENS, 128, 256), (8 * TOKENS, 512, 512)] {
        let what = format!("dw [{outputs}, {inputs}] of {rows} rows");
        let counters = counted.count(|be| gradient_of_weights(be, rows, (outputs, inputs)));
        let dw = &counters[0];
        let tile = dw.kernel.strip_prefix("linear_dw_tile").and_then(|name| name.strip_suffix("_bf16"));
        let (down, across) = tile.unwrap_or_else(|| panic!("{what}: {}", dw.kernel)).split_once('x').unwrap();
        let [down, across] = [(down, outputs), (across, inputs)].map(|(tile, all)| all.div_ceil(tile.parse().unwrap()));
        let (once, weights) = (rows * (across * outputs + down * inputs) * 2, outputs * inputs * 4);
        let layers = dw.global_stores.bytes as usize / weights;
        let (read, launches) = if layers == 1 { (weights, 2) } else { (0, 3) };
        assert_eq!(dw.global_loads.bytes as usize, once + read, "{what}: loads");
        assert_eq!(dw.global_stores.bytes as usize, layers * weights, "{what}: stores");
        assert_eq!(counters.len(), launches, "{what}: launches, that of dx among them");
        assert_smooth(&what, &counters);
        layered += usize::from(layers > 1);
    }
    assert!(layered > 0, "rows were shared nowhere");
}

/// Rows of the passes: a few passages.
const ROWS: usize = 4 * TOKENS;

fn check_rows(what: &str, d: usize, least: usize, counters: &[Counters]) {
    let what = format!("{what} of width {d}");
    assert_within(&format!("{what}: traffic"), global_bytes(counters) / least as f64, 1.05);
    assert_smooth(&what, counters);
}

/// What goes over rows moves each of them once.
#[test]
fn passes_over_rows_move_the_least_bytes() {
    let counted = Counted::<bf16>::new();
    for d in [512, 1024] {
        let row = ROWS * d * 2;
        let check = |what: &str, rows: usize, counters: Vec<Counters>| check_rows(what, d, rows * row, &counters);
        let [x, y] = [(); 2].map(|()| zeros(&counted.be, ROWS, d));
        let mut to = zeros(&counted.be, ROWS, d);
        let (g, mut dg) = (zeros(&counted.be, 1, d), Grad::zeros(&counted.be, 1, d));
        check("add", 3, counted.count(|be| be.add(&x, &mut to)));
        check("gate", 3, counted.count(|be| be.gate(&x, &y)));
        check("gate_bwd", 5, counted.count(|be| be.gate_bwd(&x, &y, &x)));
        let mask = Noise::new(0.1, 1).draw().unwrap();
        check("dropout", 2, counted.count(|be| be.dropout(&mut to, &mask)));
        let normed = (&x, &g, 1e-6);
        check("rms_norm_bwd", 4, counted.count(|be| be.rms_norm_bwd(&y, normed, &mut dg, &mut to)));
        let rows = Segments::equal(&counted.be, 4, TOKENS);
        let all = Selection::all(&counted.be, 4);
        check("gather_bwd", 3, counted.count(|be| be.gather_bwd(&x, &rows, &all, &mut to)));
    }
}

/// One question with four passages: every row of the pairs is read once, and every row of both written.
#[test]
fn joining_backward_moves_the_least_bytes() {
    let counted = Counted::<bf16>::new();
    let (asked, d) = (32, 1024);
    let be = &counted.be;
    let (question, passage) = (zeros(be, asked, d), zeros(be, ROWS, d));
    let (question_rows, passage_rows) = (Segments::packed(be, [asked]), Segments::equal(be, 4, TOKENS));
    let groups = Segments::packed(be, [4]);
    let join = Join {
        question: &question,
        question_rows: &question_rows,
        passage: &passage,
        passage_rows: &passage_rows,
        groups: &groups,
    };
    let dy = zeros(be, ROWS + 4 * asked, d);
    let counters = counted.count(|be| be.join_bwd(&dy, &join));
    check_rows("join_bwd", d, (2 * ROWS + 5 * asked) * d * 2, &counters);
}

/// Every row of a gradient is read once, and every row of the table that has a token is read and written once.
#[test]
fn the_gradient_of_the_embedding_moves_the_least_bytes() {
    let counted = Counted::<bf16>::new();
    let (vocabulary, d) = (4096, 512);
    let mut ids: Vec<u32> = (0..ROWS as u64).map(|i| random::below(1, 2, i, vocabulary) as u32).collect();
    let (dy, uploaded) = (zeros(&counted.be, ROWS, d), glimmer::backend::Backend::upload(&counted.be, ids.clone()));
    let mut table = Grad::zeros(&counted.be, vocabulary, d);
    let counters = counted.count(|be| be.embed_bwd(&dy, &uploaded, &mut table));
    ids.sort_unstable();
    ids.dedup();
    let least = ROWS * d * 2 + ids.len() * d * 8;
    assert_within("embed_bwd: traffic", global_bytes(&counters) / least as f64, 1.05);
}

/// Moments of rows and columns need all of the gradient, the size of the update needs all moments, and the step needs that
/// size: three passes over the gradient, or two where moments are kept of every element.
#[test]
fn a_step_of_the_optimiser_moves_the_least_bytes() {
    let counted = Counted::<bf16>::new();
    let (rows, cols) = (1024, 1024);
    let be = &counted.be;
    let step = AdafactorStep { learning_rate: 1e-3, decay: 0.5, scale: 1.0 };
    let factored = Moments::Factored { row: Grad::zeros(be, 1, rows), col: Grad::zeros(be, 1, cols) };
    let parameter = |passes: usize| passes * (2 + 4);
    let cases = [
        ("factored", factored, 3 * 4 + parameter(3)),
        ("whole", Moments::Whole(Grad::zeros(be, rows, cols)), 2 * 4 + 3 * 4 + parameter(3)),
    ];
    for (what, moments, bytes) in cases {
        let mut w: Mat<Machine> = zeros(be, rows, cols);
        let (grad, mut state) =
            (Grad::zeros(be, rows, cols), AdafactorState { moments, remainder: Grad::remainder(be, rows, cols) });
        let counters = counted.count(|be| be.adafactor(&mut w, &grad, &mut state, step));
        check_rows(&format!("adafactor, {what},"), cols, rows * cols * bytes, &counters);
        let counters = counted.count(|be| be.square_sum(&[&grad]).unwrap());
        check_rows("square_sum", cols, rows * cols * 4, &counters);
    }
}
