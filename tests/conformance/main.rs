//! One suite over the [`Backend`](glimmer::backend::Backend) contract: every operation of every machine against
//! its docstring's formula in f64, over sizes on either side of every tile's edge, with poisoned outputs (in debug
//! builds fresh memory of the CPU is NaN), the same bits on every run and any number of threads.

#[path = "../common/mod.rs"]
mod common;

mod attention;
mod harness;
mod predict;
mod products;
mod rows;
mod scoring;

macro_rules! conformance {
    ($($machine:ident: $new:expr, [$($module:ident::$test:ident),* $(,)?])*) => {
        $(mod $machine {
            $(#[test]
            fn $test() {
                crate::$module::$test(&$new);
            })*
        })*
    };
    ($($machine:ident: $new:expr;)*) => {
        conformance! { $($machine: $new, [
            attention::causal,
            attention::cross_attention_of_one_row,
            attention::cross_attention_of_several_rows,
            attention::encoder,
            attention::huge_and_tiny_numbers,
            attention::newest_token_of_a_cache,
            predict::log_prob,
            predict::log_prob_of_far_logits,
            predict::predict,
            predict::predict_resolves_ties_to_the_lowest,
            predict::predict_survives_not_a_number,
            products::geglu,
            products::geglu_far_from_zero,
            products::linear,
            products::linear_add,
            products::linear_does_not_depend_on_threads,
            products::linear_of_huge_and_tiny_rows,
            products::linear_relu,
            rows::dequantise,
            rows::embed,
            rows::gather,
            rows::join,
            rows::merge,
            rows::rms_norm,
            rows::rms_norm_of_huge_and_tiny_rows,
            scoring::mean_pool,
            scoring::score,
            scoring::top_m,
            scoring::top_m_of_ties_and_not_a_number,
        ])* }
    };
}

conformance! {
    cpu_f32: glimmer::cpu::Cpu::<f32>::default();
    cpu_f64: glimmer::cpu::Cpu::<f64>::default();
}
