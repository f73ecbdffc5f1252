//! The optimiser: one rule and its state, over the tree of a reader's parameters.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::exact::Exact;
use super::pass::MemoryEncoder;
use crate::backend::{AdafactorState, AdafactorStep, Backend, Backward, Grad, Moments};
use crate::io::{Checkpoint, Stored, write_tensors};
use crate::model::{Config, Glimmer, Reader, Spec, Weights};
use crate::nn::{Leaf, Tree};

/// A matrix is kept as row and column means only if it has at least so many of both, as in T5X.
const LEAST_TO_FACTOR: usize = 128;
/// What a parameter lacks, by its name in a file.
const REMAINDER: &str = "remainder";
/// Adafactor's second moments forget as `1 − t^−0.8`.
const DECAY_EXPONENT: f64 = -0.8;

/// How a gradient becomes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// Adafactor (Shazeer and Stern, arXiv 1804.04235) with the semantics of T5X.
    Adafactor {
        /// Steps that the second moments believe to have seen before the first one. T5X goes on counting from
        /// pretraining when it fine-tunes, at about a million.
        #[serde(default)]
        step_offset: u64,
    },
}

impl Default for Rule {
    fn default() -> Self {
        Self::Adafactor { step_offset: 0 }
    }
}

/// Which parameters are trained.
pub type Trained = Weights<bool>;

impl Trained {
    /// All of a reader's; of one whose memory encoder is frozen, those that its stored memories do not depend on.
    pub fn of(config: &Config, glimmer: &Glimmer, memory: MemoryEncoder) -> Self {
        let all = Weights::spec(config, glimmer).try_map(&mut |_| Ok(true));
        let mut trained = all.expect("nothing here fails");
        if memory == MemoryEncoder::Frozen {
            let encoder = &mut trained.encoder;
            encoder.embedding = Leaf(false);
            encoder.layers.bias = Leaf(false);
            let frozen = &mut encoder.layers.blocks[..config.num_layers - glimmer.live_layers];
            frozen.iter_mut().flat_map(Tree::leaves_mut).for_each(|trained| *trained = false);
        }
        trained
    }
}

/// What the rule keeps of one parameter.
enum Slot<B: Backend> {
    /// It is not trained.
    Frozen,
    /// Second moments, and what the parameter lacks.
    Adafactor(AdafactorState<B>),
}

/// A rule and its state.
pub struct Optimiser<B: Backend> {
    rule: Rule,
    /// The gradient of all parameters together is scaled down to this norm.
    clip_norm: Option<f64>,
    /// The scorer's learning rate, in those of the rest.
    scorer_rate: f64,
    slots: Weights<Slot<B>>,
}

impl<B: Backend> Optimiser<B> {
    /// Before its first step.
    pub fn new(be: &B, specs: &Weights<Spec>, trained: &Trained, rule: Rule) -> Self {
        let mut trained = trained.leaves().into_iter();
        let slots = specs.try_map(&mut |spec| {
            let &trained = trained.next().expect("trees of one shape");
            Ok(if trained { Slot::new(be, spec, rule) } else { Slot::Frozen })
        });
        Self { rule, clip_norm: None, scorer_rate: 1.0, slots: slots.expect("nothing here fails") }
    }

    /// The same, with another learning rate for the scorer and its norm, in those of the rest: a scorer that begins at
    /// zero moves by parts of its own size, which are next to nothing.
    pub fn scoring_at(self, rate: f64) -> Self {
        Self { scorer_rate: rate, ..self }
    }

    /// The same, with the gradient's norm bounded.
    pub fn clipped(self, norm: Option<f64>) -> Self {
        Self { clip_norm: norm, ..self }
    }

    /// Writes the state into one file, exactly.
    ///
    /// # Errors
    /// Those of the machine and of the file system.
    pub fn save(&self, be: &B, specs: &Weights<Spec>, path: &Path) -> Result<()> {
        let mut tensors: Vec<(String, Vec<usize>, Exact)> = Vec::new();
        for (spec, slot) in specs.leaves().into_iter().zip(self.slots.leaves()) {
            for (name, grad) in slot.parts() {
                tensors.push((format!("{}.{name}", spec.name), vec![grad.rows, grad.cols], Exact::grad(be, grad)?));
            }
        }
        let stored: Vec<(String, Vec<usize>, Stored<'_>)> =
            tensors.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), values.stored())).collect();
        let about = BTreeMap::from([("rule".to_string(), serde_json::to_string(&self.rule)?)]);
        write_tensors(path, &about, &stored)
    }

    /// Takes over a state that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// A file of another rule, of other parameters or of numbers of another size, and those of the file system.
    pub fn restore(&mut self, be: &B, specs: &Weights<Spec>, path: &Path) -> Result<()> {
        let file = Checkpoint::open_file(path)?;
        let rule = file.metadata().get("rule").map_or("none", String::as_str);
        ensure!(
            rule == serde_json::to_string(&self.rule)?,
            "{} is the state of another optimiser ({rule}): go on with that one, or begin in another folder",
            path.display()
        );
        for (spec, slot) in specs.leaves().into_iter().zip(self.slots.leaves_mut()) {
            let lacks = slot.parts().iter().any(|(name, _)| *name == REMAINDER);
            ensure!(
                file.contains(&format!("{}.{REMAINDER}", spec.name)) == lacks,
                "{} is of a run in numbers of another size: go on with the precision that it began with",
                path.display()
            );
            for (name, grad) in slot.parts_mut() {
                let values = file.read(&format!("{}.{name}", spec.name), &[grad.rows, grad.cols]);
                let values = values.with_context(|| format!("the optimiser's state of {}", spec.name))?;
                grad.buf = be.upload(values);
            }
        }
        Ok(())
    }
}

