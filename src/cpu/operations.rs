//! The operations as functions of this crate for either type. They are generic, and so is the model: without these
//! every program that reads or trains would compile them once more: for `examples/train` they were two fifths of all code.

use super::attention::Precision;
use super::{
    Buffer, Cpu, Real, adafactor, attention, attention_bwd, cross_entropy, decode_attention, distill, dropout,
    elementwise, embed, gather, geglu, join, linear, predict, rms_norm, score, top_m,
};
use crate::backend::{
    AdafactorStep, Attend, AttendGrad, Attended, Bias, Cache, Distill, Dropout, Grad, Join, Mat, Moments, Newest,
    Prediction, Scorer, ScorerGrad, Segments, Selection, Stored,
};

/// A list of operations and the functions that they are.
macro_rules! operations {
    ($($list:tt)*) => {
        declare! { $($list)* }
        implement! { f32: $($list)* }
        implement! { f64: $($list)* }
    };
}

macro_rules! declare {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $operation:path;)*) => {
        /// What a type of numbers can be asked to do with matrices.
        pub trait Operations: Sized {
            $(#[doc(hidden)] fn $name($($argument: $type),*) $(-> $result)? where Self: Real;)*
        }
    };
}

macro_rules! implement {
    ($real:ty: $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $operation:path;)*) => {
        impl Operations for $real {
            $(
                #[inline(never)]
                fn $name($($argument: $type),*) $(-> $result)? { $operation($($argument),*) }
            )*
        }
    };
}

