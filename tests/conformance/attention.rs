//! Attention in its three shapes, and decoding.

use glimmer::backend::{Attend, Backend, Bias, Cache, Direction, Mat, Newest, Segments};
use half::bf16;

use crate::common::naive::{self, Matrix};
use crate::common::{assert_rows_close, round, tolerance};
use crate::harness::{Operand, normal, operand, steady, values};

/// Heads and their width; the inner width is no model's width anywhere here.
const HEADS: [(usize, usize); 4] = [(1, 64), (3, 8), (6, 64), (2, 5)];
const BUCKETS: usize = 32;
const MAX_DISTANCE: usize = 128;

struct Case<'a> {
    rows: &'a [usize],
    cols: &'a [usize],
    direction: Option<Direction>,
    heads: (usize, usize),
}

struct Operands<B: Backend> {
    q: Operand<B>,
    k: Operand<B>,
    v: Operand<B>,
    table: Operand<B>,
}

impl Case<'_> {
    /// Queries that make logits of a few units.
    fn operands<B: Backend>(&self, be: &B) -> Operands<B> {
        let (heads, e) = self.heads;
        let (rows, cols) = (self.rows.iter().sum(), self.cols.iter().sum());
        Operands {
            q: normal(be, 0, (rows, heads * e), 1.5 * (e as f64).powf(-0.5)),
            k: normal(be, 1, (cols, heads * e), 1.0),
            v: normal(be, 2, (cols, heads * e), 1.0),
            table: normal(be, 3, (BUCKETS, heads), 1.0),
        }
    }

    fn bias<'a, B: Backend>(&self, table: &'a Mat<B>) -> Option<Bias<'a, B>> {
        self.direction.map(|direction| Bias { table, direction, max_distance: MAX_DISTANCE })
    }

    fn wanted<B: Backend>(&self, o: &Operands<B>) -> Matrix {
        let table = &o.table.plain;
        let bias = self.direction.map(|direction| naive::Bias { table, direction, max_distance: MAX_DISTANCE });
        naive::attention([&o.q.plain, &o.k.plain, &o.v.plain], (self.rows, self.cols), bias, self.heads.0)
    }

    fn found<B: Backend>(&self, be: &B, o: &Operands<B>) -> Vec<f64> {
        let rows = &Segments::packed(be, self.rows.iter().copied());
        let cols = &Segments::packed(be, self.cols.iter().copied());
        let (q, k, v, heads) = (&o.q.mat, &o.k.mat, &o.v.mat, self.heads.0);
        steady("attention", || {
            values(
                be,
                &be.attention(Attend { q, k, v, rows, cols, bias: self.bias(&o.table.mat), heads, dropout: None }),
            )
        })
    }

    fn check<B: Backend>(&self, be: &B) {
        self.check_of(be, &self.operands(be));
    }

    fn check_of<B: Backend>(&self, be: &B, operands: &Operands<B>) {
        let what =
            format!("{:?} attention of {:?} to {:?}, heads {:?}", self.direction, self.rows, self.cols, self.heads);
        // Products over the head and over the keys, and logits of up to ten units whose error the exponential magnifies.
        let terms = self.heads.1 + self.cols.iter().max().unwrap_or(&0) + 100;
        assert_rows_close(&what, &self.found(be, operands), &self.wanted(operands), tolerance::<B::Elem>(terms));
    }
}

fn check_self<B: Backend>(be: &B, direction: Direction, segments: &[&[usize]]) {
    for &rows in segments {
        for heads in HEADS {
            Case { rows, cols: rows, direction: Some(direction), heads }.check(be);
        }
    }
}

pub fn encoder<B: Backend>(be: &B) {
    let ragged: [&[usize]; 7] =
        [&[], &[0], &[1], &[7, 8, 9], &[0, 1, 127, 0, 128, 129, 0], &[255, 257], &[1, 352, 48, 304]];
    check_self(be, Direction::Both, &ragged);
    for rows in [[511], [513], [700]] {
        Case { rows: &rows, cols: &rows, direction: Some(Direction::Both), heads: (2, 8) }.check(be);
    }
}

pub fn causal<B: Backend>(be: &B) {
    check_self(be, Direction::Past, &[&[1], &[2, 0, 1, 1], &[7, 8, 9], &[128, 129], &[300]]);
    for rows in [[512], [700]] {
        Case { rows: &rows, cols: &rows, direction: Some(Direction::Past), heads: (2, 8) }.check(be);
    }
}

pub fn cross_attention_of_one_row<B: Backend>(be: &B) {
    for heads in HEADS {
        let check = |rows: &[usize], cols: &[usize]| Case { rows, cols, direction: None, heads }.check(be);
        check(&[1], &[1]);
        check(&[1], &[0]);
        check(&[1, 1, 1, 1, 1], &[255, 256, 0, 257, 513]);
        check(&[1, 1], &[1760, 3000]);
        check(&[0, 1, 0, 1], &[3, 5, 300, 7]);
        check(&[0, 0], &[3, 5]);
    }
}

