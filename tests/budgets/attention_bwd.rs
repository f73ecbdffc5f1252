//! The backward pass of attention.

use glimmer::backend::{Attend, Backward, Bias, Direction, Grad, Segments};
use glimmer::cuda::Float;
use glimmer_emulator::count::Counters;
use half::bf16;

use crate::attention::{BUCKETS, MAX_DISTANCE, READ, TOKENS, WIDTH, assert_no_conflicts, normal};
use crate::moved;
use crate::{Counted, assert_within};

/// What attention's backward pass costs, of segments of `rows` and of `cols`, but for the sum of its bias table's parts.
fn counted<E: Float>(rows: &[usize], cols: &[usize], heads: usize, direction: Option<Direction>) -> Vec<Counters> {
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
    let mut dtable = direction.map(|_| Grad::zeros(be, BUCKETS, heads));
    let mut launches = counted.count(|be| be.attention_bwd(attend(), &saved, &d_o, dtable.as_mut()));
    if dtable.is_some() {
        assert_eq!(launches.pop().expect("launches").kernel, "attention_bwd_table");
    }
    launches
}

/// Of the products of a row and a key that they see each other, of which there are seven since the two that weights and
/// their gradients are made of are made for each side, none is wasted but at the causal edge.
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

/// Rows of a head that were moved, whatever matrix they are of.
fn rows_moved(launches: &[Counters], heads: usize) -> f64 {
    launches.iter().map(moved).sum::<f64>() / (2 * heads * WIDTH) as f64
}

/// Of a question with a passage, everything is read once and written once, but for the values, which are read three times.
#[test]
fn bytes_of_whole_segments() {
    let heads = 2;
    let launches = counted::<bf16>(&[TOKENS], &[TOKENS], heads, Some(Direction::Both));
    assert_eq!(launches.len(), 1, "a block has a segment");
    // q, k, v, o, do, dq, dk, dv.
    let least = 8 * TOKENS;
    assert_within("bytes beside the least", rows_moved(&launches, heads) / least as f64, 1.3);
}

/// Of a long segment, a block reads its own side once, and the other side goes by once in each block.
#[test]
fn bytes_of_long_segments() {
    let (heads, rows, blocks) = (2, 32, READ / 176);
    let launches = counted::<bf16>(&[rows], &[READ], heads, None);
    let [queries, keys] = &launches[..] else { panic!("{} launches", launches.len()) };
    let (queries, keys) =
        (rows_moved(std::slice::from_ref(queries), heads), rows_moved(std::slice::from_ref(keys), heads));
    // q, do, o, dq; k and v.
    assert_within("queries", queries / (4 * rows + 2 * READ) as f64, 1.05);
    // k, v, dk, dv; q and do.
    assert_within("keys", keys / (4 * READ + blocks * 2 * rows) as f64, 1.05);
    let least = 4 * rows + 4 * READ;
    assert_within("bytes beside the least", (queries + keys) / least as f64, 1.7);
}

/// The exact twin meets no bank twice either.
#[test]
fn exact_twin() {
    for c in counted::<f32>(&[64], &[64], 1, Some(Direction::Both)) {
        assert_no_conflicts("f32", &c);
    }
}
