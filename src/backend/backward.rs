//! The contract of training: the backward pass of every operation of [`Backend`] that a reader is made of, the
//! losses, and the optimiser.
//!
//! What a gradient does stands in its type. A returned one assigns. `&mut Grad`, a parameter's, accumulates. So does
//! `dx: &mut Mat`, the gradient of the residual stream, to which every block adds its own part.

use super::{AllReduce, Attend, Backend, Dropout, Element, Join, Mat, Member, Scorer, Segments, Selection};

/// The gradient of a parameter, and everything else that training keeps of its shape: a matrix in the machine's
/// widest numbers.
pub struct Grad<B: Backend> {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// `rows · cols` numbers, row-major.
    pub buf: B::Buf<B::Wide>,
}

impl<B: Backend> Grad<B> {
    /// All zero.
    pub fn zeros(be: &B, rows: usize, cols: usize) -> Self {
        Self { rows, cols, buf: be.upload(vec![B::Wide::from_f64(0.0); rows * cols]) }
    }

    /// What a parameter lacks that has just been rounded to the machine's numbers; none where those are the widest.
    pub fn remainder(be: &B, rows: usize, cols: usize) -> Option<Self> {
        (size_of::<B::Elem>() < size_of::<B::Wide>()).then(|| Self::zeros(be, rows, cols))
    }
}

/// What attention keeps for its backward pass besides its operands.
pub struct Attended<B: Backend> {
    /// `[n, h·e]`, the result.
    pub o: Mat<B>,
    /// `[n, h]`, the logarithm of each row's sum of exponentials; −∞ for a row without keys.
    pub log_sum: Grad<B>,
}

/// Gradients of attention's operands.
pub struct AttendGrad<B: Backend> {
    /// `[n, h·e]`.
    pub dq: Mat<B>,
    /// `[n', h·e]`.
    pub dk: Mat<B>,
    /// `[n', h·e]`.
    pub dv: Mat<B>,
}

/// Gradients of the scorer's parameters.
pub struct ScorerGrad<'a, B: Backend> {
    /// `[1, d]`.
    pub weight: &'a mut Grad<B>,
    /// `[1, d]`, where the scorer has a norm.
    pub norm: Option<&'a mut Grad<B>>,
}

/// How the log-probabilities of an answer's tokens become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerLogProb {
    /// Their sum, as the probability of the answer has it.
    #[default]
    Sum,
    /// Their mean, as in Atlas.
    Mean,
}

/// Which of the two distributions over passages the other is fitted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistillDirection {
    /// `KL(p_LM ‖ p_rank)`: the language model teaches the reranker, as in Atlas.
    #[default]
    LmRank,
    /// `KL(p_rank ‖ p_LM)`: the paper's notation read literally.
    RankLm,
}

/// Perplexity distillation (GLIMMER, section 3.2): for each question, the divergence of
/// `p_rank = softmax(score / τ)` and `p_LM = softmax(log p(answer | passage, question) / τ)` over its passages.
pub struct Distill<'a, B: Backend> {
    /// `[s]`.
    pub scores: &'a B::Buf<B::Wide>,
    /// `[n]`, of every token of the answer, the answer once for each passage.
    pub log_probs: &'a B::Buf<B::Wide>,
    /// The `s` segments of those tokens.
    pub answers: &'a Segments<B>,
    /// Which passages belong to which question.
    pub groups: &'a Segments<B>,
    /// τ.
    pub temperature: f64,
    /// Which distribution is fitted to which.
    pub direction: DistillDirection,
    /// How tokens make an answer.
    pub answer: AnswerLogProb,
    /// What the gradient is multiplied by; the losses are not.
    pub scale: f64,
}

/// Second moments of a parameter's gradient, as Adafactor keeps them (Shazeer and Stern, arXiv 1804.04235).
pub enum Moments<B: Backend> {
    /// A matrix as the means of its rows, `[1, rows]`, and of its columns, `[1, cols]`.
    Factored {
        /// Over each row.
        row: Grad<B>,
        /// Over each column.
        col: Grad<B>,
    },
    /// Every element.
    Whole(Grad<B>),
}

