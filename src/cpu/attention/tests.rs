use super::*;
use crate::backend::{Backend, Noise, Segments};

struct Case {
    rows: &'static [usize],
    cols: &'static [usize],
    heads: usize,
    e: usize,
    direction: Option<Direction>,
    dropout: bool,
}

/// Segments without rows or keys, of one row or key, and either side of every edge of vectors, panels and tiles.
const LENGTHS: [(&[usize], &[usize]); 7] = [
    (&[], &[]),
    (&[1], &[1]),
    (&[0, 3, 2, 0], &[4, 0, 1, 0]),
    (&[15, 16, 17, 7], &[15, 16, 17, 33]),
    (&[97, 32, 64], &[95, 97, 31]),
    (&[350, 25], &[352, 640]),
    (&[5, 130], &[1100, 513]),
];
const HEADS: [(usize, usize); 7] = [(1, 1), (2, 5), (3, 16), (1, 31), (2, 64), (1, 70), (1, 129)];

fn cases() -> impl Iterator<Item = Case> {
    LENGTHS.into_iter().flat_map(|(rows, cols)| {
        HEADS.into_iter().flat_map(move |(heads, e)| {
            let kinds = [(None, false), (None, true), (Some(Direction::Both), false), (Some(Direction::Past), true)];
            kinds.map(|(direction, dropout)| {
                // A row that looks back has a place among the keys.
                let cols = if direction.is_some() { rows } else { cols };
                Case { rows, cols, heads, e, direction, dropout }
            })
        })
    })
}

/// Numbers that bf16 has.
fn numbers(stream: u64, len: usize, size: f32) -> Vec<f32> {
    let mixed = |i: u64| (i + (stream << 32) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    let uniform = |i| (mixed(i).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    (0..len as u64).map(|i| half::bf16::from_f32(size * uniform(i)).to_f32()).collect()
}

/// What is found, `[n, h·e]` and `[n, h]`.
type Found<T> = (Vec<T>, Vec<T>);

impl Case {
    /// By engines of one kind, with numbers from `widen`.
    fn run<T: Real, E: Engine<T>>(&self, widen: impl Fn(f32) -> T, engine: impl Fn() -> E + Sync) -> Found<T> {
        let be = Cpu::<T>::default();
        let width = self.heads * self.e;
        let mat = |stream, rows: usize, cols: usize, size| Mat::<Cpu<T>> {
            rows,
            cols,
            buf: be.upload(numbers(stream, rows * cols, size).into_iter().map(&widen).collect()),
        };
        let (rows, cols) = (self.rows.iter().sum(), self.cols.iter().sum());
        let size = 4.0 / (self.e as f32).sqrt();
        let (q, k, v) = (mat(0, rows, width, size), mat(1, cols, width, 2.0), mat(2, cols, width, 1.0));
        let table = mat(3, 32, self.heads, 3.0);
        let bias = self.direction.map(|direction| Bias { table: &table, direction, max_distance: 128 });
        let [rows, cols] = [self.rows, self.cols].map(|lengths| Segments::packed(&be, lengths.iter().copied()));
        let dropout = Noise::new(if self.dropout { 0.25 } else { 0.0 }, 7).draw();
        let a = Attend { q: &q, k: &k, v: &v, rows: &rows, cols: &cols, bias, heads: self.heads, dropout };
        let mut found = (vec![T::NAN; q.buf.len()], vec![T::NAN; q.rows * self.heads]);
        let distances = a.bias.as_ref().map(|bias| Distances::new(bias, rows.longest.max(cols.longest)));
        let pass = pass(&a, [&q.buf[..], &k.buf[..], &v.buf[..]], distances, (&mut found.0, Some(&mut found.1)));
        run(&a, &pass, engine);
        found
    }

    fn check<E: Engine<f32>>(&self, name: &str, engine: impl Fn() -> E + Sync, bound: f64) {
        let (o, log_sum) = self.run(|x| x, &engine);
        let (exact_o, exact_log_sum) = self.run(f64::from, gemm::Gemm::<f64>::default);
        let what = || {
            let Self { rows, cols, heads, e, direction, dropout } = self;
            format!("{name}: {rows:?} to {cols:?}, {heads} heads of {e}, {direction:?}, dropout {dropout}")
        };
        for (found, exact) in o.iter().zip(exact_o) {
            let error = (f64::from(*found) - exact).abs();
            assert!(error <= bound, "{}: {error:e}", what());
        }
        for (found, exact) in log_sum.iter().zip(exact_log_sum) {
            let error = (f64::from(*found) - exact).abs();
            assert!(error <= 1e-5 || f64::from(*found) == exact, "{}: {found} for {exact}", what());
        }
        for threads in [1, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| self.run(|x| x, &engine));
            let bits = |found: &[f32]| found.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&again.0) == bits(&o) && bits(&again.1) == bits(&log_sum), "{}, {threads} threads", what());
        }
    }
}

#[test]
fn every_engine_is_exact() {
    for case in cases() {
        case.check("gemm", gemm::Gemm::<f32>::default, 4e-6);
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(simd) = pulp::x86::V3::try_new() {
                case.check("AVX2", || lanes::Lanes::<_, 2>::new(simd), 4e-6);
            }
            if let Some(simd) = pulp::x86::V4::try_new() {
                case.check("AVX-512", || lanes::Lanes::<_, 4>::new(simd), 4e-6);
            }
        }
    }
}

/// Numbers that bf16 has are multiplied exactly, so that only the weights are rounded, each by up to a 256th of it.
#[cfg(target_arch = "x86_64")]
#[test]
fn tiles_round_weights_alone() {
    for instructions in tiles::Instructions::available() {
        for case in cases() {
            // What dropout keeps is larger by a third.
            case.check(&format!("{instructions:?}"), instructions.engine(), 1.34 / 256.0);
        }
    }
}
