//! The stages of a training pass up to the decoder, each with its backward pass: memories joined with the question,
//! live encoder A and the scores, live encoder B.

use anyhow::Result;

use super::pass::MemoryEncoder;
use crate::backend::{Backward, Bias, Direction, Dropout, Grad, Join, Mat, Noise, ScorerGrad, Segments, Selection};
use crate::model::{Encoded, Layers, Passages, Question, Reader, Weights, drop_out, drop_out_again};
use crate::nn::{Done, EncoderBlock, EncoderSaved, Recompute, encode_backward, encode_saved};

/// How the layers of a pass run.
type Run<'a> = (&'a mut Noise, Recompute);

/// Texts through encoder layers by themselves.
struct Alone<B: Backward> {
    ids: B::Buf<u32>,
    mask: Option<Dropout>,
    layers: EncoderSaved<B>,
}

/// Encoder layers and their position bias, or their gradients.
type Stack<'a, M> = (&'a M, &'a [EncoderBlock<M>]);
type StackMut<'a, G> = (&'a mut G, &'a mut [EncoderBlock<G>]);

impl<B: Backward> Alone<B> {
    fn forward(
        reader: &Reader<B>,
        texts: &[&[u32]],
        (bias, blocks): Stack<'_, Mat<B>>,
        (noise, recompute): Run<'_>,
    ) -> (Encoded<B>, Self) {
        let (be, shape) = (&reader.be, reader.config.shape());
        let ids = be.upload(texts.concat());
        let segments = Segments::packed(be, texts.iter().map(|text| text.len()));
        let mut x = be.embed(&reader.weights.encoder.embedding, &ids);
        let mask = drop_out(be, &mut x, noise);
        let bias = shape.bias(bias, Direction::Both);
        let (rows, layers) = encode_saved(be, &shape, blocks, (x, &segments, bias), (noise, recompute));
        (Encoded { rows, segments }, Self { ids, mask, layers })
    }

    fn backward(
        self,
        reader: &Reader<B>,
        ((bias, blocks), segments): (Stack<'_, Mat<B>>, &Segments<B>),
        mut dx: Mat<B>,
        ((dbias, dblocks), dembedding, done): (StackMut<'_, Grad<B>>, &mut Grad<B>, Done<'_, B>),
    ) {
        let (be, shape) = (&reader.be, reader.config.shape());
        let bias = shape.bias(bias, Direction::Both);
        encode_backward(be, &shape, (blocks, self.layers), (segments, bias), ((dblocks, dbias, &mut dx), done));
        drop_out_again(be, &mut dx, self.mask);
        be.embed_bwd(&dx, &self.ids, dembedding);
    }
}

/// Questions and passages, encoded and joined: `H_i = [Q; P_i]`.
pub(super) struct Joined<B: Backward> {
    /// Which passages belong to which question.
    pub groups: Segments<B>,
    /// Whether the memory encoder does.
    learns: bool,
    questions: Encoded<B>,
    passages: Encoded<B>,
    /// None where nothing is to be learned from them.
    question_saved: Option<Alone<B>>,
    passage_saved: Option<Alone<B>>,
}

impl<B: Backward> Joined<B> {
    pub(super) fn forward(
        reader: &Reader<B>,
        questions: &[Question<'_>],
        memory: MemoryEncoder,
        (noise, recompute): Run<'_>,
    ) -> Result<(Encoded<B>, Self)> {
        let be = &reader.be;
        let asked: Vec<&[u32]> = questions.iter().map(|question| question.ids).collect();
        let learns = memory == MemoryEncoder::Trained;
        let (questions_encoded, question_saved) = match &reader.weights.question_encoder {
            Some(Layers { bias, blocks }) => {
                let (encoded, saved) = Alone::forward(reader, &asked, (bias, blocks), (noise, recompute));
                (encoded, Some(saved))
            }
            None if learns => {
                let (encoded, saved) = Alone::forward(reader, &asked, memory_stack(reader), (noise, recompute));
                (encoded, Some(saved))
            }
            None => (reader.encode_memory(&asked)?, None),
        };
        let fresh = if learns { fresh_passages(questions) } else { None };
        let (passages, passage_saved) = match fresh {
            Some(texts) => {
                let (encoded, saved) = Alone::forward(reader, &texts, memory_stack(reader), (noise, recompute));
                (encoded, Some(saved))
            }
            None => (reader.passages(questions)?, None),
        };
        let groups = Segments::packed(be, questions.iter().map(|question| question.passages.len()));
        let joined = Self { groups, learns, questions: questions_encoded, passages, question_saved, passage_saved };
        let (rows, segments) = be.join(joined.operands());
        Ok((Encoded { rows, segments }, joined))
    }

    fn operands(&self) -> Join<'_, B> {
        Join {
            question: &self.questions.rows,
            question_rows: &self.questions.segments,
            passage: &self.passages.rows,
            passage_rows: &self.passages.segments,
            groups: &self.groups,
        }
    }

