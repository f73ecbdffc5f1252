//! GTR: a T5 1.0 encoder that turns a text into one vector (Ni et al., arXiv 2112.07899).

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::config::Config;
use super::load::{fingerprint, load};
use super::spec::{Absent, Init, Spec};
use super::weights::Encoder;
use crate::backend::{Backend, Direction, Element, Mat, Segments, check_ids};
use crate::io::Checkpoint;
use crate::nn::{Tree, encode};

/// A dense retriever's encoder: the T5 encoder, the mean over its tokens, a projection, unit length.
pub struct DenseEncoder<B: Backend> {
    be: B,
    config: Config,
    encoder: Encoder<Mat<B>>,
    projection: Mat<B>,
}

impl<B: Backend> DenseEncoder<B> {
    /// Loads a folder in the layout of sentence-transformers: the encoder, and the projection in `2_Dense/`.
    ///
    /// # Errors
    /// Missing or misshapen files and tensors.
    pub fn load(be: B, folder: &Path) -> Result<Self> {
        let config = Config::read(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        let encoder = Encoder::spec(&config).try_map(&mut |spec| load(&be, &checkpoint, spec))?;
        let dense = Checkpoint::open(&folder.join("2_Dense"))
            .context("a dense retriever ends in the projection that its folder 2_Dense holds")?;
        let name = "linear.weight";
        ensure!(dense.contains(name), "{} has no tensor {name}", folder.join("2_Dense").display());
        let width = dense.shape(name)?.first().copied().unwrap_or(0);
        ensure!(width > 0, "{} has a tensor {name} without rows", folder.join("2_Dense").display());
        let projection = Spec {
            name: name.into(),
            rows: width,
            cols: config.d_model,
            vector: false,
            init: Init::Constant(0.0),
            absent: Absent::Fail,
            multiplies: true,
        };
        let projection = load(&be, &dense, &projection)?;
        Ok(Self { be, config, encoder, projection })
    }

    /// Columns of the vectors.
    pub fn width(&self) -> usize {
        self.projection.rows
    }

    /// What identifies the encoder and its projection: their weights, rounded to bf16.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn fingerprint(&self) -> Result<String> {
        fingerprint(&self.be, self.encoder.leaves().into_iter().chain([&self.projection]))
    }

    /// A unit vector for each text, row by row. `texts` are token ids with the end of text.
    ///
    /// # Errors
    /// An empty text, ids beyond the vocabulary, what the machine reports.
    pub fn encode(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        for (i, text) in texts.iter().enumerate() {
            ensure!(!text.is_empty(), "text {i} of the batch has no tokens, and so no vector");
            check_ids(text, self.config.vocab_size).with_context(|| format!("text {i} of the batch"))?;
        }
        let (be, shape) = (&self.be, self.config.shape());
        let ids = texts.concat();
        let rows = Segments::packed(be, texts.iter().map(|text| text.len()));
        let mut x = be.embed(&self.encoder.embedding, &be.upload(ids));
        let layers = &self.encoder.layers;
        encode(be, &shape, &layers.blocks, &mut x, (&rows, shape.bias(&layers.bias, Direction::Both)));
        let x = be.rms_norm(&x, &self.encoder.norm, shape.eps);
        let projected = be.linear(&be.mean_pool(&x, &rows), &self.projection).download(be)?;
        Ok(projected.chunks_exact(self.width()).flat_map(unit).collect())
    }
}

/// The vector of length 1 in the direction of `row`; zeros stay.
fn unit<E: Element>(row: &[E]) -> Vec<f32> {
    let length = row.iter().map(|x| x.to_f64().powi(2)).sum::<f64>().sqrt().max(1e-12);
    row.iter().map(|x| (x.to_f64() / length) as f32).collect()
}
