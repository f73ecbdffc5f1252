//! Operations at T5's shapes, run and counted.

use glimmer::backend::{
    Attend, Backend, Bias, Cache, Direction, Join, Mat, Newest, Normed, Pool, Prediction, Scorer, Segments, Selection,
    Stored,
};
use glimmer::cuda::Cuda;
use half::bf16;

use crate::Counted;
use crate::cost::Cost;

/// A T5.1.1.
#[derive(Clone, Copy)]
pub struct Size {
    pub name: &'static str,
    pub d: usize,
    pub heads: usize,
    pub f: usize,
}

/// Width of a head.
pub const WIDTH: usize = 64;
pub const BUCKETS: usize = 32;
pub const MAX_DISTANCE: usize = 128;
pub const VOCABULARY: usize = 32128;

/// Bytes of a number.
const BYTES: usize = 2;

/// A machine, and a T5 to work for.
pub struct Measured<'a> {
    pub counted: &'a Counted<bf16>,
    pub size: Size,
}

impl Measured<'_> {
    pub fn zeros(&self, rows: usize, cols: usize) -> Mat<Cuda<bf16>> {
        Mat::upload(&self.counted.be, rows, cols, vec![bf16::ZERO; rows * cols])
    }

    /// A cost of `numbers` that are read or written, and `useful` multiply-adds.
    pub fn cost<R>(
        &self,
        operation: &'static str,
        shape: String,
        (useful, numbers): (usize, usize),
        run: impl FnOnce(&Cuda<bf16>) -> R,
    ) -> Cost {
        let launches = self.counted.count(run);
        let least = (numbers * BYTES) as f64;
        Cost { operation, shape, useful: useful as f64, on_tensor_cores: true, least, launches }
    }

    pub fn rms_norm(&self, n: usize) -> Cost {
        let d = self.size.d;
        let (x, scale) = (self.zeros(n, d), self.zeros(1, d));
        self.cost("rms_norm", format!("[{n}, {d}]"), (0, (2 * n + 1) * d), |be| be.rms_norm(&x, &scale, 1e-6))
    }

    pub fn linears<const N: usize>(&self, operation: &'static str, n: usize) -> Cost {
        let (d, inner) = (self.size.d, self.size.heads * WIDTH);
        let (x, w) = (self.zeros(n, d), self.zeros(inner, d));
        let numbers = n * d + N * inner * (d + n);
        let shape = format!("[{n}, {d}] → {N} × {inner}");
        self.cost(operation, shape, (N * n * d * inner, numbers), |be| be.linears(&x, [&w; N]))
    }

    /// As [`linears`](Self::linears), of rows that are normed on their way.
    fn normed_linears<const N: usize>(&self, operation: &'static str, n: usize) -> Cost {
        let (d, inner) = (self.size.d, self.size.heads * WIDTH);
        let (x, g, w) = (self.zeros(n, d), self.zeros(1, d), self.zeros(inner, d));
        let normed = Normed { x: &x, g: &g, eps: 1e-6 };
        let numbers = (n + 1) * d + N * inner * (d + n);
        let shape = format!("[{n}, {d}] → {N} × {inner}");
        self.cost(operation, shape, (N * n * d * inner, numbers), |be| be.normed_linears(normed, [&w; N]))
    }

    pub fn linear_add(&self, n: usize, inner: usize) -> Cost {
        let d = self.size.d;
        let (x, w, mut y) = (self.zeros(n, inner), self.zeros(d, inner), self.zeros(n, d));
        let numbers = n * inner + inner * d + 2 * n * d;
        let shape = format!("[{n}, {inner}] → {d}");
        self.cost("linear_add", shape, (n * inner * d, numbers), |be| be.linear_add(&x, &w, &mut y))
    }

    pub fn geglu(&self, n: usize) -> Cost {
        let Size { d, f, .. } = self.size;
        // A warp may read rows of both weights at once, so that they have to be two.
        let (x, w_0, w_1) = (self.zeros(n, d), self.zeros(f, d), self.zeros(f, d));
        let shape = format!("[{n}, {d}] → 2 × {f}");
        self.cost("geglu", shape, (2 * n * d * f, n * d + 2 * f * d + n * f), |be| be.geglu(&x, &w_0, &w_1))
    }

    fn normed_geglu(&self, n: usize) -> Cost {
        let Size { d, f, .. } = self.size;
        let (x, g, w_0, w_1) = (self.zeros(n, d), self.zeros(1, d), self.zeros(f, d), self.zeros(f, d));
        let normed = Normed { x: &x, g: &g, eps: 1e-6 };
        let (shape, numbers) = (format!("[{n}, {d}] → 2 × {f}"), (n + 1) * d + 2 * f * d + n * f);
        self.cost("normed geglu", shape, (2 * n * d * f, numbers), |be| be.normed_geglu(normed, &w_0, &w_1))
    }

    pub fn attention(&self, segments: usize, tokens: usize) -> Cost {
        let (heads, inner, n) = (self.size.heads, self.size.heads * WIDTH, segments * tokens);
        let (q, table) = (&self.zeros(n, inner), &self.zeros(BUCKETS, heads));
        let rows = &Segments::equal(&self.counted.be, segments, tokens);
        let bias = Some(Bias { table, direction: Direction::Both, max_distance: MAX_DISTANCE });
        let shape = format!("{segments} × {tokens} tokens, {heads} heads");
        let sizes = (2 * n * tokens * inner, 4 * n * inner);
        let attend = Attend { q, k: q, v: q, rows, cols: rows, bias, heads, dropout: None };
        self.cost("attention", shape, sizes, |be| be.attention(attend))
    }

    /// The kernels that an encoder's layer launches.
    pub fn encoder_layer(&self, segments: usize, tokens: usize) -> Vec<Cost> {
        let n = segments * tokens;
        vec![
            self.rms_norm(n),
            self.linears::<3>("linears q, k, v", n),
            self.attention(segments, tokens),
            self.linear_add(n, self.size.heads * WIDTH),
            self.rms_norm(n),
            self.geglu(n),
            self.linear_add(n, self.size.f),
        ]
    }

    fn newest(&self, len: usize) -> Cost {
        let (heads, inner, be) = (self.size.heads, self.size.heads * WIDTH, &self.counted.be);
        let (q, table) = (self.zeros(1, inner), &self.zeros(BUCKETS, heads));
        let (k, v) = (self.zeros(len, inner), self.zeros(len, inner));
        let mut cache = Cache { k, v, capacity: len, len: be.upload(vec![len as u32 - 1]) };
        let newest = Newest { q: &q, k: &q, v: &q };
        let bias = Bias { table, direction: Direction::Past, max_distance: MAX_DISTANCE };
        let shape = format!("{len} keys, {heads} heads");
        // The newest key and value are read from where they are, and written to the cache.
        let sizes = (2 * len * inner, (2 * len + 4) * inner);
        let cost =
            self.cost("attention to the cache", shape, sizes, |be| be.decode_attention(newest, &mut cache, bias));
        Cost { on_tensor_cores: false, ..cost }
    }

    fn cross(&self, keys: usize) -> Cost {
        let (heads, inner, be) = (self.size.heads, self.size.heads * WIDTH, &self.counted.be);
        let (q, k) = (&self.zeros(1, inner), &self.zeros(keys, inner));
        let (rows, cols) = (&Segments::equal(be, 1, 1), &Segments::equal(be, 1, keys));
        let attend = Attend { q, k, v: k, rows, cols, bias: None, heads, dropout: None };
        let shape = format!("{keys} keys, {heads} heads");
        let sizes = (2 * keys * inner, (2 * keys + 2) * inner);
        let cost = self.cost("attention to what was read", shape, sizes, |be| be.attention(attend));
        Cost { on_tensor_cores: false, ..cost }
    }

    /// The kernels that a decoder's layer launches for one token, the `len`-th of an answer.
    pub fn decoder_layer(&self, len: usize, keys: usize) -> Vec<Cost> {
        let inner = self.size.heads * WIDTH;
        vec![
            self.normed_linears::<3>("normed linears q, k, v", 1),
            self.newest(len),
            self.linear_add(1, inner),
            self.normed_linears::<1>("normed linear q", 1),
            self.cross(keys),
            self.linear_add(1, inner),
            self.normed_geglu(1),
            self.linear_add(1, self.size.f),
        ]
    }

    pub fn predict(&self, n: usize) -> Cost {
        let d = self.size.d;
        let (x, head) = (self.zeros(n, d), self.zeros(VOCABULARY, d));
        let mut next = Prediction::certain(&self.counted.be, vec![0; n]);
        let shape = format!("[{n}, {d}] → {VOCABULARY}");
        let sizes = (n * d * VOCABULARY, n * d + d * VOCABULARY + 4 * n);
        self.cost("predict", shape, sizes, |be| be.predict(&x, &head, &mut next))
    }

    pub fn embed(&self, n: usize) -> Cost {
        let d = self.size.d;
        let (table, ids) = (self.zeros(100, d), self.counted.be.upload(vec![7; n]));
        // A row of the table for each token, and two halves of its number.
        self.cost("embed", format!("[{n}, {d}]"), (0, 2 * n * d + 2 * n), |be| be.embed(&table, &ids))
    }

    pub fn join(&self, asked: usize, passages: usize, told: usize) -> Cost {
        let (d, be) = (self.size.d, &self.counted.be);
        let (question, passage) = (&self.zeros(asked, d), &self.zeros(passages * told, d));
        let (question_rows, passage_rows) = (&Segments::equal(be, 1, asked), &Segments::equal(be, passages, told));
        let groups = &Segments::packed(be, [passages]);
        let shape = format!("{asked} + {passages} × {told} rows of {d}");
        let numbers = (asked + passages * told + passages * (asked + told)) * d;
        let join = Join { question, question_rows, passage, passage_rows, groups };
        self.cost("join", shape, (0, numbers), |be| be.join(join))
    }

    pub fn dequantise(&self, passages: usize, told: usize) -> Cost {
        let d = self.size.d;
        let values = vec![bf16::ZERO; told * d];
        let stored = vec![Stored::Bf16(&values); passages];
        let shape = format!("{passages} × {told} rows of {d}, bf16");
        self.cost("dequantise", shape, (0, 2 * passages * told * d), |be| be.dequantise(d, &stored))
    }

    /// Score of the mean, choice of five, gathering of what was chosen.
    pub fn choice(&self, passages: usize, tokens: usize, kept: usize) -> Vec<Cost> {
        let (d, be) = (self.size.d, &self.counted.be);
        let (x, weight) = (self.zeros(passages * tokens, d), self.zeros(1, d));
        let rows = Segments::equal(be, passages, tokens);
        let scorer = Scorer { weight: &weight, norm: Some(&weight), prior: None, pool: Pool::Mean, eps: 1e-6 };
        let shape = format!("{passages} × {tokens} rows of {d}");
        let score = self.cost("score", shape, (0, (passages * tokens + 2) * d), |be| be.score(&x, &rows, scorer));
        let (scores, groups) = (be.upload(vec![0.0; passages]), Segments::packed(be, [passages]));
        let choice = format!("{kept} of {passages}");
        let top_m = self.cost("top_m", choice, (0, 2 * (passages + kept)), |be| be.top_m(&scores, &groups, kept));
        let chosen = Selection { index: be.upload((0..kept as u32).collect()), groups: Segments::packed(be, [kept]) };
        let shape = format!("{kept} × {tokens} rows of {d}");
        let gather = self.cost("gather", shape, (0, 2 * kept * tokens * d), |be| be.gather(&x, &rows, &chosen));
        let merge = self.cost("merge", format!("{kept} segments"), (0, 2 * kept), |be| be.merge(&rows, &groups));
        vec![score, top_m, gather, merge]
    }
}
