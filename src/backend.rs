//! The contract between the model and a machine: one trait of fused operations.
//!
//! The model is written once, generic over [`Backend`]; a machine implements each operation below as one
//! kernel. There is one tensor, [`Mat`], and one shape of raggedness, [`Segments`].
//!
//! Letters, used everywhere: `n` tokens, `s` segments, `d` model width, `h` heads, `e` head width,
//! `f` feed-forward width, `v` vocabulary, `k` passages retrieved, `m` passages read.
//!
//! Operations do not fail: the loader has checked the shapes of the weights, so a mismatch here is a bug and
//! panics, and a machine that runs out of something remembers the first failure and reports it at the next
//! [`download`](Backend::download).

mod all_reduce;
mod backward;
mod bias;
mod dropout;
mod element;
mod operands;

use anyhow::{Result, ensure};

pub use all_reduce::{AllReduce, Member};
pub use backward::{
    AdafactorState, AdafactorStep, AnswerLogProb, AttendGrad, Attended, Backward, Distill, DistillDirection, Grad,
    Moments, ScorerGrad,
};
pub use bias::{Bias, Direction, relative_bucket};
pub use dropout::{Dropout, Noise};
pub use element::Element;
pub use operands::{Attend, Cache, Join, Newest, Normed, Pool, Prediction, Scorer, Selection, Stored};

/// Row-major `[rows, cols]` in the memory of `B`; the only tensor in the crate.
///
/// `rows` is what the host knows. On a machine that works ahead of the host it is a bound and the true count
/// lives beside the data, so model code sizes nothing by it.
pub struct Mat<B: Backend> {
    /// Rows, at most.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// `rows · cols` elements.
    pub buf: B::Buf<B::Elem>,
}

impl<B: Backend> Mat<B> {
    /// The matrix of `rows · cols` host values in row-major order.
    ///
    /// # Panics
    /// When `host` has another length.
    pub fn upload(be: &B, rows: usize, cols: usize, host: Vec<B::Elem>) -> Self {
        assert_eq!(host.len(), rows * cols, "[{rows}, {cols}] needs {} values", rows * cols);
        Self { rows, cols, buf: be.upload(host) }
    }

    /// The values in row-major order.
    ///
    /// # Errors
    /// What went wrong on the machine since the last download.
    pub fn download(&self, be: &B) -> Result<Vec<B::Elem>> {
        be.download(&self.buf)
    }
}

/// Which rows belong together: segment `i` is rows `offsets[i] .. offsets[i + 1]`. Packed, never padded.
///
/// The offsets on the machine are the truth. The host knows the number of segments and bounds of the rest.
pub struct Segments<B: Backend> {
    /// `count + 1` row numbers, not decreasing, the first 0.
    pub offsets: B::Buf<u32>,
    /// Number of segments.
    pub count: usize,
    /// Rows in all, at most.
    pub capacity: usize,
    /// Rows of the longest segment, at most.
    pub longest: usize,
}

impl<B: Backend> Segments<B> {
    /// Segments of these lengths, one behind the other.
    pub fn packed(be: &B, lengths: impl IntoIterator<Item = usize>) -> Self {
        let (mut offsets, mut end, mut longest) = (vec![0u32], 0, 0);
        for length in lengths {
            end += length;
            longest = longest.max(length);
            offsets.push(u32::try_from(end).expect("a batch holds fewer than 2^32 tokens"));
        }
        Self { count: offsets.len() - 1, offsets: be.upload(offsets), capacity: end, longest }
    }

    /// `count` segments of `length` rows each.
    pub fn equal(be: &B, count: usize, length: usize) -> Self {
        Self::packed(be, std::iter::repeat_n(length, count))
    }
}

