use super::*;

/// Rows, inner dimension, outputs: either side of every edge of words, lines, slabs, panels and tasks.
const SIZES: [(usize, usize, usize); 16] = [
    (0, 64, 32),
    (1, 1, 1),
    (1, 63, 33),
    (2, 64, 31),
    (3, 65, 32),
    (4, 3, 70),
    (5, 130, 65),
    (7, 31, 16),
    (8, 96, 17),
    (9, 33, 40),
    (16, 128, 96),
    (31, 67, 5),
    (32, 32, 64),
    (33, 129, 33),
    (70, 200, 100),
    (300, 256, 64),
];

/// Nearly normally distributed numbers: sums of twelve even ones. Another `stream` gives others.
fn normal(stream: u64, len: usize, deviation: f64) -> Vec<f32> {
    let mut state = stream.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut even = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..len).map(|_| (deviation * ((0..12).map(|_| even()).sum::<f64>() - 6.0)) as f32).collect()
}

/// Those of `packings` that this processor has instructions for.
fn packings() -> Vec<Packing> {
    let f32 = (!Vectors::available().is_empty()).then_some(Packing::F32);
    [Packing::Bf16, Packing::Int8].into_iter().chain(f32).collect()
}

/// The products of `x` with each weight, by themselves.
fn products(packing: Packing, path: Path, x: &[f32], w: &[&[f32]], outputs: usize) -> Vec<Vec<f32>> {
    let packed: Vec<_> = w.iter().map(|w| Packed::new(packing, w, outputs).unwrap()).collect();
    let rows = x.len() / packed[0].inner;
    let mut y = vec![vec![f32::NAN; rows * outputs]; w.len()];
    let weights: Vec<_> = packed.iter().collect();
    let mut outs: Vec<_> = y.iter_mut().map(Vec::as_mut_slice).collect();
    Family { x, weights: &weights, finish: Finish::Store, path }.run(&mut outs);
    y
}

fn product(packing: Packing, path: Path, x: &[f32], w: &[f32], outputs: usize) -> Vec<f32> {
    products(packing, path, x, &[w], outputs).remove(0)
}

fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

/// Integers and scale of a row, by the words of the docstrings.
fn quantised(row: &[f32]) -> (Vec<i64>, f32) {
    let largest = row.iter().fold(0.0f32, |m, x| m.max(x.abs())).max(2f32.powi(-100));
    let integer = |&x: &f32| (x * (127.0 / largest)).round_ties_even() as i64;
    (row.iter().map(integer).collect(), largest / 127.0)
}

/// The product of quantised rows, bit for bit.
fn plain(x: &[f32], w: &[f32], inner: usize) -> Vec<f32> {
    let w: Vec<_> = w.chunks(inner).map(quantised).collect();
    let row = |x: &[f32]| {
        let (q, scale) = quantised(x);
        let of = |(p, other): &(Vec<i64>, f32)| {
            let sum: i64 = q.iter().zip(p).map(|(a, b)| a * b).sum();
            sum as f32 * (scale * other)
        };
        w.iter().map(of).collect::<Vec<_>>()
    };
    x.chunks(inner).flat_map(row).collect()
}

#[test]
fn every_path_gives_the_bits_of_exact_sums() {
    for (rows, inner, outputs) in SIZES {
        let (x, w) = (normal(0, rows * inner, 1.0), normal(1, outputs * inner, 0.1));
        let wanted = plain(&x, &w, inner);
        for &path in Path::available() {
            let found = product(Packing::Int8, path, &x, &w, outputs);
            assert_eq!(bits(&found), bits(&wanted), "{path:?}, {rows} × {inner} → {outputs}");
        }
    }
}

/// All sums as large as they can be, of both signs: nothing saturates, nothing overflows.
#[test]
fn the_largest_sums_fit() {
    let inner = int8::LONGEST;
    let alternating: Vec<f32> = (0..inner).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let rows = [vec![1.0; inner], vec![-1.0; inner], alternating].concat();
    let sum = (127.0 * 127.0 * inner as f32) * ((1.0 / 127.0) * (1.0 / 127.0));
    let wanted = [sum, -sum, 0.0, -sum, sum, 0.0, 0.0, 0.0, sum];
    for &path in Path::available() {
        assert_eq!(product(Packing::Int8, path, &rows, &rows, 3), wanted, "{path:?}");
    }
    assert!(Packed::new(Packing::Int8, &vec![1.0; inner + 1], 1).is_none(), "there they would not");
    assert!(Packed::new(Packing::Bf16, &[], 3).is_none());
}