/// What Adafactor keeps of one parameter.
pub struct AdafactorState<B: Backend> {
    /// Of its gradient.
    pub moments: Moments<B>,
    /// What the parameter lacks of its value, see [`Grad::remainder`]: steps may be too small for the machine's numbers. The
    /// sum of both, which is exact, is what is trained, and the parameter is that sum, rounded.
    pub remainder: Option<Grad<B>>,
}

/// One step of Adafactor with the semantics of T5X, for one parameter:
///
/// `g ← scale·g`; factored: `r ← β·r + (1−β)·rowmean(g² + 10⁻³⁰)`, `c` likewise by columns,
/// `u = g / √(r/mean(r)) / √c`; otherwise `v ← β·v + (1−β)·(g² + 10⁻³⁰)`, `u = g / √v`;
/// `u ← u / max(1, RMS(u))`; `w ← w − lr·max(RMS(w), 10⁻³)·u`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdafactorStep {
    /// `lr`.
    pub learning_rate: f64,
    /// `β`; 0 in the first step.
    pub decay: f64,
    /// What the gradient is multiplied by first.
    pub scale: f64,
}

/// A machine that can train.
pub trait Backward: Backend {
    /// Whether passes of several threads at once are a gain where each is too small to use all of the machine, and find
    /// the same as one after another.
    const SIDE_BY_SIDE: bool;

    /// A matrix of zeros.
    fn zeros(&self, rows: usize, cols: usize) -> Mat<Self>;

    /// A copy.
    fn copy(&self, x: &Mat<Self>) -> Mat<Self>;

    /// `y += x`. Both `[n, d]`.
    fn add(&self, x: &Mat<Self>, y: &mut Mat<Self>);

    /// Sets all of `grad` to 0.
    fn clear(&self, grad: &mut Grad<Self>);

    /// `x = mask ⊙ x · scale`, see [`Dropout`]; its own backward pass.
    fn dropout(&self, x: &mut Mat<Self>, mask: &Dropout);

    /// `dtable[ids[i]] += dy[i]`. `dy [n, d]`, `ids [n]`, `dtable [v, d]`.
    fn embed_bwd(&self, dy: &Mat<Self>, ids: &Self::Buf<u32>, dtable: &mut Grad<Self>);

    /// Of `y = rms_norm(x, g, ε)`, whose operands `normed` is, `y = x·r ⊙ g` with `r = rsqrt(mean(x²) + ε)`: `dg += Σ dy ⊙ x·r`,
    /// `dx += r·(dy ⊙ g) − x·r³·⟨dy ⊙ g, x⟩/d`. `dy, x, dx [n, d]`, `g, dg [1, d]`.
    fn rms_norm_bwd(
        &self,
        dy: &Mat<Self>,
        normed: (&Mat<Self>, &Mat<Self>, f64),
        dg: &mut Grad<Self>,
        dx: &mut Mat<Self>,
    );

    /// Of `y = x·Wᵀ`: `dw += dyᵀ·x`, and `dx = dy·W` is returned. `dy [n, o]`, `x [n, i]`, `w, dw [o, i]`.
    fn linear_bwd(&self, dy: &Mat<Self>, x: &Mat<Self>, w: &Mat<Self>, dw: &mut Grad<Self>) -> Mat<Self>;

    /// `h = gelu(a) ⊙ b`, the middle of [`geglu`](Backend::geglu) by itself, where `a` and `b` are kept. All `[n, f]`.
    fn gate(&self, a: &Mat<Self>, b: &Mat<Self>) -> Mat<Self>;

    /// Of [`gate`](Self::gate): `da = dh ⊙ b ⊙ gelu′(a)`, `db = dh ⊙ gelu(a)`. All `[n, f]`.
    fn gate_bwd(&self, dh: &Mat<Self>, a: &Mat<Self>, b: &Mat<Self>) -> (Mat<Self>, Mat<Self>);

