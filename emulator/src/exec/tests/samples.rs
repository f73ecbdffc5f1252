//! The compiler's output for the sample kernels.

use super::harness::{Host, Param, line};

const SAXPY: &str = include_str!("../../../tests/ptx/saxpy.ptx");

#[test]
fn saxpy_is_exact_and_counted() {
    let host = Host::new(SAXPY);
    let n = 1000u32;
    let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.3).collect();
    let y: Vec<f32> = (0..n).map(|i| 3.0 - i as f32 * 0.7).collect();
    let (xs, ys) = (host.upload(&x), host.upload(&y));
    let params = [Param::Float(2.1), Param::Wide(xs), Param::Wide(ys), Param::Narrow(n)];
    let counters = host.run("saxpy", line(8, 128), &params).unwrap_or_else(|report| panic!("{report}"));
    let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 2.1f32.mul_add(*x, *y)).collect();
    assert_eq!(host.download::<f32>(ys, n as usize), expected);
    // 1000 elements are 125 sectors, read twice and written once, in 32 warps of which the last has 8 lanes.
    assert_eq!((counters.global_loads.transactions, counters.global_loads.least), (250, 250));
    assert_eq!((counters.global_stores.transactions, counters.global_stores.bytes), (125, 4000));
    assert_eq!(counters.flops_f32, 2000);
}
