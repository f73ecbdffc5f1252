//! Layers one behind the other, in training: what each keeps, or how it runs again.

use super::{AttentionSaved, CrossSaved, DecoderBlock, EncoderBlock, FeedForwardSaved, Shape, Tree};
use crate::backend::{Backend, Backward, Bias, Grad, Mat, Noise, Segments};

/// Whether layers keep what their backward pass needs, or run forward a second time when it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Everything is kept.
    #[default]
    Nothing,
    /// Each layer keeps its input alone: a third more arithmetic, a fraction of the memory.
    Layers,
}

/// What one layer keeps.
enum Kept<B: Backend, S> {
    Saved(S),
    Input { x: Mat<B>, noise: Noise },
}

impl<B: Backward, S> Kept<B, S> {
    /// Runs a layer forward on `x`.
    fn run(
        be: &B,
        x: Mat<B>,
        (noise, recompute): (&mut Noise, Recompute),
        forward: impl FnOnce(Mat<B>, &mut Noise) -> (Mat<B>, S),
    ) -> (Mat<B>, Self) {
        match recompute {
            Recompute::Nothing => {
                let (out, saved) = forward(x, noise);
                (out, Self::Saved(saved))
            }
            Recompute::Layers => {
                let before = *noise;
                let (out, _) = forward(be.copy(&x), noise);
                (out, Self::Input { x, noise: before })
            }
        }
    }

    /// What the layer would have kept.
    fn saved(self, forward: impl FnOnce(Mat<B>, &mut Noise) -> (Mat<B>, S)) -> S {
        match self {
            Self::Saved(saved) => saved,
            Self::Input { x, mut noise } => forward(x, &mut noise).1,
        }
    }
}

/// What one encoder layer saves.
type EncoderLayer<B> = (AttentionSaved<B>, FeedForwardSaved<B>);
/// What one decoder layer saves.
type DecoderLayer<B> = (AttentionSaved<B>, CrossSaved<B>, FeedForwardSaved<B>);

/// Which rows attend to one another, and their position bias.
pub type Within<'a, B> = (&'a Segments<B>, Bias<'a, B>);
/// The encoder's output, and which of it each answer reads.
pub type Over<'a, B> = (&'a Mat<B>, &'a Segments<B>);
/// Told of gradients to which this backward pass adds nothing more.
pub type Done<'a, B> = &'a mut dyn FnMut(Vec<&mut Grad<B>>);
/// Where encoder layers put their gradients: of the blocks, of the position bias, of the residual stream.
pub type EncoderGrads<'a, B> = (&'a mut [EncoderBlock<Grad<B>>], &'a mut Grad<B>, &'a mut Mat<B>);
/// Where decoder layers put theirs: of the blocks, of the position bias, of the encoder's output, of the residual stream.
pub type DecoderGrads<'a, B> = (&'a mut [DecoderBlock<Grad<B>>], &'a mut Grad<B>, &'a mut Mat<B>, &'a mut Mat<B>);

/// What encoder layers keep for their backward pass, first to last.
#[must_use = "a training step that drops this has no gradient"]
pub struct EncoderSaved<B: Backend>(Vec<Kept<B, EncoderLayer<B>>>);

/// What decoder layers keep for their backward pass, first to last.
#[must_use = "a training step that drops this has no gradient"]
pub struct DecoderSaved<B: Backend>(Vec<Kept<B, DecoderLayer<B>>>);

impl<B: Backward> EncoderBlock<Mat<B>> {
    fn forward_saved(
        &self,
        be: &B,
        shape: &Shape,
        x: Mat<B>,
        within: Within<'_, B>,
        noise: &mut Noise,
    ) -> (Mat<B>, EncoderLayer<B>) {
        let (x, attention) = self.attention.forward_saved(be, shape, x, within, noise);
        let (x, feed_forward) = self.feed_forward.forward_saved(be, shape, x, noise);
        (x, (attention, feed_forward))
    }
}

