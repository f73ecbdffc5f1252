//! Gradients in f64, as plainly as they can be written: slopes by differences, and attention's by its formulas where
//! there are too many numbers to take differences of.

use glimmer::backend::{Direction, Dropout};

use super::naive::{Bias, Matrix, bucket, dot, ranges, softmax};

/// What the error of [`slopes`] may be, relative to their size.
pub const SLOPE_ERROR: f64 = 1e-9;

/// The slope of `f` along each of `x`'s numbers, which are of the size of 1: four-point central differences, whose error
/// is the fourth power of the step or 2⁻⁵² over it, about 1e-12 both.
pub fn slopes(x: &Matrix, f: impl Fn(&Matrix) -> f64) -> Matrix {
    const STEP: f64 = 1e-3;
    let slope = |i: usize| {
        let at = |steps: f64| {
            let mut moved = x.clone();
            moved.data[i] += steps * STEP;
            f(&moved)
        };
        (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * STEP)
    };
    Matrix { cols: x.cols, data: (0..x.data.len()).map(slope).collect() }
}

/// `x + y`.
pub fn sum(x: &Matrix, y: &Matrix) -> Matrix {
    x.zip(y, |x, y| x + y)
}

pub fn transposed(x: &Matrix) -> Matrix {
    let data = (0..x.cols).flat_map(|c| x.rows().map(move |row| row[c])).collect();
    Matrix { cols: x.count(), data }
}

/// Attention with its mask, over segments of these lengths.
pub struct Attend<'a> {
    pub q: &'a Matrix,
    pub k: &'a Matrix,
    pub v: &'a Matrix,
    pub rows: &'a [usize],
    pub cols: &'a [usize],
    pub bias: Option<Bias<'a>>,
    pub heads: usize,
    pub dropout: Option<Dropout>,
}

/// One row of one head: its logits over its keys, and what the mask multiplies each weight by.
pub struct Row {
    pub head: usize,
    pub row: usize,
    /// Its place in the segment.
    pub position: usize,
    /// The first key of the segment.
    pub first: usize,
    pub logits: Vec<f64>,
    pub mask: Vec<f64>,
}

pub struct AttendGrad {
    pub dq: Matrix,
    pub dk: Matrix,
    pub dv: Matrix,
    pub dtable: Option<Matrix>,
}

impl Attend<'_> {
    fn part<'m>(&self, of: &'m Matrix, row: usize, head: usize) -> &'m [f64] {
        let e = of.cols / self.heads;
        &of.row(row)[head * e..][..e]
    }

    fn bucket(&self, key: usize, position: usize) -> Option<usize> {
        let bias = self.bias.as_ref()?;
        Some(bucket(key as i64 - position as i64, bias.table.count(), bias.max_distance, bias.direction))
    }

    pub fn all_rows(&self) -> Vec<Row> {
        let segments = ranges(self.rows).into_iter().zip(ranges(self.cols));
        let rows = segments.flat_map(|(rows, cols)| {
            rows.enumerate().flat_map(move |(position, row)| {
                let cols = cols.clone();
                (0..self.heads).map(move |head| self.row(head, (row, position), cols.clone()))
            })
        });
        rows.collect()
    }

    fn row(&self, head: usize, (row, position): (usize, usize), cols: std::ops::Range<usize>) -> Row {
        let seen = match &self.bias {
            Some(Bias { direction: Direction::Past, .. }) => cols.len().min(position + 1),
            _ => cols.len(),
        };
        let logit = |t: usize| {
            let bias = self.bucket(t, position).map_or(0.0, |b| self.bias.as_ref().unwrap().table.row(b)[head]);
            dot(self.part(self.q, row, head), self.part(self.k, cols.start + t, head)) + bias
        };
        let kept = |t: usize| match self.dropout {
            None => 1.0,
            Some(mask) if mask.kept((row * self.heads + head) as u64, t as u64 / 4)[t % 4] => mask.scale(),
            Some(_) => 0.0,
        };
        Row {
            head,
            row,
            position,
            first: cols.start,
            logits: (0..seen).map(logit).collect(),
            mask: (0..seen).map(kept).collect(),
        }
    }

    pub fn forward(&self) -> Matrix {
        let e = self.q.cols / self.heads;
        let mut o = Matrix { cols: self.q.cols, data: vec![0.0; self.q.data.len()] };
        for r in self.all_rows() {
            let place = r.row * o.cols + r.head * e;
            for (t, (p, z)) in softmax(&r.logits).iter().zip(&r.mask).enumerate() {
                add(&mut o.data[place..place + e], p * z, self.part(self.v, r.first + t, r.head));
            }
        }
        o
    }

    pub fn backward(&self, d_o: &Matrix) -> AttendGrad {
        let e = self.q.cols / self.heads;
        let zeros = |of: &Matrix| Matrix { cols: of.cols, data: vec![0.0; of.data.len()] };
        let (mut dq, mut dk, mut dv) = (zeros(self.q), zeros(self.k), zeros(self.v));
        let mut dtable = self.bias.as_ref().map(|bias| zeros(bias.table));
        for r in self.all_rows() {
            let p = softmax(&r.logits);
            let dout = self.part(d_o, r.row, r.head);
            let of_key = |t: usize| (r.first + t) * self.q.cols + r.head * e;
            let dp: Vec<f64> =
                (0..p.len()).map(|t| r.mask[t] * dot(dout, self.part(self.v, r.first + t, r.head))).collect();
            let mean = dot(&p, &dp);
            for t in 0..p.len() {
                let ds = p[t] * (dp[t] - mean);
                let of_row = r.row * self.q.cols + r.head * e;
                add(&mut dv.data[of_key(t)..][..e], p[t] * r.mask[t], dout);
                add(&mut dk.data[of_key(t)..][..e], ds, self.part(self.q, r.row, r.head));
                add(&mut dq.data[of_row..][..e], ds, self.part(self.k, r.first + t, r.head));
                if let Some(dtable) = &mut dtable {
                    dtable.data[self.bucket(t, r.position).unwrap() * self.heads + r.head] += ds;
                }
            }
        }
        AttendGrad { dq, dk, dv, dtable }
    }
}

/// `y += factor · x`.
fn add(y: &mut [f64], factor: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}