/// Half a step of the row times the weights, half a step of the weights times the row, both at once, and roundings of
/// f32.
#[test]
fn errors_are_below_half_a_step() {
    for (rows, inner, outputs) in SIZES {
        for (of_x, of_w) in [(1.0, 0.1), (1e30, 1e-3), (1e-25, 1.0), (3e-30, 1e20), (1e18, 1e18)] {
            let (x, w) = (normal(2, rows * inner, of_x), normal(3, outputs * inner, of_w));
            let found = product(Packing::Int8, Path::best(), &x, &w, outputs);
            for (r, x) in x.chunks(inner).enumerate() {
                for (o, w) in w.chunks(inner).enumerate() {
                    let (found, wide) = (f64::from(found[r * outputs + o]), |x: &f32| f64::from(*x));
                    let exact: f64 = x.iter().zip(w).map(|(x, w)| wide(x) * wide(w)).sum();
                    let step = |row: &[f32]| f64::from(quantised(row).1) * 0.500_01;
                    let size = |row: &[f32]| row.iter().map(|x| wide(x).abs()).sum::<f64>();
                    let bound = step(x) * size(w) + step(w) * size(x) + inner as f64 * step(x) * step(w);
                    let error = (found - exact).abs();
                    assert!(error <= bound + 4e-7 * exact.abs(), "{rows} × {inner}: {error:e} > {bound:e}");
                }
            }
        }
    }
}

#[test]
fn rows_without_numbers_stay_among_themselves() {
    let (rows, inner, outputs) = (40, 70, 33);
    let w = normal(1, outputs * inner, 0.1);
    let mut x = normal(0, rows * inner, 1.0);
    let before = x.clone();
    for (row, odd) in [(1, f32::NAN), (20, f32::INFINITY), (39, f32::NEG_INFINITY)] {
        x[row * inner + row] = odd;
    }
    x[2 * inner..3 * inner].fill(0.0);
    x[3 * inner..4 * inner].fill(f32::MAX / 1e3);
    x[4 * inner..5 * inner].fill(-1e-42);
    for packing in packings() {
        for &path in Path::available().iter().filter(|&&path| covers(packing, rows, path)) {
            for count in [5, rows] {
                let found = product(packing, path, &x[..count * inner], &w, outputs);
                let undisturbed = product(packing, path, &before[..count * inner], &w, outputs);
                for (r, (found, undisturbed)) in found.chunks(outputs).zip(undisturbed.chunks(outputs)).enumerate() {
                    let what = format!("{packing:?} by {path:?}, row {r} of {count}");
                    match r {
                        1 => assert!(found.iter().all(|y| y.is_nan()), "{what}"),
                        20 | 39 => assert!(found.iter().all(|y| !y.is_finite()), "{what}"),
                        2 => assert!(found.iter().all(|&y| y == 0.0), "{what}"),
                        3 => assert!(found.iter().all(|y| y.is_finite() && *y != 0.0), "{what}"),
                        4 => assert!(found.iter().all(|y| y.abs() <= 1e-30), "{what}"),
                        _ => assert_eq!(bits(found), bits(undisturbed), "{what}"),
                    }
                }
            }
        }
    }
}

/// Products with bf16 are those in f32 with the rounded weights: the sums may be added in any order, in f32.
#[test]
fn bf16_is_exact_but_for_the_weights() {
    for (rows, inner, outputs) in SIZES {
        for (of_x, of_w) in [(1.0, 0.1), (1e25, 1e-3), (1e-20, 1.0)] {
            let (x, w) = (normal(4, rows * inner, of_x), normal(5, outputs * inner, of_w));
            let round = |x: &f32| f64::from(half::bf16::from_f32(*x).to_f32());
            for &path in Path::available().iter().filter(|&&path| covers(Packing::Bf16, rows, path)) {
                let found = product(Packing::Bf16, path, &x, &w, outputs);
                for (r, x) in x.chunks(inner).enumerate() {
                    for (o, w) in w.chunks(inner).enumerate() {
                        let terms: Vec<f64> = x.iter().zip(w).map(|(x, w)| f64::from(*x) * round(w)).collect();
                        let (exact, size) = (terms.iter().sum::<f64>(), terms.iter().map(|t| t.abs()).sum::<f64>());
                        let error = (f64::from(found[r * outputs + o]) - exact).abs();
                        // Each of three times as many sums may be half a unit off.
                        let bound = 3.0 * (inner as f64 + 2.0) * f64::from(f32::EPSILON) / 2.0 * size;
                        assert!(error <= bound, "{path:?}, {rows} × {inner} → {outputs}: {error:e} > {bound:e}");
                    }
                }
            }
        }
    }
}

