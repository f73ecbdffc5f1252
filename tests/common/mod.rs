//! What the integration tests share.
#![allow(dead_code, reason = "every suite compiles all of this and uses its part")]

pub mod emulated;
pub mod naive;
pub mod naive_bwd;

use glimmer::backend::Element;

/// Asserts `‖found − wanted‖ ≤ bound · ‖wanted‖`. The only comparison of reals in the tests: NaN fails it.
pub fn assert_close(what: &str, found: &[f64], wanted: &[f64], bound: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}: lengths");
    // Scaled by the largest, so that squares of neither huge nor tiny numbers leave the range.
    let scale = wanted.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| (x / scale).powi(2)).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
    let size = norm(&mut wanted.iter().copied());
    assert!(error <= bound * size, "{what}: {error:.2e} off {size:.2e} (in {scale:.1e}), more than {bound:.0e} of it");
}

/// [`assert_close`] row by row, so that no row hides behind larger ones.
pub fn assert_rows_close(what: &str, found: &[f64], wanted: &naive::Matrix, bound: f64) {
    assert_eq!(found.len(), wanted.data.len(), "{what}: elements");
    for (i, (found, wanted)) in found.chunks(wanted.cols).zip(wanted.rows()).enumerate() {
        assert_close(&format!("{what}, row {i}"), found, wanted, bound);
    }
}

/// The distance from 1 to the next number of `E`.
pub fn epsilon<E: Element>() -> f64 {
    let mut epsilon = 1.0;
    while E::from_f64(1.0 + epsilon / 2.0).to_f64() > 1.0 {
        epsilon /= 2.0;
    }
    epsilon
}

/// The relative error that a chain of sums of at most `terms` products may have in `E`: roundings add up like a random
/// walk, and a few units more come from what is around the sums. The one place where tolerances are made.
pub fn tolerance<E: Element>(terms: usize) -> f64 {
    epsilon::<E>() * (8.0 + 2.0 * (terms as f64).sqrt())
}

/// Narrow and back: the number that a machine of `E` is given for `x`.
pub fn round<E: Element>(x: f64) -> f64 {
    E::from_f64(x).to_f64()
}
