//! What the integration tests share.

/// Asserts `‖found − wanted‖ ≤ bound · ‖wanted‖`. The only comparison of reals in the tests: NaN fails it.
pub fn assert_close(what: &str, found: &[f64], wanted: &[f64], bound: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}: lengths");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
    let size = norm(&mut wanted.iter().copied());
    assert!(error <= bound * size, "{what}: {error:.2e} off {size:.2e}, more than {bound:.0e} of it");
}