/// Products in f32 by all vectors: the sums may be added in any order.
#[test]
fn f32_is_as_exact_as_its_sums() {
    for (rows, inner, outputs) in SIZES.into_iter().chain([(40, 700, 130)]) {
        let (x, w) = (normal(4, rows * inner, 1.0), normal(5, outputs * inner, 0.1));
        for vectors in Vectors::available() {
            let values = Values::F32(Single::pack(&w, outputs, vectors));
            let packed = Packed { outputs, inner, slabs: Vec::new(), values };
            let mut found = vec![f32::NAN; rows * outputs];
            let family = Family { x: &x, weights: &[&packed], finish: Finish::Store, path: Path::best() };
            family.run(&mut [&mut found]);
            for (r, x) in x.chunks(inner).enumerate() {
                for (o, w) in w.chunks(inner).enumerate() {
                    let terms: Vec<f64> = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).collect();
                    let (exact, size) = (terms.iter().sum::<f64>(), terms.iter().map(|t| t.abs()).sum::<f64>());
                    let error = (f64::from(found[r * outputs + o]) - exact).abs();
                    let bound = (inner as f64 + 2.0) * f64::from(f32::EPSILON) / 2.0 * size;
                    assert!(error <= bound, "{rows} × {inner} → {outputs}: {error:e} > {bound:e}");
                }
            }
        }
    }
}

/// What makes a decoding step of one question equal that of a batch.
#[test]
fn a_few_rows_are_each_as_it_would_be_alone() {
    let (inner, outputs) = (330, 70);
    let (x, w) = (normal(6, 100 * inner, 1.0), normal(7, outputs * inner, 0.1));
    for packing in packings() {
        let alone: Vec<f32> = x.chunks(inner).flat_map(|x| product(packing, Path::best(), x, &w, outputs)).collect();
        let many: &[usize] = if packing == Packing::F32 { &[9, 24, 32, 33, 50, 100] } else { &[] };
        for rows in (1..=8).chain(many.iter().copied()) {
            let found = product(packing, Path::best(), &x[..rows * inner], &w, outputs);
            assert_eq!(bits(&found), bits(&alone[..rows * outputs]), "{packing:?}, {rows} rows");
        }
    }
}

#[test]
fn products_do_not_depend_on_threads() {
    let (inner, outputs) = (70, 130);
    let w = normal(7, outputs * inner, 0.1);
    for rows in [9, 32, 33, 66, 200, 257] {
        let x = normal(6, rows * inner, 1.0);
        for packing in packings().into_iter().filter(|&p| covers(p, rows, Path::best())) {
            let run = || bits(&product(packing, Path::best(), &x, &w, outputs));
            let found = run();
            for threads in [1, 2, 3, 16] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(pool.install(run), found, "{packing:?}, {rows} rows, {threads} threads");
            }
        }
    }
}

#[test]
fn what_becomes_of_products_is_the_same_as_after_them() {
    for packing in packings() {
        for (rows, inner, outputs) in SIZES.into_iter().filter(|&(rows, ..)| covers(packing, rows, Path::best())) {
            let x = normal(0, rows * inner, 1.0);
            let w = [1, 2].map(|stream| normal(stream, outputs * inner, 0.1));
            let family = products(packing, Path::best(), &x, &[&w[0], &w[1]], outputs);
            let alone = w.each_ref().map(|w| product(packing, Path::best(), &x, w, outputs));
            assert_eq!(family, alone);
            let packed = w.map(|w| Packed::new(packing, &w, outputs).unwrap());
            let run = |weights: &[&Packed], finish, y: &mut [f32]| {
                Family { x: &x, weights, finish, path: Path::best() }.run(&mut [y]);
            };
            let mut y = normal(8, rows * outputs, 1.0);
            let wanted: Vec<f32> = y.iter().zip(&alone[0]).map(|(y, x)| y + x).collect();
            run(&[&packed[0]], Finish::Add, &mut y);
            assert_eq!(y, wanted, "{packing:?} {rows} × {inner} → {outputs}");
            run(&[&packed[0], &packed[1]], Finish::Gate, &mut y);
            let gate = |(&a, &b): (&f32, &f32)| crate::cpu::geglu::gelu(a) * b;
            let wanted: Vec<f32> = alone[0].iter().zip(&alone[1]).map(gate).collect();
            assert_eq!(y, wanted, "{packing:?} {rows} × {inner} → {outputs}");
        }
    }
}

#[test]
fn packing_is_rounding() {
    for (_, inner, outputs) in SIZES {
        let w = normal(9, outputs * inner, 0.1);
        let unpacked = |packing| {
            let mut found = vec![f32::NAN; w.len()];
            Packed::new(packing, &w, outputs).unwrap().unpack(&mut found);
            found
        };
        if packings().contains(&Packing::F32) {
            assert_eq!(unpacked(Packing::F32), w);
        }
        let round = |x: &f32| half::bf16::from_f32(*x).to_f32();
        assert_eq!(unpacked(Packing::Bf16), w.iter().map(round).collect::<Vec<_>>());
        let row = |row: &[f32]| {
            let (q, scale) = quantised(row);
            q.into_iter().map(|q| q as f32 * scale).collect::<Vec<_>>()
        };
        assert_eq!(unpacked(Packing::Int8), w.chunks(inner).flat_map(row).collect::<Vec<_>>());
    }
}
