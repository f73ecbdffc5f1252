//! Weights from a checkpoint, from a seed, and into a file; the memory encoder's fingerprint.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use half::bf16;
use rayon::prelude::*;

use super::config::{Config, Glimmer};
use super::reader::Reader;
use super::spec::{Absent, Init, Spec};
use super::weights::Weights;
use crate::backend::{Backend, Element, Mat};
use crate::io::{Checkpoint, Stored, write_tensors};
use crate::nn::Tree;
use crate::random;

/// Reads one parameter to the machine; its bytes are in the host's memory once.
pub(super) fn load<B: Backend>(be: &B, checkpoint: &Checkpoint, spec: &Spec) -> Result<Mat<B>> {
    let host = match stored_name(checkpoint, spec) {
        Some(name) => checkpoint.read(name, &spec.stored_shape())?,
        None => begin(spec, 0, 0),
    };
    Ok(moved(be, spec, host))
}

/// A parameter on the machine, in the form in which it wants it.
fn moved<B: Backend>(be: &B, spec: &Spec, host: Vec<B::Elem>) -> Mat<B> {
    let mat = Mat::upload(be, spec.rows, spec.cols, host);
    if spec.multiplies { be.pack(mat) } else { mat }
}

/// The tensor that a parameter is read from, there or not; none where it begins without one.
fn stored_name<'a>(checkpoint: &Checkpoint, spec: &'a Spec) -> Option<&'a str> {
    match &spec.absent {
        _ if checkpoint.contains(&spec.name) => Some(&spec.name),
        Absent::CopyOf(others) => Some(others.iter().find(|name| checkpoint.contains(name)).unwrap_or(&spec.name)),
        Absent::Begin => None,
        Absent::Fail => Some(&spec.name),
    }
}

/// What is known of the reader in `folder` before its weights are read.
struct Opened {
    config: Config,
    glimmer: Glimmer,
    checkpoint: Checkpoint,
}

impl Opened {
    fn new(folder: &Path, glimmer: impl FnOnce(&Config) -> Result<Glimmer>) -> Result<Self> {
        let config = Config::read(folder)?;
        let open = || {
            config.check_reader()?;
            let glimmer = glimmer(&config)?;
            let config = Config { glimmer: Some(glimmer.clone()), ..config };
            config.check()?;
            anyhow::Ok(Self { config, glimmer, checkpoint: Checkpoint::open(folder)? })
        };
        open().with_context(|| cannot_load(folder))
    }
}

fn cannot_load(folder: &Path) -> String {
    format!("cannot load the checkpoint in {}", folder.display())
}

/// Finds out, from the headers of the files alone, whether [`Reader::load`] would find everything that it needs: for
/// jobs that have hours of other work to do first.
///
/// # Errors
/// Those of [`Reader::load`].
pub fn check_checkpoint(folder: &Path, glimmer: impl FnOnce(&Config) -> Result<Glimmer>) -> Result<()> {
    let Opened { config, glimmer, checkpoint } = Opened::new(folder, glimmer)?;
    let specs = Weights::spec(&config, &glimmer);
    let check = |spec: &Spec| match stored_name(&checkpoint, spec) {
        Some(name) => checkpoint.check(name, &spec.stored_shape()),
        None => Ok(()),
    };
    specs.leaves().into_iter().try_for_each(check).with_context(|| cannot_load(folder))
}

/// A parameter as training from nothing begins it.
fn begin<E: Element>(spec: &Spec, seed: u64, stream: u64) -> Vec<E> {
    match spec.init {
        Init::Constant(value) => vec![E::from_f64(value); spec.len()],
        Init::Normal { deviation } => (0..spec.len() as u64)
            .into_par_iter()
            .map(|i| E::from_f64(deviation * random::normal(seed, stream, i)))
            .collect(),
    }
}

impl<B: Backend> Reader<B> {
    /// Loads the checkpoint in `folder`, cut as `glimmer` says.
    ///
    /// # Errors
    /// A folder without configuration or weights, tensors that are missing or of another shape, a cut that the
    /// encoder does not allow.
    pub fn load(be: B, folder: &Path, glimmer: impl FnOnce(&Config) -> Result<Glimmer>) -> Result<Self> {
        let Opened { config, glimmer, checkpoint } = Opened::new(folder, glimmer)?;
        let weights = Weights::spec(&config, &glimmer).try_map(&mut |spec| load(&be, &checkpoint, spec));
        let weights = weights.with_context(|| cannot_load(folder))?;
        Ok(Self { be, config, glimmer, weights })
    }

