//! Attention with its mask, and its gradients.

use glimmer::backend::{Attend, Backward, Bias, Direction, Dropout, Noise, Segments};

use crate::common::naive::{self, Matrix};
use crate::common::naive_bwd::{self, SLOPE_ERROR, slopes, sum};
use crate::common::{assert_close, assert_rows_close, tolerance};
use crate::harness::{Operand, grad, grad_values, normal, steady, values};

const BUCKETS: usize = 32;
const MAX_DISTANCE: usize = 128;

struct Case<'a> {
    rows: &'a [usize],
    cols: &'a [usize],
    direction: Option<Direction>,
    /// Their number and width.
    heads: (usize, usize),
    dropout: Option<Dropout>,
}

struct Operands<B: Backward> {
    q: Operand<B>,
    k: Operand<B>,
    v: Operand<B>,
    table: Operand<B>,
    d_o: Operand<B>,
    /// What the gradient of the table is before.
    dtable: Operand<B>,
}

/// A mask that drops a tenth, about.
fn mask() -> Option<Dropout> {
    Noise::new(0.1, 3).draw()
}

impl Case<'_> {
    fn operands<B: Backward>(&self, be: &B) -> Operands<B> {
        let (heads, e) = self.heads;
        let (rows, cols) = (self.rows.iter().sum(), self.cols.iter().sum());
        Operands {
            q: normal(be, 0, (rows, heads * e), 1.5 * (e as f64).powf(-0.5)),
            k: normal(be, 1, (cols, heads * e), 1.0),
            v: normal(be, 2, (cols, heads * e), 1.0),
            table: normal(be, 3, (BUCKETS, heads), 1.0),
            d_o: normal(be, 4, (rows, heads * e), 1.0),
            dtable: normal(be, 5, (BUCKETS, heads), 1.0),
        }
    }

    fn plain<'a, B: Backward>(&'a self, o: &'a Operands<B>) -> naive_bwd::Attend<'a> {
        let table = &o.table.plain;
        naive_bwd::Attend {
            q: &o.q.plain,
            k: &o.k.plain,
            v: &o.v.plain,
            rows: self.rows,
            cols: self.cols,
            bias: self.direction.map(|direction| naive::Bias { table, direction, max_distance: MAX_DISTANCE }),
            heads: self.heads.0,
            dropout: self.dropout,
        }
    }

    fn check<B: Backward>(&self, be: &B) {
        let what = format!(
            "{:?} attention of {:?} to {:?}, heads {:?}, {}",
            self.direction,
            self.rows,
            self.cols,
            self.heads,
            if self.dropout.is_some() { "masked" } else { "whole" }
        );
        let o = self.operands(be);
        let (rows, cols) = (Segments::packed(be, self.rows.to_vec()), Segments::packed(be, self.cols.to_vec()));
        let attend = || Attend {
            q: &o.q.mat,
            k: &o.k.mat,
            v: &o.v.mat,
            rows: &rows,
            cols: &cols,
            bias: self.direction.map(|direction| Bias { table: &o.table.mat, direction, max_distance: MAX_DISTANCE }),
            heads: self.heads.0,
            dropout: self.dropout,
        };
        let [alone, out, log_sum, operands, table] = steady(&what, || {
            let saved = be.attention_saved(attend());
            let mut dtable = self.direction.map(|_| grad(be, &o.dtable.plain));
            let found = be.attention_bwd(attend(), &saved, &o.d_o.mat, dtable.as_mut());
            [
                values(be, &be.attention(attend())),
                values(be, &saved.o),
                grad_values(be, &saved.log_sum),
                [found.dq, found.dk, found.dv].map(|mat| values(be, &mat)).concat(),
                dtable.map_or(Vec::new(), |dtable| grad_values(be, &dtable)),
            ]
        });

        let plain = self.plain(&o);
        let longest = |of: &[usize]| of.iter().copied().max().unwrap_or(0);
        // Sums are in wide numbers; what they are of is rounded a few times.
        let terms = self.heads.1 + longest(self.rows) + longest(self.cols) + 100;
        let bound = tolerance::<B::Wide>(terms) + tolerance::<B::Elem>(1);
        let wanted = plain.forward();
        assert_rows_close(&what, &out, &wanted, bound);
        assert_rows_close(&what, &alone, &wanted, bound);
        self.check_log_sums(&what, &log_sum, &plain, bound);
        let wanted = plain.backward(&o.d_o.plain);
        // Together: of a row with one key, the gradients of query and key are 0 but for rounding.
        let wanted_operands = [wanted.dq.data, wanted.dk.data, wanted.dv.data].concat();
        assert_close(&format!("{what}: dq, dk, dv"), &operands, &wanted_operands, bound);
        if let Some(dtable) = wanted.dtable {
            assert_close(&format!("{what}: dtable"), &table, &sum(&o.dtable.plain, &dtable).data, bound);
        }
    }

    /// Of a row without keys, −∞.
    fn check_log_sums(&self, what: &str, found: &[f64], plain: &naive_bwd::Attend<'_>, bound: f64) {
        for row in plain.all_rows() {
            let found = found[row.row * self.heads.0 + row.head];
            if row.logits.is_empty() {
                assert_eq!(found, f64::NEG_INFINITY, "{what}: log sum of nothing");
            } else {
                let peak = row.logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let wanted = peak + row.logits.iter().map(|x| (x - peak).exp()).sum::<f64>().ln();
                // Beside 10, since a logarithm may be near 0.
                assert_close(&format!("{what}: log sum"), &[found + 10.0], &[wanted + 10.0], bound);
            }
        }
    }
}

