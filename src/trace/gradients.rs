//! The gradient of every parameter, by name.

use anyhow::Result;

use super::{Inputs, Tensor, Values};
use crate::backend::{Backward, Element};
use crate::model::{Reader, Weights};
use crate::nn::{Recompute, Tree};
use crate::train::{Example, MemoryEncoder, Pass, Teacher, gradients, zero_gradients};

/// Runs a forward and a backward pass without dropout and returns `grad.<parameter>` for every parameter, of
/// `lm_loss + distill_weight · distill_loss` as [`trace`](super::trace()) has them.
///
/// # Errors
/// Inputs that the model cannot read, and what the machine reports.
pub fn trace_gradients<B: Backward>(reader: &Reader<B>, inputs: &Inputs, recompute: Recompute) -> Result<Vec<Tensor>> {
    let texts = inputs.texts();
    let examples = inputs.questions(&texts).into_iter().zip(&inputs.targets);
    let batch: Vec<Example<'_>> =
        examples.map(|(question, target)| Example { question, target, evidence: &[] }).collect();
    let tokens: usize = inputs.targets.iter().map(Vec::len).sum();
    let pass = Pass {
        memory: MemoryEncoder::Trained,
        recompute,
        dropout: 0.0,
        seed: 0,
        lm_scale: 1.0 / tokens as f64,
        distill_scale: reader.glimmer.distill_weight / batch.len() as f64,
        teacher: Teacher::Perplexity,
    };
    let mut grads = zero_gradients(reader)?;
    gradients(reader, &batch, &pass, &mut grads)?;
    let specs = Weights::spec(&reader.config, &reader.glimmer);
    let pairs = specs.leaves().into_iter().zip(grads.leaves());
    pairs
        .map(|(spec, grad)| {
            let values = reader.be.download(&grad.buf)?.into_iter().map(Element::to_f64).collect();
            Ok(Tensor { name: format!("grad.{}", spec.name), shape: spec.stored_shape(), values: Values::Real(values) })
        })
        .collect()
}