operations! {
    fn embed(table: &Mat<Cpu<Self>>, ids: &Buffer<u32>, y: &mut Mat<Cpu<Self>>) = embed::embed;
    fn embed_bwd(dy: &Mat<Cpu<Self>>, ids: &Buffer<u32>, dtable: &mut Grad<Cpu<Self>>) = embed::embed_bwd;
    fn rms_norm(x: &Mat<Cpu<Self>>, g: &Mat<Cpu<Self>>, eps: f64, y: &mut Mat<Cpu<Self>>) = rms_norm::rms_norm;
    fn rms_norm_bwd(
        dy: &Mat<Cpu<Self>>,
        normed: (&Mat<Cpu<Self>>, &Mat<Cpu<Self>>, f64),
        dg: &mut Grad<Cpu<Self>>,
        dx: &mut Mat<Cpu<Self>>
    ) = rms_norm::rms_norm_bwd;
    fn linear(x: &Mat<Cpu<Self>>, w: &Mat<Cpu<Self>>, y: &mut Mat<Cpu<Self>>) = linear::linear;
    fn linear_dx(dy: &Mat<Cpu<Self>>, w: &Mat<Cpu<Self>>, dx: &mut Mat<Cpu<Self>>) = linear::linear_dx;
    fn linear_dw(dy: &Mat<Cpu<Self>>, x: &Mat<Cpu<Self>>, dw: &mut Grad<Cpu<Self>>) = linear::linear_dw;
    fn gate(a: &mut Mat<Cpu<Self>>, b: &Mat<Cpu<Self>>) = geglu::gate;
    fn gated(a: &Mat<Cpu<Self>>, b: &Mat<Cpu<Self>>, h: &mut Mat<Cpu<Self>>) = geglu::gated;
    fn gate_bwd(
        dh: &Mat<Cpu<Self>>,
        ab: (&Mat<Cpu<Self>>, &Mat<Cpu<Self>>),
        dab: (&mut Mat<Cpu<Self>>, &mut Mat<Cpu<Self>>)
    ) = geglu::gate_bwd;
    fn relu(a: &mut Mat<Cpu<Self>>) = geglu::relu;
    fn attention(
        a: &Attend<'_, Cpu<Self>>,
        precision: Precision,
        o: &mut Mat<Cpu<Self>>,
        log_sum: Option<&mut [Self]>
    ) = attention::attention;
    fn attention_bwd(
        a: &Attend<'_, Cpu<Self>>,
        saved: (&Attended<Cpu<Self>>, &Mat<Cpu<Self>>),
        grad: &mut AttendGrad<Cpu<Self>>,
        dtable: Option<&mut Grad<Cpu<Self>>>
    ) = attention_bwd::attention_bwd;
    fn attention_of_single_rows(a: &Attend<'_, Cpu<Self>>, o: &mut Mat<Cpu<Self>>) = decode_attention::cross;
    fn decode_attention(
        newest: &Newest<'_, Cpu<Self>>,
        cache: &mut Cache<Cpu<Self>>,
        bias: Bias<'_, Cpu<Self>>,
        o: &mut Mat<Cpu<Self>>
    ) = decode_attention::newest;
    fn dropout(x: &mut Mat<Cpu<Self>>, mask: &Dropout) = dropout::dropout;
    fn copy(x: &[Self], y: &mut [Self]) = elementwise::copy;
    fn fill(y: &mut [Self], value: Self) = elementwise::fill;
    fn square_sum(x: &[Self]) -> f64 = elementwise::square_sum;
    fn score(x: &Mat<Cpu<Self>>, rows: &Segments<Cpu<Self>>, scorer: &Scorer<'_, Cpu<Self>>, s: &mut [Self])
        = score::score;
    fn score_bwd(
        ds: &[Self],
        scored: score::Scored<'_, Self>,
        dscorer: ScorerGrad<'_, Cpu<Self>>,
        dx: &mut Mat<Cpu<Self>>
    ) = score::score_bwd;
    fn mean_pool(x: &Mat<Cpu<Self>>, rows: &Segments<Cpu<Self>>, y: &mut Mat<Cpu<Self>>) = score::mean_pool;
    fn top_m(be: &Cpu<Self>, scores: &[Self], groups: &Segments<Cpu<Self>>, m: usize) -> Selection<Cpu<Self>>
        = top_m::top_m;
    fn kept(be: &Cpu<Self>, rows: &Segments<Cpu<Self>>, chosen: &Selection<Cpu<Self>>) -> Segments<Cpu<Self>>
        = gather::kept;
    fn gather(
        x: &Mat<Cpu<Self>>,
        rows: &Segments<Cpu<Self>>,
        chosen: &Selection<Cpu<Self>>,
        kept: &Segments<Cpu<Self>>,
        y: &mut Mat<Cpu<Self>>
    ) = gather::gather;
    fn gather_bwd(
        dy: &Mat<Cpu<Self>>,
        rows: &Segments<Cpu<Self>>,
        chosen: &Selection<Cpu<Self>>,
        dx: &mut Mat<Cpu<Self>>
    ) = gather::gather_bwd;
    fn merge(be: &Cpu<Self>, rows: &Segments<Cpu<Self>>, groups: &Segments<Cpu<Self>>) -> Segments<Cpu<Self>>
        = gather::merge;
    fn joined(be: &Cpu<Self>, j: &Join<'_, Cpu<Self>>) -> Segments<Cpu<Self>> = join::joined;
    fn join(j: &Join<'_, Cpu<Self>>, joined: &Segments<Cpu<Self>>, y: &mut Mat<Cpu<Self>>) = join::join;
    fn join_bwd(dy: &Mat<Cpu<Self>>, j: &Join<'_, Cpu<Self>>, dqp: (&mut Mat<Cpu<Self>>, &mut Mat<Cpu<Self>>))
        = join::join_bwd;
    fn dequantise(width: usize, stored: &[Stored<'_>], y: &mut Mat<Cpu<Self>>) = join::dequantise;
    fn predict(logits: &Mat<Cpu<Self>>, next: &mut Prediction<Cpu<Self>>) = predict::predict;
    fn log_prob(logits: &Mat<Cpu<Self>>, target: &Buffer<u32>) -> Buffer<Self> = predict::log_prob;
    fn cross_entropy(logits: &mut Mat<Cpu<Self>>, target: &Buffer<u32>, scale: f64) -> Buffer<Self>
        = cross_entropy::cross_entropy;
    fn distill(d: &Distill<'_, Cpu<Self>>, dscores: &mut [Self]) -> Buffer<Self> = distill::distill;
    fn adafactor(
        w: &mut Mat<Cpu<Self>>,
        grad: &Grad<Cpu<Self>>,
        moments: &mut Moments<Cpu<Self>>,
        step: AdafactorStep
    ) = adafactor::adafactor;
}
