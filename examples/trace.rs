//! Writes every intermediate of one forward pass, to hold this crate against other implementations.

#[path = "common/machine.rs"]
mod machine;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use glimmer::backend::{Backend, Backward};
use glimmer::io::{Stored, write_tensors};
use glimmer::model::{Config, Cut, Glimmer, Reader};
use glimmer::nn::Recompute;
use glimmer::trace::{Inputs, Tensor, Values, trace, trace_gradients};
use machine::{Machine, MachineArgs, Work};

/// Run a reader on given tokens and write every intermediate of the forward pass as safetensors
///
/// The input holds question_ids [b, lq], question_len [b], passage_ids [b, k, lp], passage_len [b, k],
/// target_ids [b, lt] and target_len [b]. The output holds memory.question, memory.passage, live_a, scores, selected,
/// live_b, logits, lm_logprob, lm_loss, distill_loss, distill_loss_rank_lm and generated; rows beyond a true length
/// are zero. With --backward it also holds grad.<parameter> of lm_loss + distill_weight · distill_loss.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder with config.json and the weights. Without an object "glimmer" in it, the cut is α = 1/3, β = 1/4, m = 5
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Token ids
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Longest greedy answer
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    max_tokens: u16,
    /// Also write the gradient of every parameter
    #[arg(long)]
    backward: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

fn main() -> Result<()> {
    let args = Args::parse();
    args.machine.run(Trace(&args))
}

/// The forward pass, and the backward pass where it is asked for.
struct Trace<'a>(&'a Args);

impl Trace<'_> {
    fn load<B: Backend>(&self, machine: B, name: &str) -> Result<(Reader<B>, Inputs)> {
        if self.0.machine.backend == Machine::Auto {
            eprintln!("machine: {name}");
        }
        let inputs = Inputs::read(&self.0.input)?;
        let reader = Reader::load(machine, &self.0.checkpoint, |config: &Config| match &config.glimmer {
            Some(glimmer) => Ok(glimmer.clone()),
            None => Ok(Glimmer::new(Cut::nearest(config.num_layers, 1.0 / 3.0, 0.25)?, 5)),
        })?;
        Ok((reader, inputs))
    }

    fn write(&self, tensors: &[Tensor]) -> Result<()> {
        write(self.0, tensors)?;
        println!("{} tensors in {}", tensors.len(), self.0.output.display());
        Ok(())
    }
}

impl Work for Trace<'_> {
    fn on<B: Backward + Clone>(self, machine: B, name: &str) -> Result<()> {
        let (reader, inputs) = self.load(machine, name)?;
        let mut tensors = trace(&reader, &inputs, self.0.max_tokens.into())?;
        if self.0.backward {
            tensors.extend(trace_gradients(&reader, &inputs, Recompute::Nothing)?);
        }
        self.write(&tensors)
    }

    fn needs_gradients(&self) -> bool {
        self.0.backward
    }
}

fn write(args: &Args, tensors: &[Tensor]) -> Result<()> {
    let narrowed: Vec<Vec<f32>> = tensors
        .iter()
        .map(|tensor| match &tensor.values {
            Values::Real(values) => values.iter().map(|&x| x as f32).collect(),
            Values::Integer(_) => Vec::new(),
        })
        .collect();
    let stored: Vec<_> = tensors
        .iter()
        .zip(&narrowed)
        .map(|(tensor, narrowed)| {
            let values = match &tensor.values {
                Values::Real(_) => Stored::F32(narrowed),
                Values::Integer(values) => Stored::I32(values),
            };
            (tensor.name.clone(), tensor.shape.clone(), values)
        })
        .collect();
    write_tensors(&args.output, &BTreeMap::new(), &stored)
}
