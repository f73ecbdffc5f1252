//! A beginning from which a reader that has learned nothing learns to find and to copy within minutes.
//!
//! What a retrieval-augmented reader does first of all is to find the passage and the place in it that belong to the
//! question, and to go on copying from there. From T5's own random weights the circuits for that take very long to form
//! in a small model. Like the mimetic initialisation of Trockman and Kolter (arXiv 2305.09828), this begins them as
//! what training would make of them:
//!
//! - the output layer as the embedding, scaled, so that a token that reaches the decoder's output is the one predicted;
//! - cross-attention's `Wv` as an orthogonal matrix and `Wo` as its transpose, so that what the decoder looks at passes
//!   through unchanged;
//! - of the encoder's heads, the first looks at the token before and the third at its neighbours, by position. In the
//!   first layer it hands a projection of that token on at full size, so that pairs of tokens can be told from single
//!   ones: a question and a passage that share a pair belong together far more often than those that share a piece;
//! - the second looks for its own token elsewhere, and where there is none at the end of text. What it returns then
//!   is always the same, so that "found" and "not found" can be told apart by any linear layer; without such a sink
//!   it would be a mean over everything. Two columns of the embedding serve it: a constant, which T5 lacks without
//!   biases, and a mark of the end of text. The live layers write what it finds larger than the rest, as that is what
//!   passages are told apart by;
//! - what blocks write to the residual stream smaller, the deeper the stack, so that a deep encoder begins as a shallow
//!   one.

use anyhow::{Result, ensure};

use super::reader::Reader;
use crate::backend::{Backend, Element, Mat};
use crate::nn::Leaf;
use crate::random;

/// Streams of the random numbers drawn here, apart from those of the parameters' own beginnings.
const STREAMS: u64 = 1 << 32;
/// Columns of the embedding: one that is 1 for every token, one that marks the end of text.
const CONSTANT: usize = 0;
const END: usize = 1;
/// The mark.
const MARK: f64 = 5.0;
/// The head that looks at the token before.
const PREVIOUS: usize = 0;
/// The head that looks for its own token.
const MATCHING: usize = 1;
/// The head that looks at the tokens around.
const NEIGHBOURS: usize = 2;

impl<B: Backend> Reader<B> {
    /// Changes a reader with random weights into one that learns to copy.
    ///
    /// # Errors
    /// A width below 2, and those of the machine.
    pub fn begin_copying(&mut self, seed: u64) -> Result<()> {
        let width = self.config.d_model;
        ensure!(width > END, "d_model is {width}: a beginning that copies marks two columns of the embedding");
        let (be, config) = (&self.be, &self.config);
        let (d, inner) = (config.d_model as f64, config.num_heads * config.d_kv);
        let weights = &mut self.weights;
        let scaled = |scale: f64| move |x: &B::Elem| B::Elem::from_f64(scale * x.to_f64());
        let mut embedding = weights.encoder.embedding.download(be)?;
        for (id, row) in embedding.chunks_exact_mut(config.d_model).enumerate() {
            row[CONSTANT] = B::Elem::from_f64(1.0);
            row[END] = B::Elem::from_f64(if id == config.eos_token_id as usize { MARK } else { 0.0 });
        }
        let mut head: Vec<B::Elem> = embedding.iter().map(scaled(d.powf(-0.5))).collect();
        for row in head.chunks_exact_mut(config.d_model) {
            row[CONSTANT..=END].fill(B::Elem::from_f64(0.0));
        }
        replace(be, &mut weights.encoder.embedding, embedding);
        replace(be, &mut weights.decoder.head, head);

        let smaller = 0.5 * (2.0 * config.num_layers as f64).powf(-0.5);
        let memory_layers = config.num_layers - self.glimmer.live_layers;
        for (place, block) in weights.encoder.layers.blocks.iter_mut().enumerate() {
            let (attention, stream) = (&mut block.attention, STREAMS + place as u64);
            let wo: Vec<B::Elem> = block.feed_forward.wo.download(be)?.iter().map(scaled(smaller)).collect();
            replace(be, &mut block.feed_forward.wo, wo);
            let mut o = attention.o.download(be)?;
            for (i, x) in o.iter_mut().enumerate() {
                let found = place >= memory_layers && i % inner / config.d_kv == MATCHING;
                *x = scaled(if found { 0.5 } else { smaller })(x);
            }
            if config.num_heads > MATCHING {
                let (mut q, mut k) = (attention.q.download(be)?, attention.k.download(be)?);
                let own = MATCHING * config.d_kv * config.d_model..(MATCHING + 1) * config.d_kv * config.d_model;
                match_tokens(&mut q[own.clone()], &mut k[own], config.d_model, (seed, stream));
                replace(be, &mut attention.q, q);
                replace(be, &mut attention.k, k);
            }
            if place == 0 {
                let mut v = attention.v.download(be)?;
                hand_on(&mut v, &mut o, (config.d_model, config.d_kv), (seed, 3 * STREAMS));
                replace(be, &mut attention.v, v);
            }
            replace(be, &mut attention.o, o);
        }
        let mut table = weights.encoder.layers.bias.download(be)?;
        look_around(&mut table, config.num_heads);
        replace(be, &mut weights.encoder.layers.bias, table);
        for (place, block) in weights.decoder.blocks.iter_mut().enumerate() {
            let (inner, d) = (block.cross.v.rows, block.cross.v.cols);
            let v = orthogonal(inner, d, (seed, 2 * STREAMS + place as u64));
            let transposed = (0..d * inner).map(|i| v[i % inner * d + i / inner]);
            replace(be, &mut block.cross.o, transposed.map(B::Elem::from_f64).collect());
            replace(be, &mut block.cross.v, v.into_iter().map(B::Elem::from_f64).collect());
            for written in [&mut block.attention.o, &mut block.feed_forward.wo] {
                let smaller = written.download(be)?.iter().map(scaled(0.5)).collect();
                replace(be, written, smaller);
            }
        }
        self.lend()
    }
}