    /// From the gradient of what was joined.
    pub(super) fn backward(self, reader: &Reader<B>, dh: &Mat<B>, (grads, done): (&mut Weights<Grad<B>>, Done<'_, B>)) {
        if self.question_saved.is_none() && self.passage_saved.is_none() {
            return;
        }
        let (dquestion, dpassage) = reader.be.join_bwd(dh, &self.operands());
        let memory_layers = reader.memory_layers();
        let encoder = &mut grads.encoder;
        if let Some(saved) = self.question_saved {
            let segments = &self.questions.segments;
            match (&reader.weights.question_encoder, &mut grads.question_encoder) {
                (Some(own), Some(down)) => {
                    let (from, into) = ((&*own.bias, &own.blocks[..]), (&mut *down.bias, &mut down.blocks[..]));
                    let embedding = &mut encoder.embedding;
                    saved.backward(reader, (from, segments), dquestion, (into, embedding, &mut *done));
                    done(vec![&mut *down.bias]);
                }
                _ => {
                    let blocks = &mut encoder.layers.blocks[..memory_layers];
                    // The passages add to the same layers, if they have not been stored.
                    let ignored: Done<'_, B> = &mut |_| {};
                    let done = if self.passage_saved.is_some() { ignored } else { &mut *done };
                    let (into, embedding) = ((&mut *encoder.layers.bias, blocks), &mut encoder.embedding);
                    saved.backward(reader, (memory_stack(reader), segments), dquestion, (into, embedding, done));
                }
            }
        }
        if let Some(saved) = self.passage_saved {
            let blocks = &mut encoder.layers.blocks[..memory_layers];
            let (into, embedding) = ((&mut *encoder.layers.bias, blocks), &mut encoder.embedding);
            let from = (memory_stack(reader), &self.passages.segments);
            saved.backward(reader, from, dpassage, (into, embedding, &mut *done));
        }
        if self.learns {
            done(vec![&mut *encoder.layers.bias, &mut *encoder.embedding]);
        }
    }
}

/// The memory encoder.
fn memory_stack<B: Backward>(reader: &Reader<B>) -> Stack<'_, Mat<B>> {
    (&reader.weights.encoder.layers.bias, reader.blocks(0..reader.memory_layers()))
}

/// The passages as tokens, or none where they come from a store.
fn fresh_passages<'a>(questions: &[Question<'a>]) -> Option<Vec<&'a [u32]>> {
    let texts = questions.iter().map(|question| match question.passages {
        Passages::Tokens(texts) => Some(texts),
        Passages::Memory(_) => None,
    });
    Some(texts.collect::<Option<Vec<_>>>()?.concat())
}

/// Live encoder A, or the separate reranker, and the scores.
pub(super) struct Ranked<B: Backward> {
    /// What live encoder A made of each question and passage; with a separate reranker, what it was given.
    pub live_a: Encoded<B>,
    /// `[passages]`.
    pub scores: B::Buf<B::Wide>,
    /// What the separate reranker made of them.
    reranked: Option<Mat<B>>,
    saved: EncoderSaved<B>,
}

impl<B: Backward> Ranked<B> {
    pub(super) fn forward(reader: &Reader<B>, h: Encoded<B>, prior: Option<&B::Buf<B::Wide>>, run: Run<'_>) -> Self {
        let (be, shape) = (&reader.be, reader.config.shape());
        let Encoded { rows, segments } = h;
        let (bias, blocks) = scoring_stack(reader);
        let within = |x| (x, &segments, shape.bias(bias, Direction::Both));
        let separate = reader.weights.reranker.is_some();
        let input = separate.then(|| be.copy(&rows));
        let (out, saved) = encode_saved(be, &shape, blocks, within(rows), run);
        let scores = be.score(&out, &segments, reader.scorer(prior));
        let (rows, reranked) = match input {
            Some(input) => (input, Some(out)),
            None => (out, None),
        };
        Self { live_a: Encoded { rows, segments }, scores, reranked, saved }
    }