pub fn cross_attention_of_several_rows<B: Backend>(be: &B) {
    for heads in HEADS {
        let check = |rows: &[usize], cols: &[usize]| Case { rows, cols, direction: None, heads }.check(be);
        check(&[3], &[1760]);
        check(&[3, 3], &[3000, 1]);
        check(&[2, 0, 1, 5, 129], &[0, 4, 511, 513, 300]);
    }
}

/// What the machine keeps of keys and values for decoding are the products.
pub fn keys_and_values<B: Backend>(be: &B) {
    check_keys_and_values(be, |x| x);
}

/// They are the products in bf16.
pub fn keys_and_values_in_bf16<B: Backend>(be: &B) {
    check_keys_and_values(be, round::<bf16>);
}

/// The form in which the machine keeps keys and values holds `kept` of each product, and attention over it is that over
/// the numbers that it holds.
fn check_keys_and_values<B: Backend>(be: &B, kept: impl Fn(f64) -> f64) {
    const INNER: usize = 40;
    // As many rows as products have kinds of: one, few, a panel, more. Not all weights can be packed.
    for (cols, packed) in
        [(&[1][..], true), (&[0, 8], true), (&[9], false), (&[5, 0, 27], true), (&[33], false), (&[600, 257, 3], true)]
    {
        for heads in HEADS {
            let (count, width) = (cols.iter().sum(), heads.0 * heads.1);
            let x = normal(be, 4, (count, INNER), 1.0).mat;
            let weight = |stream| normal(be, stream, (width, INNER), (INNER as f64).powf(-0.5)).mat;
            let w = [weight(5), weight(6)].map(|w| if packed { be.pack(w) } else { w });
            let what = format!("{count} keys and values, {width} wide");
            let products = be.linears(&x, w.each_ref()).map(|y| values(be, &y));
            let found = steady(&what, || be.keys_and_values(&x, w.each_ref()).map(|mat| values(be, &mat)));
            assert!(found == products.map(|y| y.into_iter().map(&kept).collect::<Vec<_>>()), "{what}");

            for length in [1, 3] {
                let rows = vec![length; cols.len()];
                let case = Case { rows: &rows, cols, direction: None, heads };
                let [k, v] = be.keys_and_values(&x, w.each_ref()).map(|mat| {
                    let plain = Matrix { cols: width, data: values(be, &mat) };
                    Operand { mat, plain }
                });
                case.check_of(be, &Operands { k, v, ..case.operands(be) });
            }
        }
    }
}

/// One key far above the others takes everything, exactly; the size of the values passes through.
pub fn huge_and_tiny_numbers<B: Backend>(be: &B) {
    let (keys, e) = (600, 8);
    for (rows, size) in [(1, 1e15), (1, 1e-20), (5, 1e15), (5, 1e-20), (5, 1.0)] {
        // The logit of key t is 1e4 · (t mod 599): key 598 wins.
        let q = operand(be, e, (0..rows).flat_map(|_| (0..e).map(|c| if c == 0 { 1e4 } else { 0.0 })).collect());
        let column = |t: usize, c: usize| if c == 0 { (t % 599) as f64 } else { 1.0 };
        let k = operand(be, e, (0..keys).flat_map(|t| (0..e).map(move |c| column(t, c))).collect());
        let v = normal(be, 2, (keys, e), size);
        let case = Case { rows: &[rows], cols: &[keys], direction: None, heads: (1, e) };
        let wanted: Vec<f64> = v.plain.row(598).repeat(rows);
        let table = operand(be, 1, vec![0.0]);
        assert_eq!(case.found(be, &Operands { q, k, v, table }), wanted, "{rows} rows, values of {size:e}");
    }
    // Values of any size through an ordinary softmax.
    for size in [1e15, 1e-20] {
        for rows in [[1], [9]] {
            let case = Case { rows: &rows, cols: &[600], direction: None, heads: (2, 8) };
            let mut operands = case.operands(be);
            operands.v = normal(be, 2, (600, 16), size);
            let found = case.found(be, &operands);
            assert_rows_close("values", &found, &case.wanted(&operands), tolerance::<B::Elem>(700));
        }
    }
}

pub fn newest_token_of_a_cache<B: Backend>(be: &B) {
    check_cache(be, &[((1, 64), 1, 1), ((3, 8), 3, 20), ((6, 64), 2, 260), ((2, 5), 9, 520)]);
}

/// Machines have kernels of their own for widths that they know.
pub fn heads_of_any_width<B: Backend>(be: &B) {
    for e in [1, 16, 32, 33, 48, 63, 80, 128, 200] {
        let heads = (2, e);
        let check = |rows: &[usize], cols: &[usize], direction| Case { rows, cols, direction, heads }.check(be);
        check(&[5, 0, 40], &[5, 0, 40], Some(Direction::Both));
        check(&[33, 1], &[33, 1], Some(Direction::Past));
        check(&[3, 2], &[70, 0], None);
        check(&[1, 1, 1], &[1, 0, 300], None);
        check_cache(be, &[(heads, 2, 7)]);
    }
}