impl<B: Backward> DecoderBlock<Mat<B>> {
    fn forward_saved(
        &self,
        be: &B,
        shape: &Shape,
        x: Mat<B>,
        ((rows, bias), (encoded, cols)): (Within<'_, B>, Over<'_, B>),
        noise: &mut Noise,
    ) -> (Mat<B>, DecoderLayer<B>) {
        let (x, attention) = self.attention.forward_saved(be, shape, x, (rows, bias), noise);
        let (x, cross) = self.cross.forward_cross_saved(be, shape, x, (rows, encoded, cols), noise);
        let (x, feed_forward) = self.feed_forward.forward_saved(be, shape, x, noise);
        (x, (attention, cross, feed_forward))
    }
}

/// [`encode`](super::encode) of training.
pub fn encode_saved<B: Backward>(
    be: &B,
    shape: &Shape,
    blocks: &[EncoderBlock<Mat<B>>],
    (mut x, rows, bias): (Mat<B>, &Segments<B>, Bias<'_, B>),
    (noise, recompute): (&mut Noise, Recompute),
) -> (Mat<B>, EncoderSaved<B>) {
    let mut all = Vec::with_capacity(blocks.len());
    for block in blocks {
        let forward = |x, noise: &mut Noise| block.forward_saved(be, shape, x, (rows, bias), noise);
        let (out, kept) = Kept::run(be, x, (noise, recompute), forward);
        x = out;
        all.push(kept);
    }
    (x, EncoderSaved(all))
}

/// The backward pass of [`encode_saved`]: `dx`, the gradient of what it returned, becomes that of what it was given. Each
/// layer's gradients are done with it.
pub fn encode_backward<B: Backward>(
    be: &B,
    shape: &Shape,
    (blocks, saved): (&[EncoderBlock<Mat<B>>], EncoderSaved<B>),
    (rows, bias): Within<'_, B>,
    ((grads, dbias, dx), done): (EncoderGrads<'_, B>, Done<'_, B>),
) {
    for ((block, kept), grad) in blocks.iter().zip(saved.0).zip(grads).rev() {
        let (attention, feed_forward) = kept.saved(|x, noise| block.forward_saved(be, shape, x, (rows, bias), noise));
        block.feed_forward.backward(be, shape, feed_forward, (&mut grad.feed_forward, dx));
        block.attention.backward(be, shape, attention, (rows, bias), (&mut grad.attention, dbias, dx));
        done(grad.leaves_mut());
    }
}

/// Decoder layers over the tokens `x` of each answer and the encoder's output.
pub fn decode_saved<B: Backward>(
    be: &B,
    shape: &Shape,
    blocks: &[DecoderBlock<Mat<B>>],
    (mut x, rows, bias): (Mat<B>, &Segments<B>, Bias<'_, B>),
    (encoded, noise, recompute): (Over<'_, B>, &mut Noise, Recompute),
) -> (Mat<B>, DecoderSaved<B>) {
    let mut all = Vec::with_capacity(blocks.len());
    for block in blocks {
        let forward = |x, noise: &mut Noise| block.forward_saved(be, shape, x, ((rows, bias), encoded), noise);
        let (out, kept) = Kept::run(be, x, (noise, recompute), forward);
        x = out;
        all.push(kept);
    }
    (x, DecoderSaved(all))
}

/// The backward pass of [`decode_saved`]: `dx`, the gradient of what it returned, becomes that of what it was given,
/// and the gradient of the encoder's output is added to `dencoded`. Each layer's gradients are done with it.
pub fn decode_backward<B: Backward>(
    be: &B,
    shape: &Shape,
    (blocks, saved): (&[DecoderBlock<Mat<B>>], DecoderSaved<B>),
    ((rows, bias), (encoded, cols)): (Within<'_, B>, Over<'_, B>),
    ((grads, dbias, dencoded, dx), done): (DecoderGrads<'_, B>, Done<'_, B>),
) {
    for ((block, kept), grad) in blocks.iter().zip(saved.0).zip(grads).rev() {
        let (attention, cross, feed_forward) =
            kept.saved(|x, noise| block.forward_saved(be, shape, x, ((rows, bias), (encoded, cols)), noise));
        block.feed_forward.backward(be, shape, feed_forward, (&mut grad.feed_forward, dx));
        block.cross.backward_cross(be, shape, cross, (rows, encoded, cols), (&mut grad.cross, dencoded, dx));
        block.attention.backward(be, shape, attention, (rows, bias), (&mut grad.attention, dbias, dx));
        done(grad.leaves_mut());
    }
}
