//! One suite over the [`Backend`](glimmer::backend::Backend) contract and that of
//! [`Backward`](glimmer::backend::Backward): every operation of every machine against
//! its docstring's formula in f64, over sizes on either side of every tile's edge, with poisoned outputs (in debug
//! builds fresh memory of the CPU is NaN), the same bits on every run and any number of threads.

#[path = "../common/mod.rs"]
mod common;

mod adafactor;
mod attention;
mod attention_bwd;
mod harness;
mod losses;
mod predict;
mod products;
mod products_bwd;
mod rows;
mod rows_bwd;
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
            attention::growing_cache,
            attention::heads_of_any_width,
            attention::huge_and_tiny_numbers,
            attention::keys_and_values,
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
            products::linears,
            products::normed_geglu,
            products::normed_linears,
            products::of_rows_that_the_machine_counts,
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
    (training $($machine:ident: $new:expr;)*) => {
        conformance! { $($machine: $new, [
            adafactor::adafactor,
            adafactor::adafactor_of_nothing,
            attention_bwd::attention_gradients_are_slopes,
            attention_bwd::causal_bwd,
            attention_bwd::cross_attention_bwd,
            attention_bwd::encoder_bwd,
            attention_bwd::heads_of_any_width_bwd,
            attention_bwd::of_rows_that_the_machine_counts_bwd,
            losses::cross_entropy,
            losses::cross_entropy_of_far_logits,
            losses::distill,
            losses::distill_of_equal_distributions,
            losses::distill_of_far_scores,
            products_bwd::gate,
            products_bwd::gate_far_from_zero,
            products_bwd::gradients_of_rows_that_the_machine_counts,
            products_bwd::linear_bwd,
            products_bwd::linear_gradients_are_slopes,
            products_bwd::rms_norm_bwd,
            products_bwd::rms_norm_bwd_of_huge_and_tiny_rows,
            rows_bwd::dropout,
            rows_bwd::embed_bwd,
            rows_bwd::gather_bwd,
            rows_bwd::join_bwd,
            rows_bwd::passes,
            rows_bwd::score_bwd,
            rows_bwd::square_sum_of_many,
        ])* }
    };
}

conformance! {
    cpu_f32: glimmer::cpu::Cpu::<f32>::default();
    cpu_f64: glimmer::cpu::Cpu::<f64>::default();
    cpu_packed_f32: glimmer::cpu::Cpu::packing(glimmer::cpu::Packing::F32);
}

// Of what these keep in fewer bits. Their products with it are tested beside the code that makes them.
conformance! {
    cpu_packed_bf16: glimmer::cpu::Cpu::packing(glimmer::cpu::Packing::Bf16), [attention::keys_and_values_in_bf16]
    cpu_packed_int8: glimmer::cpu::Cpu::packing(glimmer::cpu::Packing::Int8), [attention::keys_and_values_in_bf16]
}

macro_rules! emulated_conformance {
    ($($machine:ident: $type:ty;)*) => {
        conformance! { $($machine: crate::common::emulated::machine::<$type>(), [
            attention::causal,
            attention::cross_attention_of_one_row,
            attention::cross_attention_of_several_rows,
            attention::encoder,
            attention::growing_cache,
            attention::heads_of_any_width,
            attention::huge_and_tiny_numbers,
            attention::keys_and_values,
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
            products::linear_of_huge_and_tiny_rows,
            products::linear_relu,
            products::linears,
            products::normed_geglu,
            products::normed_linears,
            products::of_rows_that_the_machine_counts,
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

emulated_conformance! {
    cuda_f32: f32;
    cuda_bf16: half::bf16;
}

// On a small device products are cut into other blocks.
conformance! {
    small_cuda_bf16: crate::common::emulated::small_machine::<half::bf16>(), [
        predict::predict,
        products::geglu,
        products::linear,
        products::linear_add,
        products::linear_relu,
        products::linears,
        products::of_rows_that_the_machine_counts,
    ]
}

conformance! {
    training
    cpu_f32_trains: glimmer::cpu::Cpu::<f32>::default();
    cpu_f64_trains: glimmer::cpu::Cpu::<f64>::default();
}

macro_rules! emulated_training {
    ($($machine:ident: $type:ty;)*) => {
        conformance! { $($machine: crate::common::emulated::machine::<$type>(), [
            adafactor::adafactor,
            adafactor::adafactor_of_nothing,
            attention_bwd::causal_bwd,
            attention_bwd::cross_attention_bwd,
            attention_bwd::encoder_bwd,
            attention_bwd::heads_of_any_width_bwd,
            attention_bwd::of_rows_that_the_machine_counts_bwd,
            losses::cross_entropy,
            losses::cross_entropy_of_far_logits,
            losses::distill,
            losses::distill_of_equal_distributions,
            losses::distill_of_far_scores,
            products_bwd::gate,
            products_bwd::gate_far_from_zero,
            products_bwd::gradients_of_rows_that_the_machine_counts,
            products_bwd::linear_bwd,
            products_bwd::rms_norm_bwd,
            products_bwd::rms_norm_bwd_of_huge_and_tiny_rows,
            rows_bwd::dropout,
            rows_bwd::embed_bwd,
            rows_bwd::gather_bwd,
            rows_bwd::join_bwd,
            rows_bwd::passes,
            rows_bwd::score_bwd,
            rows_bwd::square_sum_of_many,
        ])* }
    };
}

emulated_training! {
    cuda_f32_trains: f32;
    cuda_bf16_trains: half::bf16;
}

// Where blocks have little shared memory, attention's backward pass is cut into other blocks.
conformance! {
    narrow_cuda_bf16: crate::common::emulated::narrow_machine::<half::bf16>(), [attention_bwd::long_segments_bwd]
}