/// Heads and their width, sequences, and tokens of each.
fn check_cache<B: Backend>(be: &B, cases: &[((usize, usize), usize, usize)]) {
    for &((heads, e), batch, capacity) in cases {
        let width = heads * e;
        let draw = |stream, deviation| normal(be, stream, (batch * capacity, width), deviation);
        let (k, v, q) = (draw(1, 1.0), draw(2, 1.0), draw(3, 1.5 * (e as f64).powf(-0.5)));
        let table = normal(be, 4, (BUCKETS, heads), 1.0);
        let lens = [1, 2, 7, 20, 128, 255, 256, 257, 260, 512, 513, 520];
        for len in lens.into_iter().filter(|&len| len <= capacity) {
            // Token `len - 1` of each sequence.
            let newest =
                |of: &Operand<B>| operand(be, width, of.plain.gather(newest_of(batch, capacity, len)).data).mat;
            let (newest_q, newest_k, newest_v) = (newest(&q), newest(&k), newest(&v));
            let what = format!("decode attention over {len} of {capacity} keys, heads {heads} × {e}, batch {batch}");
            let found = steady(&what, || {
                let bias = Bias { table: &table.mat, direction: Direction::Past, max_distance: MAX_DISTANCE };
                let before = |of: &Operand<B>| before(be, &of.plain, capacity, len - 1);
                let counted = be.upload(vec![len as u32 - 1]);
                let mut cache = Cache { k: before(&k), v: before(&v), capacity, len: counted };
                let newest = Newest { q: &newest_q, k: &newest_k, v: &newest_v };
                let found = values(be, &be.decode_attention(newest, &mut cache, bias));
                assert_eq!(be.download(&cache.len).unwrap(), [len as u32], "{what}");
                for (kept, of) in [(&cache.k, &k), (&cache.v, &v)] {
                    let kept = Matrix { cols: width, data: values(be, kept) };
                    let joined = |of: &Matrix| of.gather(newest_of(batch, capacity, len)).data;
                    assert_eq!(joined(&kept), joined(&of.plain), "{what}: the newest token joins");
                }
                found
            });
            let wanted = newest_row(&q.plain, &k.plain, &v.plain, &table.plain, (batch, capacity, len));
            assert_rows_close(&what, &found, &wanted, tolerance::<B::Elem>(e + len + 100));
        }
    }
}

/// Where each sequence has its last token of `len`.
fn newest_of(batch: usize, capacity: usize, len: usize) -> impl Iterator<Item = usize> {
    (0..batch).map(move |b| b * capacity + len - 1)
}

/// A cache's rows: the first `len` of each sequence, and not a number behind them.
fn before<B: Backend>(be: &B, rows: &Matrix, capacity: usize, len: usize) -> Mat<B> {
    let mut data = rows.data.clone();
    for (row, values) in data.chunks_exact_mut(rows.cols).enumerate() {
        if row % capacity >= len {
            values.fill(f64::NAN);
        }
    }
    operand(be, rows.cols, data).mat
}

/// A cache that is filled token by token.
pub fn growing_cache<B: Backend>(be: &B) {
    let (batch, capacity, heads, width) = (3, 6, 2, 16);
    let draw = |stream| normal(be, stream, (batch * capacity, width), 0.5);
    let (q, k, v) = (draw(1), draw(2), draw(3));
    let table = normal(be, 4, (BUCKETS, heads), 1.0);
    let bias = Bias { table: &table.mat, direction: Direction::Past, max_distance: MAX_DISTANCE };
    let mut cache = be.cache(batch, capacity, width);
    for len in 1..=capacity {
        let newest = |of: &Operand<B>| operand(be, width, of.plain.gather(newest_of(batch, capacity, len)).data).mat;
        let (q_mat, k_mat, v_mat) = (newest(&q), newest(&k), newest(&v));
        let found = be.decode_attention(Newest { q: &q_mat, k: &k_mat, v: &v_mat }, &mut cache, bias);
        let wanted = newest_row(&q.plain, &k.plain, &v.plain, &table.plain, (batch, capacity, len));
        assert_rows_close("a growing cache", &values(be, &found), &wanted, tolerance::<B::Elem>(width + len + 100));
    }
}

/// The last row of causal attention over the first `len` tokens of each sequence.
fn newest_row(q: &Matrix, k: &Matrix, v: &Matrix, table: &Matrix, sizes: (usize, usize, usize)) -> Matrix {
    let (batch, capacity, len) = sizes;
    let so_far = |of: &Matrix, b: usize| of.gather(b * capacity..b * capacity + len);
    let newest = (0..batch).flat_map(|b| {
        let bias = naive::Bias { table, direction: Direction::Past, max_distance: MAX_DISTANCE };
        let operands = [&so_far(q, b), &so_far(k, b), &so_far(v, b)];
        naive::attention(operands, (&[len], &[len]), Some(bias), table.cols).row(len - 1).to_vec()
    });
    Matrix { cols: q.cols, data: newest.collect() }
}
