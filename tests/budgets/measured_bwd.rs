//! Operations of training at T5's shapes, run and counted.

use glimmer::backend::{
    AdafactorState, AdafactorStep, AnswerLogProb, Attend, Backend, Backward, Bias, Direction, Distill,
    DistillDirection, Grad, Join, Moments, Noise, Pool, Scorer, ScorerGrad, Segments, Selection,
};

use crate::cost::Cost;
use crate::measured::{BUCKETS, MAX_DISTANCE, Measured, VOCABULARY, WIDTH};

/// A wide number, in bf16's.
const WIDE: usize = 2;

impl Measured<'_> {
    /// Both gradients of a product; that of the weights is added to what is there.
    pub fn linear_bwd(&self, n: usize, outputs: usize, inputs: usize) -> Cost {
        let (dy, x, w) = (self.zeros(n, outputs), self.zeros(n, inputs), self.zeros(outputs, inputs));
        let mut dw = Grad::zeros(&self.counted.be, outputs, inputs);
        let numbers = n * outputs + 2 * n * inputs + outputs * inputs * (1 + 2 * WIDE);
        let shape = format!("[{n}, {inputs}] → {outputs}");
        self.cost("linear_bwd", shape, (2 * n * outputs * inputs, numbers), |be| be.linear_bwd(&dy, &x, &w, &mut dw))
    }

    /// Of so many segments of queries and of keys; without a bias, cross-attention.
    pub fn attention_bwd(&self, segments: usize, (rows, keys): (usize, usize), direction: Option<Direction>) -> Cost {
        let (heads, inner, be) = (self.size.heads, self.size.heads * WIDTH, &self.counted.be);
        let (n, m) = (segments * rows, segments * keys);
        let [q, d_o] = [(); 2].map(|()| self.zeros(n, inner));
        let [k, v] = [(); 2].map(|()| self.zeros(m, inner));
        let table = &self.zeros(BUCKETS, heads);
        let (rows_of, cols_of) = (&Segments::equal(be, segments, rows), &Segments::equal(be, segments, keys));
        let (q, k, v) = (&q, &k, &v);
        let bias = || direction.map(|direction| Bias { table, direction, max_distance: MAX_DISTANCE });
        let attend = || Attend { q, k, v, rows: rows_of, cols: cols_of, bias: bias(), heads, dropout: None };
        let saved = be.attention_saved(attend());
        let mut dtable = direction.map(|_| Grad::zeros(be, BUCKETS, heads));
        let shape = format!("{segments} × {rows} to {keys}, {heads} heads");
        // Scores and their gradients, and what is made of them: five products.
        let sizes = (5 * n * keys * inner, 4 * (n + m) * inner);
        self.cost("attention_bwd", shape, sizes, |be| be.attention_bwd(attend(), &saved, &d_o, dtable.as_mut()))
    }

    pub fn cross_entropy(&self, n: usize) -> Cost {
        let (logits, target) = (self.zeros(n, VOCABULARY), self.counted.be.upload(vec![7; n]));
        let shape = format!("[{n}, {VOCABULARY}]");
        self.cost("cross_entropy", shape, (0, 2 * n * VOCABULARY), |be| be.cross_entropy(logits, &target, 1.0))
    }

    pub fn distill(&self, passages: usize, answer: usize) -> Cost {
        let be = &self.counted.be;
        let (scores, log_probs) = (be.upload(vec![0.5; passages]), be.upload(vec![-1.0; passages * answer]));
        let (answers, groups) = (Segments::equal(be, passages, answer), Segments::packed(be, [passages]));
        let distill = Distill {
            scores: &scores,
            log_probs: &log_probs,
            answers: &answers,
            groups: &groups,
            temperature: 1.0,
            direction: DistillDirection::LmRank,
            answer: AnswerLogProb::Sum,
            scale: 1.0,
        };
        let numbers = WIDE * passages * (answer + 3);
        self.cost("distill", format!("{passages} × {answer}"), (0, numbers), |be| be.distill(distill))
    }

    /// What goes over rows once.
    pub fn rows_bwd(&self, segments: usize, tokens: usize) -> Vec<Cost> {
        let (d, n, be) = (self.size.d, segments * tokens, &self.counted.be);
        let [x, dy, mut dx] = [(); 3].map(|()| self.zeros(n, d));
        let (g, mut dg) = (self.zeros(1, d), Grad::zeros(be, 1, d));
        let shape = || format!("[{n}, {d}]");
        let norm = self.cost("rms_norm_bwd", shape(), (0, 4 * n * d), |be| {
            be.rms_norm_bwd(&dy, (&x, &g, 1e-6), &mut dg, &mut dx);
        });
        let mask = Noise::new(0.1, 1).draw().expect("there is a rate");
        let dropout = self.cost("dropout", shape(), (0, 2 * n * d), |be| be.dropout(&mut dx, &mask));
        let add = self.cost("add", shape(), (0, 3 * n * d), |be| be.add(&dy, &mut dx));
        let [a, b, dh] = [(); 3].map(|()| self.zeros(n, self.size.f));
        let wide = || format!("[{n}, {}]", self.size.f);
        let gate = self.cost("gate", wide(), (0, 3 * n * self.size.f), |be| be.gate(&a, &b));
        let gate_bwd = self.cost("gate_bwd", wide(), (0, 5 * n * self.size.f), |be| be.gate_bwd(&dh, &a, &b));
        vec![norm, dropout, add, gate, gate_bwd]
    }

    /// Back through the choice: gathering, scores, joining.
    pub fn choice_bwd(&self, asked: usize, (passages, told): (usize, usize), kept: usize) -> Vec<Cost> {
        let (d, be, tokens) = (self.size.d, &self.counted.be, asked + told);
        let [x, mut dx] = [(); 2].map(|()| self.zeros(passages * tokens, d));
        let rows = Segments::equal(be, passages, tokens);
        let chosen = Selection { index: be.upload((0..kept as u32).collect()), groups: Segments::packed(be, [kept]) };
        let dy = self.zeros(kept * tokens, d);
        let shape = format!("{kept} × {tokens} rows of {d}");
        let gather = self
            .cost("gather_bwd", shape, (0, 3 * kept * tokens * d), |be| be.gather_bwd(&dy, &rows, &chosen, &mut dx));
        let (weight, ds) = (self.zeros(1, d), be.upload(vec![0.1; passages]));
        let [mut dweight, mut dnorm] = [(); 2].map(|()| Grad::zeros(be, 1, d));
        let shape = format!("{passages} × {tokens} rows of {d}");
        let score = self.cost("score_bwd", shape, (0, 3 * passages * tokens * d), |be| {
            let scorer = Scorer { weight: &weight, norm: Some(&weight), prior: None, pool: Pool::Mean, eps: 1e-6 };
            let dscorer = ScorerGrad { weight: &mut dweight, norm: Some(&mut dnorm) };
            be.score_bwd(&ds, (&x, &rows, scorer), dscorer, &mut dx);
        });
        let (question, passage) = (&self.zeros(asked, d), &self.zeros(passages * told, d));
        let (question_rows, passage_rows) = (&Segments::equal(be, 1, asked), &Segments::equal(be, passages, told));
        let groups = &Segments::packed(be, [passages]);
        let join = Join { question, question_rows, passage, passage_rows, groups };
        let numbers = (asked + passages * told + passages * tokens) * d;
        let shape = format!("{asked} + {passages} × {told} rows of {d}");
        vec![gather, score, self.cost("join_bwd", shape, (0, numbers), |be| be.join_bwd(&x, &join))]
    }

    /// Tokens that are all different, as few of a text are.
    pub fn embed_bwd(&self, n: usize) -> Cost {
        let (d, be) = (self.size.d, &self.counted.be);
        let (dy, ids) = (self.zeros(n, d), be.upload((0..n as u32).collect()));
        let mut table = Grad::zeros(be, n, d);
        let numbers = n * d * (1 + 2 * WIDE);
        self.cost("embed_bwd", format!("[{n}, {d}]"), (0, numbers), |be| be.embed_bwd(&dy, &ids, &mut table))
    }

    /// The gradient's size, and a step, of a matrix and of a norm's scale.
    pub fn optimiser(&self) -> Vec<Cost> {
        let (be, rows, cols) = (&self.counted.be, self.size.f, self.size.d);
        let grad = Grad::zeros(be, rows, cols);
        let size =
            self.cost("square_sum", format!("[{rows}, {cols}]"), (0, WIDE * rows * cols), |be| be.square_sum(&[&grad]));
        let factored = Moments::Factored { row: Grad::zeros(be, 1, rows), col: Grad::zeros(be, 1, cols) };
        let whole = Moments::Whole(Grad::zeros(be, 1, cols));
        // The gradient is read, and weight, remainder and, where it is whole, the moment are read and written.
        let of_whole = WIDE + 2 * (1 + WIDE) + 2 * WIDE;
        let factored = self.adafactor("adafactor, factored", (rows, cols), factored, WIDE + 2 * (1 + WIDE));
        vec![size, factored, self.adafactor("adafactor, whole", (1, cols), whole, of_whole)]
    }

    fn adafactor(
        &self,
        operation: &'static str,
        (rows, cols): (usize, usize),
        moments: Moments<glimmer::cuda::Cuda<half::bf16>>,
        numbers: usize,
    ) -> Cost {
        let (be, mut w) = (&self.counted.be, self.zeros(rows, cols));
        let grad = Grad::zeros(be, rows, cols);
        let mut state = AdafactorState { moments, remainder: Grad::remainder(be, rows, cols) };
        let step = AdafactorStep { learning_rate: 1e-3, decay: 0.5, scale: 1.0 };
        let shape = format!("[{rows}, {cols}]");
        self.cost(operation, shape, (0, rows * cols * numbers), |be| be.adafactor(&mut w, &grad, &mut state, step))
    }
}
