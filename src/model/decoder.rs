//! The decoder: teacher forcing over whole answers, and greedy decoding with caches.

use anyhow::Result;

use super::config::Config;
use super::weights::Decoder;
use crate::backend::{Backend, Backward, Cache, Direction, Dropout, Element, Grad, Mat, Noise, Prediction, Segments};
use crate::nn::{CrossMemory, DecoderSaved, Done, Recompute, decode_backward, decode_saved};

/// The encoder's final output for a batch of answers: the rows, and which of them each answer reads.
pub struct Evidence<'a, B: Backend> {
    /// `[n, d]`.
    pub rows: &'a Mat<B>,
    /// One segment an answer.
    pub segments: &'a Segments<B>,
}

/// A decoded answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Vocabulary ids, the end of text included where it was reached.
    pub tokens: Vec<u32>,
    /// Natural logarithm of each token's probability.
    pub log_probs: Vec<f64>,
}

/// What a step of greedy decoding leaves to the next.
struct Decoding<B: Backend> {
    caches: Vec<Cache<B>>,
    next: Prediction<B>,
}

/// The answers so far.
struct Answers<B: Backend> {
    decoded: Vec<Decoded>,
    /// The newest token of each, and its log-probability.
    newest: (Vec<u32>, Vec<B::Wide>),
}

impl<B: Backend> Answers<B> {
    /// With room for all their tokens, so that a step asks the system for no memory.
    fn new(batch: usize, max_tokens: usize) -> Self {
        let decoded = || Decoded { tokens: Vec::with_capacity(max_tokens), log_probs: Vec::with_capacity(max_tokens) };
        Self { decoded: std::iter::repeat_with(decoded).take(batch).collect(), newest: Default::default() }
    }

    /// Adds a token to each answer that has not ended; whether any goes on.
    fn extend(&mut self, be: &B, next: &Prediction<B>, eos: u32) -> Result<bool> {
        let (tokens, log_probs) = &mut self.newest;
        be.download_to(&next.token, tokens)?;
        be.download_to(&next.log_prob, log_probs)?;
        let mut open = false;
        for ((answer, &token), log_prob) in self.decoded.iter_mut().zip(&*tokens).zip(log_probs) {
            if answer.tokens.last() == Some(&eos) {
                continue;
            }
            answer.tokens.push(token);
            answer.log_probs.push(log_prob.to_f64());
            open |= token != eos;
        }
        Ok(open)
    }
}

impl<B: Backend> Decoder<Mat<B>> {
    /// Logits of every token of `targets`, one answer a segment of `evidence`, each token given those before it.
    /// → `[Σ len(target), v]`.
    pub fn teach(
        &self,
        be: &B,
        config: &Config,
        embedding: &Mat<B>,
        evidence: &Evidence<'_, B>,
        targets: &[&[u32]],
    ) -> Mat<B> {
        let shape = config.shape();
        let rows = Segments::packed(be, targets.iter().map(|target| target.len()));
        let mut x = be.embed(embedding, &be.upload(shifted(config, targets)));
        let bias = shape.bias(&self.bias, Direction::Past);
        for block in &self.blocks {
            let memory = block.cross.cross_memory(be, evidence.rows);
            block.forward(be, &shape, &mut x, (&rows, bias), (&memory, evidence.segments));
        }
        be.linear(&be.rms_norm(&x, &self.norm, shape.eps), &self.head)
    }

    /// Greedy answers of at most `max_tokens` tokens, one for each segment of `evidence`.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn greedy(
        &self,
        be: &B,
        config: &Config,
        embedding: &Mat<B>,
        evidence: &Evidence<'_, B>,
        max_tokens: usize,
    ) -> Result<Vec<Decoded>> {
        let shape = config.shape();
        let batch = evidence.segments.count;
        let memories: Vec<CrossMemory<B>> =
            self.blocks.iter().map(|block| block.cross.decoding_memory(be, evidence.rows)).collect();
        let mut decoding = Decoding {
            caches: self.blocks.iter().map(|_| be.cache(batch, max_tokens, config.inner())).collect(),
            next: Prediction::certain(be, vec![config.decoder_start_token_id; batch]),
        };
        let rows = Segments::equal(be, batch, 1);
        let bias = shape.bias(&self.bias, Direction::Past);
        let mut answers = Answers::new(batch, max_tokens);
        let step = |decoding: &mut Decoding<B>| {
            let mut x = be.embed(embedding, &decoding.next.token);
            for ((block, cache), memory) in self.blocks.iter().zip(&mut decoding.caches).zip(&memories) {
                block.forward_newest(be, &shape, &mut x, (&rows, cache, bias), (memory, evidence.segments));
            }
            be.predict(&be.rms_norm(&x, &self.norm, shape.eps), &self.head, &mut decoding.next);
        };
        let goes_on = |decoding: &Decoding<B>| answers.extend(be, &decoding.next, config.eos_token_id);
        be.repeat(max_tokens, &mut decoding, step, goes_on)?;
        Ok(answers.decoded)
    }
}