    /// [`attention`](Backend::attention), with what its backward pass needs.
    fn attention_saved(&self, a: Attend<'_, Self>) -> Attended<Self>;

    /// Of attention. With the weights `p` drawn again from `log_sum`, the mask `z` of [`Attend::dropout`] times its
    /// scale, and `δ_i = ⟨do_i, o_i⟩`, for each head: `dv_t = Σ_i z_it·p_it·do_i`,
    /// `ds_it = p_it·(z_it·⟨do_i, v_t⟩ − δ_i)`, `dq_i = Σ_t ds_it·k_t`, `dk_t = Σ_i ds_it·q_i`,
    /// `dtable[bucket(t − i)] += ds_it`. `dtable` is given where `a.bias` is.
    fn attention_bwd(
        &self,
        a: Attend<'_, Self>,
        saved: &Attended<Self>,
        d_o: &Mat<Self>,
        dtable: Option<&mut Grad<Self>>,
    ) -> AttendGrad<Self>;

    /// Of [`score`](Backend::score): the gradients of the scorer, and `dx +=` of the rows scored.
    /// `ds [s]`; `scored` is `score`'s operands, `x, dx [n, d]`.
    fn score_bwd(
        &self,
        ds: &Self::Buf<Self::Wide>,
        scored: (&Mat<Self>, &Segments<Self>, Scorer<'_, Self>),
        dscorer: ScorerGrad<'_, Self>,
        dx: &mut Mat<Self>,
    );

    /// Of [`gather`](Backend::gather): adds `dy` to the rows of `dx` that it was gathered from. A selection names no
    /// segment twice.
    fn gather_bwd(&self, dy: &Mat<Self>, rows: &Segments<Self>, chosen: &Selection<Self>, dx: &mut Mat<Self>);

    /// Of [`join`](Backend::join): the gradients of the questions, each the sum over its passages, and of the
    /// passages.
    fn join_bwd(&self, dy: &Mat<Self>, j: &Join<'_, Self>) -> (Mat<Self>, Mat<Self>);

    /// The log-probability of each row's target, `log softmax(logits_i)[target_i]`, and the gradient of
    /// `−scale · Σ_i` of them, which takes the place of the logits: `scale · (softmax(logits_i) − onehot(target_i))`.
    /// `logits [n, v]`, `target [n]`.
    fn cross_entropy(
        &self,
        logits: Mat<Self>,
        target: &Self::Buf<u32>,
        scale: f64,
    ) -> (Self::Buf<Self::Wide>, Mat<Self>);

    /// Each question's divergence, and the gradient of `scale · Σ` of them with respect to the scores, `[s]`:
    /// `(p_rank − p_LM)/τ` for [`DistillDirection::LmRank`], and
    /// `p_rank ⊙ (log(p_rank/p_LM) − KL)/τ` for [`DistillDirection::RankLm`].
    fn distill(&self, d: Distill<'_, Self>) -> (Self::Buf<Self::Wide>, Self::Buf<Self::Wide>);

    /// `Σ g²` over all of these gradients, in 64 bits. The host waits for it, once.
    ///
    /// # Errors
    /// The first failure on the machine since the last download.
    fn square_sum(&self, grads: &[&Grad<Self>]) -> anyhow::Result<f64>;

    /// See [`AdafactorStep`]. `w`, `grad` and the state are of one shape.
    fn adafactor(&self, w: &mut Mat<Self>, grad: &Grad<Self>, state: &mut AdafactorState<Self>, step: AdafactorStep);

    /// Joins this machine with those of the other processes, to add up gradients without the hosts; none of a machine
    /// that has no way to.
    ///
    /// # Errors
    /// Why it cannot be joined, though it has.
    fn all_reduce(&self, _member: Member<'_>) -> anyhow::Result<Option<Box<dyn AllReduce<Self>>>> {
        Ok(None)
    }
}
