//! A beginning from which a reader that has learned nothing learns to copy within minutes.
//!
//! What a retrieval-augmented reader does first of all is to find the place in its passages and to go on copying from
//! it. From T5's own random weights the circuits for that take very long to form in a small model. Like the mimetic
//! initialisation of Trockman and Kolter (arXiv 2305.09828), this begins them as what training would make of them:
//!
//! - the output layer as the embedding, scaled, so that a token that reaches the decoder's output is the one predicted;
//! - cross-attention's `Wv` as an orthogonal matrix and `Wo` as its transpose, so that what the decoder looks at passes
//!   through unchanged;
//! - the encoder's `Wq` near its `Wk`, so that equal tokens of question and passage find one another;
//! - the encoder's position biases as three kinds of heads: one to the token before, one away from itself, one local;
//! - what blocks write to the residual stream smaller, the deeper the stack, so that a deep encoder begins as a shallow
//!   one.

use anyhow::Result;

use super::reader::Reader;
use crate::backend::{Backend, Element, Mat};
use crate::nn::Leaf;
use crate::random;

/// Streams of the random numbers drawn here, apart from those of the parameters' own beginnings.
const STREAMS: u64 = 1 << 32;

impl<B: Backend> Reader<B> {
    /// Changes a reader with random weights into one that learns to copy.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn begin_copying(&mut self, seed: u64) -> Result<()> {
        let (be, config) = (&self.be, &self.config);
        let (d, e) = (config.d_model as f64, config.d_kv as f64);
        let weights = &mut self.weights;
        let embedding = weights.encoder.embedding.download(be)?;
        let scaled = |scale: f64| move |x: &B::Elem| B::Elem::from_f64(scale * x.to_f64());
        let head = embedding.iter().map(scaled(d.powf(-0.5))).collect();
        weights.decoder.head = Leaf(Mat::upload(be, config.vocab_size, config.d_model, head));

        let layers = config.num_layers as f64;
        for block in &mut weights.encoder.layers.blocks {
            let (q, k) = (block.attention.q.download(be)?, block.attention.k.download(be)?);
            let near = |(q, k): (&B::Elem, &B::Elem)| 0.7 * (q.to_f64() + k.to_f64() * e.powf(-0.5));
            let near = q.iter().zip(&k).map(near).map(B::Elem::from_f64).collect();
            replace(be, &mut block.attention.q, near);
            for written in [&mut block.attention.o, &mut block.feed_forward.wo] {
                let smaller = written.download(be)?.iter().map(scaled((2.0 * layers).powf(-0.5))).collect();
                replace(be, written, smaller);
            }
        }
        let mut table = weights.encoder.layers.bias.download(be)?;
        look_around(&mut table, config.num_heads);
        replace(be, &mut weights.live_bias, table.clone());
        replace(be, &mut weights.encoder.layers.bias, table);
        for (place, block) in weights.decoder.blocks.iter_mut().enumerate() {
            let (inner, d) = (block.cross.v.rows, block.cross.v.cols);
            let v = orthogonal(inner, d, (seed, STREAMS + place as u64));
            let transposed = (0..d * inner).map(|i| v[i % inner * d + i / inner]);
            replace(be, &mut block.cross.o, transposed.map(B::Elem::from_f64).collect());
            replace(be, &mut block.cross.v, v.into_iter().map(B::Elem::from_f64).collect());
            for written in [&mut block.attention.o, &mut block.feed_forward.wo] {
                let smaller = written.download(be)?.iter().map(scaled(0.5)).collect();
                replace(be, written, smaller);
            }
        }
        Ok(())
    }
}

fn replace<B: Backend>(be: &B, leaf: &mut Leaf<Mat<B>>, host: Vec<B::Elem>) {
    *leaf = Leaf(Mat::upload(be, leaf.rows, leaf.cols, host));
}

/// Adds to a table `[buckets, h]` of the encoder's position biases: the first head looks at the token before, the
/// second away from itself, the third at its neighbours.
fn look_around<E: Element>(table: &mut [E], heads: usize) {
    // Buckets 0 to 7 are the distances back, one each, and those from half of the table on the distances ahead.
    let ahead = table.len() / heads / 2;
    let mut add = |bucket: usize, head: usize, bias: f64| {
        if head < heads {
            let place = &mut table[bucket * heads + head];
            *place = E::from_f64(place.to_f64() + bias);
        }
    };
    add(1, 0, 4.0);
    add(0, 1, -3.0);
    for near in 1..ahead.min(5) {
        add(near, 2, 1.0);
        add(ahead + near, 2, 1.0);
    }
    add(ahead + 1, 2, 2.0);
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