/// The decoder's inputs: each token of the targets is given those before it, the first the start.
fn shifted(config: &Config, targets: &[&[u32]]) -> Vec<u32> {
    let mut ids = Vec::with_capacity(targets.iter().map(|target| target.len()).sum());
    for target in targets {
        let before = target.iter().take(target.len().saturating_sub(1));
        ids.extend(target.first().map(|_| config.decoder_start_token_id).into_iter().chain(before.copied()));
    }
    ids
}

/// What [`Decoder::teach_saved`] keeps for its backward pass.
#[must_use = "a training step that drops this has no gradient"]
pub struct TeachSaved<B: Backend> {
    ids: B::Buf<u32>,
    rows: Segments<B>,
    layers: DecoderSaved<B>,
    x: Mat<B>,
    y: Mat<B>,
    masks: [Option<Dropout>; 2],
}

impl<B: Backward> Decoder<Mat<B>> {
    /// [`teach`](Self::teach) of training.
    pub fn teach_saved(
        &self,
        be: &B,
        (config, embedding): (&Config, &Mat<B>),
        evidence: &Evidence<'_, B>,
        targets: &[&[u32]],
        (noise, recompute): (&mut Noise, Recompute),
    ) -> (Mat<B>, TeachSaved<B>) {
        let shape = config.shape();
        let rows = Segments::packed(be, targets.iter().map(|target| target.len()));
        let ids = be.upload(shifted(config, targets));
        let mut x = be.embed(embedding, &ids);
        let first = drop_out(be, &mut x, noise);
        let bias = shape.bias(&self.bias, Direction::Past);
        let encoded = (evidence.rows, evidence.segments);
        let (x, layers) = decode_saved(be, &shape, &self.blocks, (x, &rows, bias), (encoded, noise, recompute));
        let mut y = be.rms_norm(&x, &self.norm, shape.eps);
        let last = drop_out(be, &mut y, noise);
        let logits = be.linear(&y, &self.head);
        (logits, TeachSaved { ids, rows, layers, x, y, masks: [first, last] })
    }

    /// The backward pass of [`teach_saved`](Self::teach_saved): the gradient of the evidence, `[n, d]`. The decoder's
    /// gradients are done with it.
    pub fn teach_backward(
        &self,
        be: &B,
        config: &Config,
        (s, dlogits): (TeachSaved<B>, &Mat<B>),
        evidence: &Evidence<'_, B>,
        (grad, dembedding, done): (&mut Decoder<Grad<B>>, &mut Grad<B>, Done<'_, B>),
    ) -> Mat<B> {
        let shape = config.shape();
        let [first, last] = s.masks;
        let mut dy = be.linear_bwd(dlogits, &s.y, &self.head, &mut grad.head);
        drop_out_again(be, &mut dy, last);
        let mut dx = be.zeros(s.x.rows, s.x.cols);
        be.rms_norm_bwd(&dy, (&s.x, &self.norm, shape.eps), &mut grad.norm, &mut dx);
        done(vec![&mut *grad.head, &mut *grad.norm]);
        let mut dencoded = be.zeros(evidence.rows.rows, evidence.rows.cols);
        let bias = shape.bias(&self.bias, Direction::Past);
        decode_backward(
            be,
            &shape,
            (&self.blocks, s.layers),
            ((&s.rows, bias), (evidence.rows, evidence.segments)),
            ((&mut grad.blocks, &mut grad.bias, &mut dencoded, &mut dx), &mut *done),
        );
        done(vec![&mut *grad.bias]);
        drop_out_again(be, &mut dx, first);
        be.embed_bwd(&dx, &s.ids, dembedding);
        dencoded
    }
}

/// Applies the next mask.
pub(crate) fn drop_out<B: Backward>(be: &B, x: &mut Mat<B>, noise: &mut Noise) -> Option<Dropout> {
    let mask = noise.draw();
    drop_out_again(be, x, mask);
    mask
}

/// Applies a mask that was drawn before: the backward pass of dropout.
pub(crate) fn drop_out_again<B: Backward>(be: &B, x: &mut Mat<B>, mask: Option<Dropout>) {
    if let Some(mask) = &mask {
        be.dropout(x, mask);
    }
}
