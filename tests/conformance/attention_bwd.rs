//! Attention with its mask, and its gradients.

use glimmer::backend::{Attend, AttendGrad, Backward, Bias, Direction, Dropout, Grad, Mat, Noise, Segments};

use crate::common::naive::{self, Matrix};
use crate::common::naive_bwd::{self, SLOPE_ERROR, slopes, sum};
use crate::common::{assert_close, assert_rows_close, emulated, tolerance};
use crate::harness::{Operand, grad, grad_values, mat, normal, steady, values, wide};

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
        let wide_bound = tolerance::<B::Wide>(terms);
        let bound = wide_bound + tolerance::<B::Elem>(1);
        let wanted = plain.forward();
        assert_rows_close(&what, &out, &wanted, bound);
        assert_rows_close(&what, &alone, &wanted, bound);
        self.check_log_sums(&what, &log_sum, &plain, wide_bound);
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

/// Heads, and whether they are masked.
fn variants() -> Vec<((usize, usize), Option<Dropout>)> {
    let all = [(1, 64), (3, 8), (2, 5)].map(|heads| [(heads, None), (heads, mask())]).concat();
    // The emulator takes its time, and the device's kernels are for 64 and for anything.
    if emulated::is_emulated() { vec![all[0], all[1], all[5]] } else { all }
}

fn check_all<B: Backward>(be: &B, direction: Option<Direction>, segments: &[(&[usize], &[usize])]) {
    for &(rows, cols) in segments {
        for (heads, dropout) in variants() {
            Case { rows, cols, direction, heads, dropout }.check(be);
        }
    }
}

fn check_self<B: Backward>(be: &B, direction: Direction, segments: &[&[usize]]) {
    let segments: Vec<_> = segments.iter().map(|&rows| (rows, rows)).collect();
    check_all(be, Some(direction), &segments);
}

/// More than the CPU's tiles hold. It would take the emulator long, and its device's tiles are smaller.
fn check_long<B: Backward>(be: &B, direction: Direction) {
    for dropout in [None, mask()].into_iter().filter(|_| !emulated::is_emulated()) {
        Case { rows: &[520], cols: &[520], direction: Some(direction), heads: (2, 8), dropout }.check(be);
    }
}

pub fn encoder_bwd<B: Backward>(be: &B) {
    check_self(be, Direction::Both, &[&[], &[0], &[1], &[7, 8, 9], &[0, 1, 127, 0, 129], &[257]]);
    check_long(be, Direction::Both);
}

/// Machines that make the gradients of whole segments at a time cannot where those are long.
pub fn long_segments_bwd<B: Backward>(be: &B) {
    for (direction, dropout) in [(Direction::Both, mask()), (Direction::Past, None)] {
        let rows: &[usize] = &[7, 0, 257];
        Case { rows, cols: rows, direction: Some(direction), heads: (1, 64), dropout }.check(be);
    }
}

/// Rows of chosen segments, which a machine that works ahead of its host knows how many there are: what is behind them is
/// neither read nor written.
pub fn of_rows_that_the_machine_counts_bwd<B: Backward>(be: &B) {
    let lengths = [2, 40, 33, 7];
    let operands = [0, 1, 2, 3].map(|stream| normal(be, stream, (lengths.iter().sum(), 64), 0.4));
    let table = normal(be, 4, (BUCKETS, 1), 1.0);
    let gradients = |[q, k, v, d_o]: &[Mat<B>; 4], rows: &Segments<B>| {
        let bias = Some(Bias { table: &table.mat, direction: Direction::Both, max_distance: MAX_DISTANCE });
        let attend = || Attend { q, k, v, rows, cols: rows, bias, heads: 1, dropout: mask() };
        let saved = be.attention_saved(attend());
        let mut dtable = Grad::zeros(be, BUCKETS, 1);
        let AttendGrad { dq, dk, dv } = be.attention_bwd(attend(), &saved, d_o, Some(&mut dtable));
        let of_rows = [&saved.o, &dq, &dk, &dv].map(|mat| values(be, mat)).concat();
        [of_rows, grad_values(be, &saved.log_sum), grad_values(be, &dtable)].concat()
    };
    let rows = Segments::packed(be, lengths);
    let scores = wide(be, vec![3.0, 1.0, 2.0, 4.0]);
    let chosen = be.top_m(&scores.buf, &Segments::packed(be, [4]), 2);
    let kept = operands.each_ref().map(|x| be.gather(&x.mat, &rows, &chosen).0);
    let kept_rows = be.gather(&operands[0].mat, &rows, &chosen).1;
    let ranges = naive::ranges(&lengths);
    let plain = |x: &Operand<B>| mat(be, &x.plain.gather(ranges[3].clone().chain(ranges[0].clone())));
    let wanted = gradients(&operands.each_ref().map(plain), &Segments::packed(be, [7, 2]));
    assert_close("of counted rows", &gradients(&kept, &kept_rows), &wanted, tolerance::<B::Wide>(9));
}

/// Machines have kernels of their own for widths that they know.
pub fn heads_of_any_width_bwd<B: Backward>(be: &B) {
    for (e, direction) in [(1, Some(Direction::Both)), (33, None), (80, Some(Direction::Past)), (200, None)] {
        let (rows, cols): (&[usize], &[usize]) = if direction.is_none() { (&[3, 2], &[40, 0]) } else { (&[35], &[35]) };
        Case { rows, cols, direction, heads: (2, e), dropout: mask() }.check(be);
    }
}

pub fn causal_bwd<B: Backward>(be: &B) {
    check_self(be, Direction::Past, &[&[1], &[2, 0, 1, 1], &[7, 8, 9], &[128, 129]]);
    check_long(be, Direction::Past);
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