    /// From the gradients of the scores and of live encoder A's output to that of its input.
    pub(super) fn backward(
        self,
        reader: &Reader<B>,
        dscores: Option<&B::Buf<B::Wide>>,
        mut dlive_a: Mat<B>,
        (grads, done): (&mut Weights<Grad<B>>, Done<'_, B>),
    ) -> Mat<B> {
        let (be, shape, segments) = (&reader.be, reader.config.shape(), &self.live_a.segments);
        let mut separate = self.reranked.as_ref().map(|rows| be.zeros(rows.rows, rows.cols));
        if let Some(dscores) = dscores {
            let rows = self.reranked.as_ref().unwrap_or(&self.live_a.rows);
            let norm = grads.scorer_norm.as_deref_mut();
            let into = ScorerGrad { weight: &mut grads.scorer, norm };
            let dx = separate.as_mut().unwrap_or(&mut dlive_a);
            be.score_bwd(dscores, (rows, segments, reader.scorer(None)), into, dx);
        }
        done(grads.scorer_norm.iter_mut().map(|norm| &mut **norm).chain([&mut *grads.scorer]).collect());
        let (bias, blocks) = scoring_stack(reader);
        let within: (_, Bias<'_, B>) = (segments, shape.bias(bias, Direction::Both));
        match (&mut grads.reranker, &mut separate) {
            (Some(own), Some(dx)) => {
                let into = (&mut own.blocks[..], &mut *own.bias, &mut *dx);
                encode_backward(be, &shape, (blocks, self.saved), within, (into, &mut *done));
                done(vec![&mut *own.bias]);
                be.add(dx, &mut dlive_a);
            }
            _ => {
                let first = reader.memory_layers();
                let own = &mut grads.encoder.layers.blocks[first..first + blocks.len()];
                let into = (own, &mut *grads.live_bias, &mut dlive_a);
                encode_backward(be, &shape, (blocks, self.saved), within, (into, &mut *done));
            }
        }
        done(vec![&mut *grads.live_bias]);
        dlive_a
    }
}

/// Live encoder A, or the separate reranker.
fn scoring_stack<B: Backward>(reader: &Reader<B>) -> Stack<'_, Mat<B>> {
    match &reader.weights.reranker {
        Some(Layers { bias, blocks }) => (bias, blocks),
        None => {
            let first = reader.memory_layers();
            (&reader.weights.live_bias, reader.blocks(first..first + reader.glimmer.rerank_layers))
        }
    }
}

/// The chosen passages through live encoder B and the final norm.
pub(super) struct Read<B: Backward> {
    /// `[n, d]`.
    pub rows: Mat<B>,
    /// One a chosen passage.
    pub segments: Segments<B>,
    x: Mat<B>,
    mask: Option<Dropout>,
    saved: EncoderSaved<B>,
}

impl<B: Backward> Read<B> {
    pub(super) fn forward(
        reader: &Reader<B>,
        live_a: &Encoded<B>,
        chosen: &Selection<B>,
        (noise, recompute): Run<'_>,
    ) -> Self {
        let (be, shape) = (&reader.be, reader.config.shape());
        let (x, segments) = be.gather(&live_a.rows, &live_a.segments, chosen);
        let bias = shape.bias(&reader.weights.live_bias, Direction::Both);
        let blocks = reader.blocks(reader.last_layers());
        let (x, saved) = encode_saved(be, &shape, blocks, (x, &segments, bias), (noise, recompute));
        let mut rows = be.rms_norm(&x, &reader.weights.encoder.norm, shape.eps);
        let mask = drop_out(be, &mut rows, noise);
        Self { rows, segments, x, mask, saved }
    }

    /// From the gradient of the rows to that of live encoder A's output, to which it is added.
    pub(super) fn backward(
        self,
        reader: &Reader<B>,
        mut drows: Mat<B>,
        (live_a, chosen): (&Encoded<B>, &Selection<B>),
        (grads, dlive_a, done): (&mut Weights<Grad<B>>, &mut Mat<B>, Done<'_, B>),
    ) {
        let (be, shape) = (&reader.be, reader.config.shape());
        drop_out_again(be, &mut drows, self.mask);
        let mut dx = be.zeros(self.x.rows, self.x.cols);
        let norm = (&self.x, &*reader.weights.encoder.norm, shape.eps);
        be.rms_norm_bwd(&drows, norm, &mut grads.encoder.norm, &mut dx);
        done(vec![&mut *grads.encoder.norm]);
        let within = (&self.segments, shape.bias(&reader.weights.live_bias, Direction::Both));
        let range = reader.last_layers();
        let blocks = reader.blocks(range.clone());
        let into = (&mut grads.encoder.layers.blocks[range], &mut *grads.live_bias, &mut dx);
        encode_backward(be, &shape, (blocks, self.saved), within, (into, done));
        be.gather_bwd(&dx, &live_a.segments, chosen, dlive_a);
    }
}