impl<B: Backward> Optimiser<B> {
    /// Step number `step`, counted from 0, of all parameters that are trained. Returns the gradient's norm before
    /// clipping, where there is any.
    ///
    /// # Errors
    /// Those of the machine, and a gradient that is no number.
    pub fn step(
        &mut self,
        reader: &mut Reader<B>,
        grads: &Weights<Grad<B>>,
        step: u64,
        learning_rate: f64,
    ) -> Result<Option<f64>> {
        let Reader { be, weights, config, glimmer } = reader;
        let specs = Weights::spec(config, glimmer);
        let (norm, scale) = match self.clip_norm {
            None => (None, 1.0),
            Some(bound) => {
                let norm = self.norm(be, grads)?;
                ensure!(norm.is_finite(), "the gradient of step {step} has the norm {norm}: lower the learning rate");
                (Some(norm), if norm > bound { bound / norm } else { 1.0 })
            }
        };
        let Rule::Adafactor { step_offset } = self.rule;
        let seen = (step + 1 + step_offset) as f64;
        let step = AdafactorStep { learning_rate, decay: 1.0 - seen.powf(DECAY_EXPONENT), scale };
        let leaves = weights.leaves_mut().into_iter().zip(grads.leaves()).zip(self.slots.leaves_mut());
        for (((w, grad), slot), spec) in leaves.zip(specs.leaves()) {
            let Slot::Adafactor(state) = slot else { continue };
            let rate = if spec.is_scorer() { self.scorer_rate } else { 1.0 };
            be.adafactor(w, grad, state, AdafactorStep { learning_rate: rate * learning_rate, ..step });
        }
        Ok(norm)
    }

    /// The norm of the gradient of all parameters that are trained.
    fn norm(&self, be: &B, grads: &Weights<Grad<B>>) -> Result<f64> {
        let all = grads.leaves().into_iter().zip(self.slots.leaves());
        let trained: Vec<&Grad<B>> =
            all.filter(|(_, slot)| !matches!(slot, Slot::Frozen)).map(|(grad, _)| grad).collect();
        Ok(be.square_sum(&trained)?.sqrt())
    }
}

fn is_factored(spec: &Spec) -> bool {
    spec.rows.min(spec.cols) >= LEAST_TO_FACTOR
}

/// Numbers that Adafactor keeps of a parameter's gradient.
pub(super) fn moments_of(spec: &Spec) -> usize {
    if is_factored(spec) { spec.rows + spec.cols } else { spec.len() }
}

impl<B: Backend> Slot<B> {
    fn new(be: &B, spec: &Spec, rule: Rule) -> Self {
        let Rule::Adafactor { .. } = rule;
        let &Spec { rows, cols, .. } = spec;
        let moments = if is_factored(spec) {
            Moments::Factored { row: Grad::zeros(be, 1, rows), col: Grad::zeros(be, 1, cols) }
        } else {
            Moments::Whole(Grad::zeros(be, rows, cols))
        };
        Self::Adafactor(AdafactorState { moments, remainder: Grad::remainder(be, rows, cols) })
    }

    /// By the names they have in a file, behind the parameter's.
    fn parts(&self) -> Vec<(&'static str, &Grad<B>)> {
        let Self::Adafactor(AdafactorState { moments, remainder }) = self else { return Vec::new() };
        let mut parts = match moments {
            Moments::Factored { row, col } => vec![("row", row), ("col", col)],
            Moments::Whole(all) => vec![("all", all)],
        };
        parts.extend(remainder.iter().map(|remainder| (REMAINDER, remainder)));
        parts
    }

    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Grad<B>)> {
        let Self::Adafactor(AdafactorState { moments, remainder }) = self else { return Vec::new() };
        let mut parts = match moments {
            Moments::Factored { row, col } => vec![("row", row), ("col", col)],
            Moments::Whole(all) => vec![("all", all)],
        };
        parts.extend(remainder.iter_mut().map(|remainder| (REMAINDER, remainder)));
        parts
    }
}