fn replace<B: Backend>(be: &B, leaf: &mut Leaf<Mat<B>>, host: Vec<B::Elem>) {
    *leaf = Leaf(Mat::upload(be, leaf.rows, leaf.cols, host));
}

/// Makes `q` and `k`, `[e, d]`, of the head that looks for its own token: both are one random projection `A` of the
/// token, so that equal ones agree by about 2·√e, and one direction `u` in which every query agrees with the key of the
/// end of text by less than that and by more than with other tokens.
fn match_tokens<E: Element>(q: &mut [E], k: &mut [E], d: usize, (seed, stream): (u64, u64)) {
    let e = q.len() / d;
    let draw = |i: usize| random::normal(seed, stream, i as u64);
    let direction: Vec<f64> = (0..e).map(|i| draw(e * d + i)).collect();
    let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
    for i in 0..e * d {
        let (row, col) = (i / d, i % d);
        let (a, u) = (draw(i) * (d as f64).powf(-0.5), direction[row] / length);
        let (of_query, of_key) = match col {
            CONSTANT => (u, 0.0),
            END => (0.0, 1.8 * u),
            _ => (2.0 * (e as f64).powf(-0.5) * a, a),
        };
        (q[i], k[i]) = (E::from_f64(of_query), E::from_f64(of_key));
    }
}

/// Sets a table `[buckets, h]` of the encoder's position biases up for the three kinds of heads.
fn look_around<E: Element>(table: &mut [E], heads: usize) {
    // Buckets 0 to 7 are the distances back, one each, and those from half of the table on the distances ahead.
    let ahead = table.len() / heads / 2;
    if heads > MATCHING {
        table.iter_mut().skip(MATCHING).step_by(heads).for_each(|bias| *bias = E::from_f64(0.0));
    }
    let mut add = |bucket: usize, head: usize, bias: f64| {
        if head < heads {
            let place = &mut table[bucket * heads + head];
            *place = E::from_f64(place.to_f64() + bias);
        }
    };
    add(1, PREVIOUS, 4.0);
    // A token would find itself before all others.
    add(0, MATCHING, -6.0);
    for near in 1..ahead.min(5) {
        add(near, NEIGHBOURS, 1.0);
        add(ahead + near, NEIGHBOURS, 1.0);
    }
    add(ahead + 1, NEIGHBOURS, 2.0);
}

/// Makes the head that looks at the token before write a projection of it at full size: its rows of `v [h·e, d]` and
/// columns of `o [d, h·e]` are orthonormal. The two columns that all tokens share are left out.
fn hand_on<E: Element>(v: &mut [E], o: &mut [E], (d, e): (usize, usize), (seed, stream): (u64, u64)) {
    let (read, written) = (orthogonal(e, d, (seed, stream)), orthogonal(d, e, (seed, stream + 1)));
    let inner = o.len() / d;
    for i in 0..e {
        for j in 0..d {
            v[(PREVIOUS * e + i) * d + j] = E::from_f64(if j > END { read[i * d + j] } else { 0.0 });
            o[j * inner + PREVIOUS * e + i] = E::from_f64(if j > END { written[j * e + i] } else { 0.0 });
        }
    }
}

/// A matrix whose rows, or columns where there are fewer of them, are orthonormal: random ones, made so one by one
/// (modified Gram-Schmidt).
fn orthogonal(rows: usize, cols: usize, (seed, stream): (u64, u64)) -> Vec<f64> {
    let (short, long) = (rows.min(cols), rows.max(cols));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(short);
    for i in 0..short {
        let mut new: Vec<f64> = (0..long).map(|j| random::normal(seed, stream, (i * long + j) as u64)).collect();
        for other in &vectors {
            let along: f64 = new.iter().zip(other).map(|(a, b)| a * b).sum();
            new.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let length = new.iter().map(|x| x * x).sum::<f64>().sqrt();
        new.iter_mut().for_each(|x| *x /= length);
        vectors.push(new);
    }
    let at = |row: usize, col: usize| if rows <= cols { vectors[row][col] } else { vectors[col][row] };
    (0..rows * cols).map(|i| at(i / cols, i % cols)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_side_is_orthonormal() {
        for (rows, cols) in [(5, 5), (4, 7), (7, 4), (1, 3)] {
            let m = orthogonal(rows, cols, (1, 2));
            let short = rows.min(cols);
            let vector = |i: usize| -> Vec<f64> {
                if rows <= cols { m[i * cols..][..cols].to_vec() } else { (0..rows).map(|r| m[r * cols + i]).collect() }
            };
            for i in 0..short {
                for j in 0..short {
                    let dot: f64 = vector(i).iter().zip(vector(j)).map(|(a, b)| a * b).sum();
                    assert!((dot - f64::from(u8::from(i == j))).abs() <= 1e-12, "{rows} × {cols}: {i} and {j}: {dot}");
                }
            }
        }
    }
}
