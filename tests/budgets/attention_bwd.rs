//! The backward pass of attention.

use glimmer::backend::{Attend, Backward, Bias, Direction, Segments};
use glimmer::cuda::Float;
use glimmer_emulator::count::Counters;
use half::bf16;

use crate::attention::{BUCKETS, MAX_DISTANCE, READ, TOKENS, WIDTH, assert_no_conflicts, moved, normal};
use crate::{Counted, assert_within};

/// Rows of a side that a block has.
const BLOCK_ROWS: usize = 176;

/// What the queries' and the keys' kernels cost, of segments of `rows` and of `cols`.
fn counted<E: Float>(rows: &[usize], cols: &[usize], heads: usize, direction: Option<Direction>) -> [Counters; 2] {
    let counted = Counted::<E>::new();
    let be = &counted.be;
    let (n, m, width) = (rows.iter().sum(), cols.iter().sum(), heads * WIDTH);
    let [q, d_o] = [0, 1].map(|stream| normal(be, stream, n, width));
    let [k, v] = [2, 3].map(|stream| normal(be, stream, m, width));
    let table = &normal(be, 4, BUCKETS, heads);
    let bias = || direction.map(|direction| Bias { table, direction, max_distance: MAX_DISTANCE });
    let (rows, cols) = (&Segments::packed(be, rows.to_vec()), &Segments::packed(be, cols.to_vec()));
    let (q, k, v) = (&q, &k, &v);
    let attend = || Attend { q, k, v, rows, cols, bias: bias(), heads, dropout: None };
    let saved = be.attention_saved(attend());
    let mut dtable = direction.map(|_| glimmer::backend::Grad::zeros(be, BUCKETS, heads));
    let mut launches = counted.count(|be| be.attention_bwd(attend(), &saved, &d_o, dtable.as_mut()));
    assert_eq!(launches.len(), 2 + usize::from(direction.is_some()), "launches of attention's backward pass");
    launches.truncate(2);
    launches.try_into().expect("two of them")
}

/// Of the seven products of a row and a key that they see each other, none is wasted but at the causal edge: each of the
/// kernels makes the two that weights and their gradients are made of again.
#[test]
fn useful_multiply_adds() {
    let check = |what: &str, (rows, cols): (usize, usize), direction: Option<Direction>, pairs: usize, bound: f64| {
        let launches = counted::<bf16>(&[rows], &[cols], 1, direction);
        let work = launches.iter().flat_map(|c| c.matrix.values()).map(|work| work.multiply_adds).sum::<u64>();
        assert_within(&format!("{what}: multiply-adds"), work as f64 / (7 * pairs * WIDTH) as f64, bound);
        launches.iter().for_each(|c| assert_no_conflicts(what, c));
    };
    check("encoder", (TOKENS, TOKENS), Some(Direction::Both), TOKENS * TOKENS, 1.0);
    check("decoder", (TOKENS, TOKENS), Some(Direction::Past), TOKENS * (TOKENS + 1) / 2, 1.1);
    check("cross", (32, READ), None, 32 * READ, 1.0);
}

/// A block reads its own side once, and the other side passes by once; results are written once.
#[test]
fn bytes_of_tiles() {
    let heads = 2;
    let [queries, keys] = counted::<bf16>(&[TOKENS], &[TOKENS], heads, Some(Direction::Both));
    let blocks = TOKENS / BLOCK_ROWS;
    let row_bytes = (2 * heads * WIDTH) as f64;
    let rows = |c: &Counters| moved(c) / row_bytes / TOKENS as f64;
    // q, do, o and dq; k and v.
    assert_within("rows moved by the queries", rows(&queries), 1.05 * (4 + 2 * blocks) as f64);
    // k, v, dk and dv; q and do.
    assert_within("rows moved by the keys", rows(&keys), 1.05 * (4 + 2 * blocks) as f64);
}

/// The exact twin meets no bank twice either.
#[test]
fn exact_twin() {
    for c in counted::<f32>(&[64], &[64], 1, Some(Direction::Both)) {
        assert_no_conflicts("f32", &c);
    }
}
