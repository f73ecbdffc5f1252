//! Every operation of the backend contract once more: its docstring's formula in f64, as plainly as it can be written.

use glimmer::backend::{Direction, Pool};

/// Row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub cols: usize,
    pub data: Vec<f64>,
}

impl Matrix {
    pub fn rows(&self) -> std::slice::Chunks<'_, f64> {
        self.data.chunks(self.cols)
    }

    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..][..self.cols]
    }

    pub fn count(&self) -> usize {
        self.data.len() / self.cols
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { cols: self.cols, data: self.data.iter().map(|&x| f(x)).collect() }
    }

    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let data = self.data.iter().zip(&other.data).map(|(&x, &y)| f(x, y)).collect();
        Self { cols: self.cols, data }
    }

    pub fn gather(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        Self { cols: self.cols, data: rows.into_iter().flat_map(|i| self.row(i)).copied().collect() }
    }
}

pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// The ranges of segments of these lengths.
pub fn ranges(lengths: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut end = 0;
    let range = |&length: &usize| {
        end += length;
        end - length..end
    };
    lengths.iter().map(range).collect()
}

pub fn embed(table: &Matrix, ids: &[u32]) -> Matrix {
    table.gather(ids.iter().map(|&id| id as usize))
}

pub fn rms_norm(x: &Matrix, g: &[f64], eps: f64) -> Matrix {
    let normed = x.rows().flat_map(|x| {
        let r = 1.0 / (dot(x, x) / x.len() as f64 + eps).sqrt();
        x.iter().zip(g).map(move |(x, g)| x * r * g)
    });
    Matrix { cols: x.cols, data: normed.collect() }
}

pub fn linear(x: &Matrix, w: &Matrix) -> Matrix {
    Matrix { cols: w.count(), data: x.rows().flat_map(|x| w.rows().map(|w| dot(x, w))).collect() }
}

pub fn gelu(a: f64) -> f64 {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    0.5 * a * (1.0 + (root * (a + 0.044715 * a.powi(3))).tanh())
}

pub fn geglu(x: &Matrix, w_0: &Matrix, w_1: &Matrix) -> Matrix {
    linear(x, w_0).map(gelu).zip(&linear(x, w_1), |a, b| a * b)
}

pub fn linear_relu(x: &Matrix, w: &Matrix) -> Matrix {
    linear(x, w).map(|a| a.max(0.0))
}

/// T5's bucket: bucket `exact + j` begins at the distance `exact · (max / exact)^(j / (buckets − exact))`.
pub fn bucket(relative: i64, buckets: usize, max_distance: usize, direction: Direction) -> usize {
    let (first, buckets, distance) = match direction {
        Direction::Both if relative > 0 => (buckets / 2, buckets / 2, relative),
        Direction::Both => (0, buckets / 2, -relative),
        Direction::Past => (0, buckets, (-relative).max(0)),
    };
    let exact = buckets / 2;
    if distance < exact as i64 {
        return first + distance as usize;
    }
    let begins = |j: usize| {
        let growth = max_distance as f64 / exact as f64;
        exact as f64 * growth.powf(j as f64 / (buckets - exact) as f64) * (1.0 - 1e-12)
    };
    let far = (0..buckets - exact).rev().find(|&j| begins(j) <= distance as f64);
    first + exact + far.expect("the first far bucket begins where the exact ones end")
}

pub struct Bias<'a> {
    pub table: &'a Matrix,
    pub direction: Direction,
    pub max_distance: usize,
}

pub fn softmax(x: &[f64]) -> Vec<f64> {
    let peak = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = x.iter().map(|x| (x - peak).exp()).collect();
    let mass: f64 = weights.iter().sum();
    weights.iter().map(|w| w / mass).collect()
}

