//! What a run begins with.

use std::path::Path;

use anyhow::{Context, Result};

use super::plan::Plan;
use super::save::Output;
use super::settings::{Beginning, Init, RerankerInit};
use crate::backend::{Backend, Backward};
use crate::io::Tokenizer;
use crate::model::Reader;
use crate::nn::Tree;
use crate::train::Together;

/// The reader that training begins with.
pub(super) fn begin<B: Backend>(be: B, plan: &Plan, tokenizer: &Path) -> Result<Reader<B>> {
    let settings = &plan.settings;
    let mut reader = match &settings.init {
        Init::Checkpoint(folder) => Reader::load(be, &plan.path(folder), |config| settings.glimmer(config))?,
        Init::Random(sizes) => {
            let config = sizes.config(Tokenizer::open(tokenizer)?.vocab_size());
            let glimmer = settings.glimmer(&config)?;
            let random = Reader::random(be, config, glimmer, settings.seed);
            let mut reader = random.context("init.random has sizes that no model has")?;
            reader.lend()?;
            if sizes.beginning == Beginning::Copying {
                reader.begin_copying(settings.seed)?;
            }
            reader
        }
    };
    if settings.reranker_init == RerankerInit::Random {
        reader.begin_reranker(settings.seed);
    }
    Ok(reader)
}

/// The folder of a run: that which the first process has opened, for all.
pub(super) fn open_output<B: Backward>(plan: &Plan, together: &mut Together<B>) -> Result<Output> {
    if !together.is_first() {
        together.agree("experiment", &serde_json::to_vec(&plan.settings)?)?;
        return Ok(Output::of_another(&plan.output));
    }
    let output = Output::open(&plan.output, &plan.settings)?;
    together.agree("experiment", &serde_json::to_vec(&plan.settings)?)?;
    Ok(output)
}

/// What tells readers apart that differ in a weight.
pub(super) fn fingerprint<B: Backend>(reader: &Reader<B>) -> Result<Vec<u8>> {
    let mut hash = blake3::Hasher::new();
    for weight in reader.weights.leaves() {
        hash.update(bytemuck::cast_slice(&weight.download(&reader.be)?));
    }
    Ok(hash.finalize().as_bytes().to_vec())
}