    /// A reader with the random weights of `seed`, as training from nothing begins it.
    ///
    /// # Errors
    /// Sizes or a cut that no model has.
    pub fn random(be: B, config: Config, glimmer: Glimmer, seed: u64) -> Result<Self> {
        config.check_reader()?;
        let config = Config { glimmer: Some(glimmer.clone()), ..config };
        config.check()?;
        let mut stream = 0;
        let weights = Weights::spec(&config, &glimmer).try_map(&mut |spec| {
            stream += 1;
            Ok(moved(&be, spec, begin(spec, seed, stream)))
        })?;
        Ok(Self { be, config, glimmer, weights })
    }

    /// Lets the T5's parameters begin ours as they would from a T5's checkpoint: the live layers' position bias, separate
    /// encoders. Random weights of these are their own until then.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn lend(&mut self) -> Result<()> {
        let specs = Weights::spec(&self.config, &self.glimmer);
        let (specs, leaves) = (specs.leaves(), self.weights.leaves());
        let lent = specs.iter().map(|spec| {
            let Absent::CopyOf(others) = &spec.absent else { return Ok(None) };
            let other = specs.iter().position(|other| others.contains(&other.name));
            other.map(|other| leaves[other].download(&self.be)).transpose()
        });
        let lent = lent.collect::<Result<Vec<_>>>()?;
        for ((leaf, spec), lent) in self.weights.leaves_mut().into_iter().zip(specs).zip(lent) {
            if let Some(values) = lent {
                *leaf = moved(&self.be, spec, values);
            }
        }
        Ok(())
    }

    /// Lets a separate reranker, if there is one, begin at random instead of as the encoder's layers.
    pub fn begin_reranker(&mut self, seed: u64) {
        let specs = Weights::spec(&self.config, &self.glimmer);
        let mut stream = 1 << 32;
        let fresh = specs.reranker.try_map(&mut |spec| {
            stream += 1;
            Ok(moved(&self.be, spec, begin(spec, seed, stream)))
        });
        self.weights.reranker = fresh.expect("nothing here fails");
    }

    /// The same weights, cut elsewhere.
    ///
    /// # Errors
    /// A cut that the encoder does not allow, or one with parts that these weights lack.
    pub fn recut(self, glimmer: Glimmer) -> Result<Self> {
        let config = Config { glimmer: Some(glimmer.clone()), ..self.config };
        config.check()?;
        let (wanted, there) = (Weights::spec(&config, &glimmer), self.weights.leaves());
        let wanted = wanted.leaves();
        let same =
            wanted.len() == there.len() && wanted.iter().zip(there).all(|(w, t)| (w.rows, w.cols) == (t.rows, t.cols));
        ensure!(same, "the new cut has other parts than the loaded weights; load the checkpoint again with it");
        Ok(Self { config, glimmer, ..self })
    }

    /// Writes configuration and weights (in bf16) into `folder`; the tokenizer is not the reader's.
    ///
    /// # Errors
    /// Those of the file system and of the machine.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let specs = Weights::spec(&self.config, &self.glimmer);
        let mut tensors = Vec::new();
        for (spec, leaf) in specs.leaves().into_iter().zip(self.weights.leaves()) {
            tensors.push((spec.name.clone(), spec.stored_shape(), rounded(&self.be, leaf)?));
        }
        let stored: Vec<_> =
            tensors.iter().map(|(name, shape, data)| (name.clone(), shape.clone(), Stored::Bf16(data))).collect();
        write_tensors(&folder.join("model.safetensors"), &BTreeMap::new(), &stored)?;
        self.config.write(folder)
    }

    /// What identifies the memory encoder: its sizes and its weights, rounded to bf16 so that readers in any
    /// precision agree. Memories belong to the encoder that wrote them.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn memory_fingerprint(&self) -> Result<String> {
        let Config { d_kv, num_heads, layer_norm_epsilon, .. } = self.config;
        let max_distance = self.config.relative_attention_max_distance;
        let encoder = &self.weights.encoder;
        let blocks = encoder.layers.blocks[..self.memory_layers()].iter().flat_map(|block| block.leaves());
        let weights = fingerprint(&self.be, [&*encoder.embedding, &*encoder.layers.bias].into_iter().chain(blocks))?;
        Ok(format!("{weights} {d_kv} {num_heads} {layer_norm_epsilon} {max_distance}"))
    }
}

/// A hash of parameters and their shapes.
pub(super) fn fingerprint<'a, B: Backend>(be: &B, leaves: impl IntoIterator<Item = &'a Mat<B>>) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for leaf in leaves {
        hasher.update(format!("{} {}", leaf.rows, leaf.cols).as_bytes());
        hasher.update(bytemuck::cast_slice(&rounded(be, leaf)?));
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// A parameter in bf16.
fn rounded<B: Backend>(be: &B, mat: &Mat<B>) -> Result<Vec<bf16>> {
    Ok(mat.download(be)?.into_par_iter().map(|x| <bf16 as Element>::from_f64(x.to_f64())).collect())
}