/// `rows` and `cols` are the lengths of the segments of the queries and of the keys.
pub fn attention(
    [q, k, v]: [&Matrix; 3],
    (rows, cols): (&[usize], &[usize]),
    bias: Option<Bias<'_>>,
    heads: usize,
) -> Matrix {
    let e = q.cols / heads;
    let reach = rows.iter().chain(cols).copied().max().unwrap_or(0) as i64;
    let buckets: Vec<usize> = match &bias {
        Some(b) => (-reach..=reach).map(|r| bucket(r, b.table.count(), b.max_distance, b.direction)).collect(),
        None => Vec::new(),
    };
    let mut o = Matrix { cols: q.cols, data: vec![0.0; q.data.len()] };
    for (rows, cols) in ranges(rows).into_iter().zip(ranges(cols)) {
        for (i, row) in rows.enumerate() {
            let seen = match &bias {
                Some(Bias { direction: Direction::Past, .. }) => i + 1,
                _ => cols.len(),
            };
            let keys = cols.clone().take(seen);
            for head in 0..heads {
                let part = head * e..(head + 1) * e;
                let logit = |(t, key): (usize, usize)| {
                    let place = (t as i64 - i as i64 + reach) as usize;
                    let bias = bias.as_ref().map_or(0.0, |b| b.table.row(buckets[place])[head]);
                    dot(&q.row(row)[part.clone()], &k.row(key)[part.clone()]) + bias
                };
                let logits: Vec<f64> = keys.clone().enumerate().map(logit).collect();
                for (p, key) in softmax(&logits).into_iter().zip(keys.clone()) {
                    for c in part.clone() {
                        o.data[row * q.cols + c] += p * v.row(key)[c];
                    }
                }
            }
        }
    }
    o
}

pub fn mean_pool(x: &Matrix, rows: &[usize]) -> Matrix {
    let mean = |rows: std::ops::Range<usize>| {
        let count = rows.len().max(1) as f64;
        (0..x.cols).map(move |c| rows.clone().map(|i| x.row(i)[c]).sum::<f64>() / count)
    };
    Matrix { cols: x.cols, data: ranges(rows).into_iter().flat_map(mean).collect() }
}

pub fn first_rows(x: &Matrix, rows: &[usize]) -> Matrix {
    let zeros = vec![0.0; x.cols];
    let first = |rows: std::ops::Range<usize>| if rows.is_empty() { zeros.clone() } else { x.row(rows.start).to_vec() };
    Matrix { cols: x.cols, data: ranges(rows).into_iter().flat_map(first).collect() }
}

/// `norm` holds the scale and ε.
pub fn score(x: &Matrix, rows: &[usize], weight: &[f64], pool: Pool, norm: Option<(&[f64], f64)>) -> Vec<f64> {
    let pooled = match pool {
        Pool::First => first_rows(x, rows),
        Pool::Mean => mean_pool(x, rows),
    };
    let normed = norm.map(|(g, eps)| rms_norm(&pooled, g, eps)).unwrap_or(pooled);
    normed.rows().map(|row| dot(row, weight)).collect()
}

/// The chosen of each group, by picking the best one that is left again and again.
pub fn top_m(scores: &[f64], groups: &[usize], m: usize) -> Vec<Vec<u32>> {
    let best_of = |group: std::ops::Range<usize>| {
        let mut left: Vec<usize> = group.collect();
        let mut chosen = Vec::new();
        while chosen.len() < m && !left.is_empty() {
            let mut best = 0;
            for (place, &i) in left.iter().enumerate() {
                if scores[i] > scores[left[best]] || (scores[left[best]].is_nan() && !scores[i].is_nan()) {
                    best = place;
                }
            }
            chosen.push(left.remove(best) as u32);
        }
        chosen
    };
    ranges(groups).into_iter().map(best_of).collect()
}

/// Rows of the joined segments, and their lengths.
pub fn join(
    (question, asked): (&Matrix, &[usize]),
    (passage, told): (&Matrix, &[usize]),
    groups: &[usize],
) -> (Matrix, Vec<usize>) {
    let (mut data, mut lengths) = (Vec::new(), Vec::new());
    for (asked, group) in ranges(asked).into_iter().zip(ranges(groups)) {
        for told in ranges(told)[group].iter() {
            data.extend(question.gather(asked.clone()).data);
            data.extend(passage.gather(told.clone()).data);
            lengths.push(asked.len() + told.len());
        }
    }
    (Matrix { cols: question.cols, data }, lengths)
}

pub fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let peak = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mass: f64 = logits.iter().map(|x| (x - peak).exp()).sum();
    logits.iter().map(|x| x - peak - mass.ln()).collect()
}

/// The first of the largest.
pub fn argmax(x: &[f64]) -> usize {
    (0..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best })
}
