//! Attention in its three shapes, and decoding.

use glimmer::backend::{Attend, Backend, Bias, Cache, Direction, Mat, Newest, Segments};
use glimmer::cuda::{Cuda, Float};
use glimmer::random;
use glimmer_emulator::count::Counters;
use half::bf16;

use crate::{Counted, assert_no_excess, assert_within, moved};

/// A question with a passage, and what the decoder reads of five of them.
pub const TOKENS: usize = 352;
pub const READ: usize = 1760;
/// Width of a head, of every T5.1.1. What a head costs does not depend on how many there are.
pub const WIDTH: usize = 64;
pub const BUCKETS: usize = 32;
pub const MAX_DISTANCE: usize = 128;

pub fn normal<E: Float>(be: &Cuda<E>, stream: u64, rows: usize, cols: usize) -> Mat<Cuda<E>> {
    let draw = |i| E::from_f64(0.3 * random::normal(5, stream, i));
    Mat::upload(be, rows, cols, (0..(rows * cols) as u64).map(draw).collect())
}

/// What attention of segments of `rows` to segments of `cols` costs.
fn counted<E: Float>(rows: &[usize], cols: &[usize], heads: usize, direction: Option<Direction>) -> Counters {
    let counted = Counted::<E>::new();
    let be = &counted.be;
    let (n, m) = (rows.iter().sum(), cols.iter().sum());
    let (q, k, v) = (normal(be, 0, n, heads * WIDTH), normal(be, 1, m, heads * WIDTH), normal(be, 2, m, heads * WIDTH));
    let table = &normal(be, 3, BUCKETS, heads);
    let bias = direction.map(|direction| Bias { table, direction, max_distance: MAX_DISTANCE });
    let (rows, cols) = (&Segments::packed(be, rows.to_vec()), &Segments::packed(be, cols.to_vec()));
    let (q, k, v) = (&q, &k, &v);
    let mut launches = counted.count(|be| be.attention(Attend { q, k, v, rows, cols, bias, heads, dropout: None }));
    assert_eq!(launches.len(), 1, "attention is a launch");
    launches.remove(0)
}

pub fn assert_no_conflicts(what: &str, c: &Counters) {
    assert_no_excess(what, "shared loads", c.shared_loads);
    assert_no_excess(what, "shared stores", c.shared_stores);
}

/// Tensor cores multiply what a row attends to, and what does not fit the tiles at the causal edge.
#[test]
fn useful_multiply_adds() {
    // Of a row and a key that it attends to.
    let check = |what: &str, rows: &[usize], cols: &[usize], direction: Option<Direction>, pairs: usize, bound: f64| {
        let heads = 2;
        let c = counted::<bf16>(rows, cols, heads, direction);
        let done: u64 = c.matrix.values().map(|work| work.multiply_adds).sum();
        assert_within(&format!("{what}: multiply-adds"), done as f64 / (2 * heads * pairs * WIDTH) as f64, bound);
        assert_no_conflicts(what, &c);
    };
    let both = Some(Direction::Both);
    check("encoder", &[TOKENS, TOKENS], &[TOKENS, TOKENS], both, 2 * TOKENS * TOKENS, 1.0);
    // 304 is half a step more than nine of them.
    check("passage", &[304], &[304], both, 304 * 304, 1.11);
    check("decoder", &[TOKENS], &[TOKENS], Some(Direction::Past), TOKENS * (TOKENS + 1) / 2, 1.1);
    check("cross", &[64, 32], &[READ, READ], None, 96 * READ, 1.0);
}

/// Queries are read and results written once; keys and values once for each tile of 128 rows. The biases are small.
#[test]
fn bytes_of_tiles() {
    let heads = 3;
    for (rows, cols, direction) in
        [([TOKENS, TOKENS], [TOKENS, TOKENS], Some(Direction::Both)), ([64, 128], [READ, READ], None)]
    {
        let c = counted::<bf16>(&rows, &cols, heads, direction);
        let tokens: usize = rows.iter().zip(cols).map(|(n, m)| 2 * n + n.div_ceil(128) * 2 * m).sum();
        assert_within(&format!("{rows:?} to {cols:?}: bytes"), moved(&c) / (2 * tokens * heads * WIDTH) as f64, 1.05);
    }
}

/// The exact twin meets no bank twice either.
#[test]
fn exact_twin() {
    assert_no_conflicts("f32", &counted::<f32>(&[TOKENS], &[TOKENS], 1, Some(Direction::Both)));
}

/// Of so many rows that are read or written.
fn check_decode<E: Float>(what: &str, c: &Counters, rows: usize, heads: usize) {
    let least = rows * heads * WIDTH * size_of::<E>();
    assert_within(&format!("{what} in {}: bytes", std::any::type_name::<E>()), moved(c) / least as f64, 1.05);
    assert_no_conflicts(what, c);
    assert_no_excess(what, "global stores", c.global_stores);
}

/// Keys and values are read once, and what the blocks leave each other is little beside them.
#[test]
fn decoding_reads_once() {
    fn check<E: Float>() {
        let heads = 12;
        let one_row = counted::<E>(&[1, 1], &[READ, 2 * READ], heads, None);
        check_decode::<E>("one row", &one_row, 2 * 3 * READ + 2 * 2, heads);

        let (batch, len) = (2, 256);
        let counted = Counted::<E>::new();
        let be = &counted.be;
        let rows = || normal(be, 1, batch * len, heads * WIDTH);
        let mut cache = Cache { k: rows(), v: rows(), capacity: len, len: be.upload(vec![len as u32 - 1]) };
        let (newest, table) = (&normal(be, 0, batch, heads * WIDTH), &normal(be, 3, BUCKETS, heads));
        let newest = Newest { q: newest, k: newest, v: newest };
        let bias = Bias { table, direction: Direction::Past, max_distance: MAX_DISTANCE };
        let launches = counted.count(|be| be.decode_attention(newest, &mut cache, bias));
        assert_eq!(launches.len(), 1, "decode attention is a launch");
        // The newest key and value are read from where they are, and written to the cache.
        check_decode::<E>("the cache", &launches[0], batch * (2 * len + 4), heads);
    }
    check::<bf16>();
    check::<f32>();
}
