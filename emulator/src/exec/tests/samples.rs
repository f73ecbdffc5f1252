//! The compiler's output for the sample kernels.

use super::harness::{Host, Param, line};

const SAXPY: &str = include_str!("../../../tests/ptx/saxpy.ptx");

#[test]
fn saxpy_is_exact_and_counted() {
    let host = Host::new(SAXPY);
    let n = 1000u32;
    let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
    let y: Vec<f32> = (0..n).map(|i| 3.0 - i as f32).collect();
    let (xs, ys) = (host.upload(&x), host.upload(&y));
    for kernel in host.module.kernels() {
        println!("{} {:?} {}", kernel.name(), kernel.parameters(), kernel.registers());
    }
    let name = host.module.kernels().next().unwrap().name().to_owned();
    let counters = host.run(&name, line(8, 128), &[Param::Float(2.0), Param::Wide(xs), Param::Wide(ys), Param::Narrow(n)]);
    println!("{}", counters.unwrap_or_else(|report| panic!("{report}")));
    let _ = (x, y);
}
