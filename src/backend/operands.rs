//! What operations are given, and give, beside matrices and segments.

use half::bf16;

use super::{Backend, Bias, Dropout, Element, Mat, Segments};

/// Attention of packed rows over packed keys: for head `j` of row `i` in segment `r`,
/// `o_ij = Σ_t softmax_t(⟨q_ij, k_tj⟩ + bias) · v_tj` over the keys `t` of segment `r`. No `1/√e`: T5.
///
/// A segment without keys gives zeros.
pub struct Attend<'a, B: Backend> {
    /// `[n, h·e]`.
    pub q: &'a Mat<B>,
    /// `[n', h·e]`.
    pub k: &'a Mat<B>,
    /// `[n', h·e]`.
    pub v: &'a Mat<B>,
    /// Segments of the queries.
    pub rows: &'a Segments<B>,
    /// Segments of the keys, as many as of the queries.
    pub cols: &'a Segments<B>,
    /// None for cross-attention.
    pub bias: Option<Bias<'a, B>>,
    /// `h`.
    pub heads: usize,
    /// Of the weights, after the softmax; training only.
    pub dropout: Option<Dropout>,
}

impl<B: Backend> Attend<'_, B> {
    /// Asserts that the shapes agree.
    pub fn check(&self) {
        let width = self.q.cols;
        assert!(self.k.cols == width && self.v.cols == width, "attention: q, k and v differ in width");
        assert_eq!(self.k.rows, self.v.rows, "attention: k and v differ in rows");
        assert_eq!(width % self.heads, 0, "attention: {width} columns among {} heads", self.heads);
        assert_eq!(self.rows.count, self.cols.count, "attention: segments of rows and keys");
        assert!(self.rows.capacity <= self.q.rows && self.cols.capacity <= self.k.rows);
        if let Some(bias) = &self.bias {
            assert_eq!(bias.table.cols, self.heads, "attention: bias table for another number of heads");
        }
    }
}

/// Keys and values of the tokens decoded so far, `capacity` rows for each of `batch` sequences.
pub struct Cache<B: Backend> {
    /// `[batch · capacity, h·e]`; sequence `b` owns rows `b·capacity ..`.
    pub k: Mat<B>,
    /// As `k`.
    pub v: Mat<B>,
    /// Tokens that each sequence may hold.
    pub capacity: usize,
    /// Tokens that each sequence holds, `[1]`. The machine counts them.
    pub len: B::Buf<u32>,
}

/// How a segment becomes one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Its first token.
    First,
    /// The mean of its tokens.
    Mean,
}

/// The late-interaction scorer: `⟨pool(x), w⟩`, or `⟨RMSNorm(pool(x)), w⟩` where `norm` is given; of a segment without
/// rows 0. To it comes the segment's `prior`.
pub struct Scorer<'a, B: Backend> {
    /// `[1, d]`.
    pub weight: &'a Mat<B>,
    /// `[1, d]`, the scale of the norm.
    pub norm: Option<&'a Mat<B>>,
    /// `[segments]`, what is known of each before it is looked at; nothing unless given.
    pub prior: Option<&'a B::Buf<B::Wide>>,
    /// How a segment becomes one row.
    pub pool: Pool,
    /// Of the norm.
    pub eps: f64,
}

/// Segments chosen within each group, best first.
pub struct Selection<B: Backend> {
    /// Numbers of the chosen segments, group by group.
    pub index: B::Buf<u32>,
    /// Which of the chosen belong to which group.
    pub groups: Segments<B>,
}

impl<B: Backend> Selection<B> {
    /// All of `count` segments, in order, as one group.
    pub fn all(be: &B, count: usize) -> Self {
        Self { index: be.upload((0..count as u32).collect()), groups: Segments::packed(be, [count]) }
    }
}

/// Where a question's passages are: what [`Backend::join`] puts one behind the other.
pub struct Join<'a, B: Backend> {
    /// `[n, d]`, encoded questions.
    pub question: &'a Mat<B>,
    /// One segment a question.
    pub question_rows: &'a Segments<B>,
    /// `[n', d]`, encoded passages.
    pub passage: &'a Mat<B>,
    /// One segment a passage.
    pub passage_rows: &'a Segments<B>,
    /// Question `b` owns the passages `groups[b]`.
    pub groups: &'a Segments<B>,
}

/// Token rows as the memory store keeps them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored<'a> {
    /// `n · d` values.
    Bf16(&'a [bf16]),
    /// `n · d` values and a scale for each of the `n` rows.
    Int8 {
        /// The quantised values, in `-127..=127`.
        values: &'a [i8],
        /// What a value of 1 stands for, row by row.
        scales: &'a [f32],
    },
}

impl Stored<'_> {
    /// Values, `n · d`.
    pub fn values(&self) -> usize {
        match self {
            Self::Bf16(values) => values.len(),
            Self::Int8 { values, .. } => values.len(),
        }
    }
}

/// A matrix that is normed on its way into products, as [`Backend::rms_norm`] does it: nobody else has a use for what
/// comes of it.
pub struct Normed<'a, B: Backend> {
    /// `[n, d]`.
    pub x: &'a Mat<B>,
    /// `[1, d]`.
    pub g: &'a Mat<B>,
    /// `ε`.
    pub eps: f64,
}

impl<B: Backend> Clone for Normed<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Normed<'_, B> {}

/// The newest token of a sequence, as attention sees it.
pub struct Newest<'a, B: Backend> {
    /// `[batch, h·e]`.
    pub q: &'a Mat<B>,
    /// As `q`.
    pub k: &'a Mat<B>,
    /// As `q`.
    pub v: &'a Mat<B>,
}

/// The most likely next token of each row, in the place where the next step of decoding reads it.
pub struct Prediction<B: Backend> {
    /// `[n]` vocabulary ids; among equals the lowest.
    pub token: B::Buf<u32>,
    /// `[n]` natural logarithms of their probabilities.
    pub log_prob: B::Buf<B::Wide>,
}

impl<B: Backend> Prediction<B> {
    /// These tokens, as certain ones.
    pub fn certain(be: &B, tokens: Vec<u32>) -> Self {
        let log_prob = be.upload(vec![B::Wide::from_f64(0.0); tokens.len()]);
        Self { token: be.upload(tokens), log_prob }
    }
}