/// A machine that can run the model. Every method is one kernel; `->` assigns.
pub trait Backend: Send + Sync + Sized + 'static {
    /// Type of activations and weights.
    type Elem: Element;
    /// Type of gradients, moments, losses and log-probabilities: at least as wide as [`Elem`](Self::Elem).
    type Wide: Element;
    /// A run of values in this machine's memory.
    type Buf<T: bytemuck::Pod + Send + Sync>: Send + Sync;

    /// What this machine is, for people: its name, threads, precision.
    fn describe(&self) -> String;

    /// Moves host values to the machine.
    fn upload<T: bytemuck::Pod + Send + Sync>(&self, host: Vec<T>) -> Self::Buf<T>;
    /// Copies values to the host, after all work before it.
    ///
    /// # Errors
    /// The first failure on the machine since the last download.
    fn download<T: bytemuck::Pod + Send + Sync>(&self, buf: &Self::Buf<T>) -> Result<Vec<T>> {
        let mut host = Vec::new();
        self.download_to(buf, &mut host)?;
        Ok(host)
    }
    /// [`download`](Self::download) to the place of what `host` held.
    ///
    /// # Errors
    /// As those of `download`.
    fn download_to<T: bytemuck::Pod + Send + Sync>(&self, buf: &Self::Buf<T>, host: &mut Vec<T>) -> Result<()>;

    /// A weight that from now on is the second operand of products and nothing else, in the form in which this machine
    /// multiplies by it. [`download`](Self::download) gives the numbers that the products are made with.
    fn pack(&self, w: Mat<Self>) -> Mat<Self> {
        w
    }

    /// `y[i] = table[ids[i]]`. `table [v, d]`, `ids [n]` → `[n, d]`. Every id is below `v`.
    fn embed(&self, table: &Mat<Self>, ids: &Self::Buf<u32>) -> Mat<Self>;

    /// `y = x · rsqrt(mean(x²) + ε) ⊙ g`. `x [n, d]`, `g [1, d]` → `[n, d]`.
    fn rms_norm(&self, x: &Mat<Self>, g: &Mat<Self>, eps: f64) -> Mat<Self>;

    /// `y = x·Wᵀ`. `x [n, i]`, `w [o, i]` → `[n, o]`.
    fn linear(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self>;

    /// The products of `x` with up to three weights of one shape, as [`linear`](Self::linear) has them.
    fn linears<const N: usize>(&self, x: &Mat<Self>, w: [&Mat<Self>; N]) -> [Mat<Self>; N] {
        w.map(|w| self.linear(x, w))
    }

    /// [`linears`](Self::linears) of what [`rms_norm`](Self::rms_norm) makes of `x`.
    fn normed_linears<const N: usize>(&self, x: Normed<'_, Self>, w: [&Mat<Self>; N]) -> [Mat<Self>; N] {
        self.linears(&self.rms_norm(x.x, x.g, x.eps), w)
    }

    /// `[x·Wkᵀ, x·Wvᵀ]`: keys and values that attention without a bias reads again for every token and that nothing else
    /// does, in the form in which this machine reads them. [`download`](Self::download) gives the numbers that
    /// attention computes with. `x [n, d]`, `w [h·e, d]` → `[n, h·e]`.
    fn keys_and_values(&self, x: &Mat<Self>, w: [&Mat<Self>; 2]) -> [Mat<Self>; 2] {
        self.linears(x, w)
    }

    /// `y += x·Wᵀ`, the residual stream. `x [n, i]`, `w [o, i]`, `y [n, o]`.
    fn linear_add(&self, x: &Mat<Self>, w: &Mat<Self>, y: &mut Mat<Self>);

    /// `h = gelu(x·W₀ᵀ) ⊙ x·W₁ᵀ` with `gelu(a) = a/2 · (1 + tanh(√(2/π)·(a + 0.044715·a³)))`.
    /// `x [n, d]`, `w_0, w_1 [f, d]` → `[n, f]`.
    fn geglu(&self, x: &Mat<Self>, w_0: &Mat<Self>, w_1: &Mat<Self>) -> Mat<Self>;

    /// [`geglu`](Self::geglu) of what [`rms_norm`](Self::rms_norm) makes of `x`.
    fn normed_geglu(&self, x: Normed<'_, Self>, w_0: &Mat<Self>, w_1: &Mat<Self>) -> Mat<Self> {
        self.geglu(&self.rms_norm(x.x, x.g, x.eps), w_0, w_1)
    }

    /// `h = max(x·Wᵀ, 0)`, the feed-forward of T5 1.0. `x [n, d]`, `w [f, d]` → `[n, f]`.
    fn linear_relu(&self, x: &Mat<Self>, w: &Mat<Self>) -> Mat<Self>;

    /// See [`Attend`]. → `[n, h·e]`.
    fn attention(&self, a: Attend<'_, Self>) -> Mat<Self>;

    /// An empty cache for `batch` sequences of at most `capacity` tokens, keys and values `width` wide.
    fn cache(&self, batch: usize, capacity: usize, width: usize) -> Cache<Self>;

    /// Causal self-attention of each sequence's newest token over itself and those in the cache, which it joins.
    /// → `[batch, h·e]`.
    fn decode_attention(&self, newest: Newest<'_, Self>, cache: &mut Cache<Self>, bias: Bias<'_, Self>) -> Mat<Self>;

    /// One score a segment, see [`Scorer`]. `x [n, d]` → `[s]`: wide, since passages are ranked by differences that
    /// narrow numbers may not have.
    fn score(&self, x: &Mat<Self>, rows: &Segments<Self>, scorer: Scorer<'_, Self>) -> Self::Buf<Self::Wide>;

    /// The mean of each segment's rows. `x [n, d]` → `[s, d]`; an empty segment gives zeros.
    fn mean_pool(&self, x: &Mat<Self>, rows: &Segments<Self>) -> Mat<Self>;

    /// The `m` highest scores of each group (all of them, where it has fewer), best first, ties to the earlier
    /// segment; NaN counts as lowest. `scores [s]`, `groups` over the `s` segments.
    fn top_m(&self, scores: &Self::Buf<Self::Wide>, groups: &Segments<Self>, m: usize) -> Selection<Self>;

    /// The rows of the chosen segments, in the order of the choice. `x [n, d]` → `[n', d]` and their segments.
    fn gather(&self, x: &Mat<Self>, rows: &Segments<Self>, chosen: &Selection<Self>) -> (Mat<Self>, Segments<Self>);

    /// Each group of segments seen as one: what a question's passages are to the decoder.
    fn merge(&self, rows: &Segments<Self>, groups: &Segments<Self>) -> Segments<Self>;

    /// Each question's rows, then at once the passage's, once for every passage of the question: `H_i = [Q; P_i]`.
    /// → `[Σ (lq + lp), d]`, one segment a passage.
    fn join(&self, j: Join<'_, Self>) -> (Mat<Self>, Segments<Self>);

    /// Rows from the memory store, one behind the other, widened to the machine's type. → `[n, width]`.
    fn dequantise(&self, width: usize, stored: &[Stored<'_>]) -> Mat<Self>;

    /// The most likely token of each row and its log-probability, in one pass over the logits `x·Wᵀ`, to where the
    /// tokens before them are. `x [n, d]`, `head [v, d]`.
    fn predict(&self, x: &Mat<Self>, head: &Mat<Self>, next: &mut Prediction<Self>);

    /// `log softmax(logits[i])[target[i]]`. `logits [n, v]`, `target [n]`, each below `v`. → `[n]`.
    fn log_prob(&self, logits: &Mat<Self>, target: &Self::Buf<u32>) -> Self::Buf<Self::Wide>;

    /// Does `step`, and again as long as `goes_on`, at most so many times.
    ///
    /// Every step is the same operations on the same operands in the machine's memory, which alone differ from step to
    /// step. So a machine may record what a step does, and do the others by itself: the host does not see them.
    ///
    /// # Errors
    /// Those of `goes_on`.
    fn repeat<S>(
        &self,
        times: usize,
        state: &mut S,
        step: impl Fn(&mut S),
        mut goes_on: impl FnMut(&S) -> Result<bool>,
    ) -> Result<()> {
        for _ in 0..times {
            step(state);
            if !goes_on(state)? {
                break;
            }
        }
        Ok(())
    }
}

/// Refuses token ids that the embedding does not have, before a machine reads behind its end.
///
/// # Errors
/// The first such id and its place.
pub fn check_ids(ids: &[u32], vocabulary: usize) -> Result<()> {
    for (place, &id) in ids.iter().enumerate() {
        ensure!(
            (id as usize) < vocabulary,
            "token {place} has id {id}, but the checkpoint's vocabulary has {vocabulary} entries: \
             the tokenizer belongs to another checkpoint"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_ids_are_refused() {
        assert!(check_ids(&[0, 159], 160).is_ok());
        let error = check_ids(&[3, 160], 160).unwrap_err().to_string();
        assert!(error.contains("token 1 has id 160"), "{error}");
    }
}