const HEADS: [(usize, usize); 3] = [(1, 64), (3, 8), (2, 5)];

fn check_all<B: Backward>(be: &B, direction: Option<Direction>, segments: &[(&[usize], &[usize])]) {
    for &(rows, cols) in segments {
        for heads in HEADS {
            for dropout in [None, mask()] {
                Case { rows, cols, direction, heads, dropout }.check(be);
            }
        }
    }
}

fn check_self<B: Backward>(be: &B, direction: Direction, segments: &[&[usize]]) {
    let segments: Vec<_> = segments.iter().map(|&rows| (rows, rows)).collect();
    check_all(be, Some(direction), &segments);
}

pub fn encoder_bwd<B: Backward>(be: &B) {
    check_self(be, Direction::Both, &[&[], &[0], &[1], &[7, 8, 9], &[0, 1, 127, 0, 129], &[257]]);
    for dropout in [None, mask()] {
        let direction = Some(Direction::Both);
        Case { rows: &[520], cols: &[520], direction, heads: (2, 8), dropout }.check(be);
    }
}

pub fn causal_bwd<B: Backward>(be: &B) {
    check_self(be, Direction::Past, &[&[1], &[2, 0, 1, 1], &[7, 8, 9], &[128, 129]]);
    for dropout in [None, mask()] {
        let direction = Some(Direction::Past);
        Case { rows: &[520], cols: &[520], direction, heads: (2, 8), dropout }.check(be);
    }
}

pub fn cross_attention_bwd<B: Backward>(be: &B) {
    let segments: [(&[usize], &[usize]); 6] = [
        (&[1], &[1]),
        (&[1, 2], &[0, 3]),
        (&[1, 1, 1], &[255, 0, 513]),
        (&[0, 3], &[5, 1100]),
        (&[2, 0, 1, 5, 129], &[0, 4, 511, 513, 300]),
        (&[0, 0], &[3, 5]),
    ];
    check_all(be, None, &segments);
}

/// The formulas that all of the above is held against are the slopes of the formula in the contract.
pub fn attention_gradients_are_slopes<B: Backward>(be: &B) {
    for direction in [None, Some(Direction::Both), Some(Direction::Past)] {
        for dropout in [None, Noise::new(0.3, 3).draw()] {
            let rows: &[usize] = &[3, 0, 1, 7];
            let cols: &[usize] = if direction.is_none() { &[5, 2, 0, 9] } else { rows };
            let case = Case { rows, cols, direction, heads: (2, 3), dropout };
            let o = case.operands(be);
            let plain = case.plain(&o);
            if dropout.is_none() {
                let table = &o.table.plain;
                let bias = direction.map(|direction| naive::Bias { table, direction, max_distance: MAX_DISTANCE });
                let wanted = naive::attention([&o.q.plain, &o.k.plain, &o.v.plain], (rows, cols), bias, 2);
                assert_close("the two naive attentions", &plain.forward().data, &wanted.data, 1e-14);
            }
            let found = plain.backward(&o.d_o.plain);
            let loss = |attend: naive_bwd::Attend<'_>| naive::dot(&o.d_o.plain.data, &attend.forward().data);
            let same = |found: &Matrix, wanted: Matrix| {
                assert_close(&format!("{direction:?}"), &found.data, &wanted.data, SLOPE_ERROR);
            };
            same(&found.dq, slopes(&o.q.plain, |q| loss(naive_bwd::Attend { q, ..case.plain(&o) })));
            same(&found.dk, slopes(&o.k.plain, |k| loss(naive_bwd::Attend { k, ..case.plain(&o) })));
            same(&found.dv, slopes(&o.v.plain, |v| loss(naive_bwd::Attend { v, ..case.plain(&o) })));
            if let (Some(dtable), Some(direction)) = (found.dtable, direction) {
                let by_table = slopes(&o.table.plain, |table| {
                    let bias = Some(naive::Bias { table, direction, max_distance: MAX_DISTANCE });
                    loss(naive_bwd::Attend { bias, ..case.plain(&o) })
                });
                same(&dtable, by_table);
            }
        }
    }
}
