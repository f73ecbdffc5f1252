//! How fast it is. `cargo test --release -p glimmer-emulator speed -- --ignored --nocapture` measures.

use super::harness::{Host, Param, line};

/// Seconds that this thread has had of a processor: what others do on the machine is then of no account.
fn seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is valid for a write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn wide(address: u64) -> [Param; 4] {
    [Param::Wide(address), Param::Wide(0), Param::Wide(0), Param::Wide(0)]
}

/// Arithmetic in a loop: ten instructions a turn.
const ARITHMETIC: &str = "mov.u32 %r0,%tid.x; mov.u32 %r1,0; cvt.rn.f32.u32 %f1,%r0; L: fma.rn.f32 %f1,%f1,0f3F7FFFFF,0f3F800000; \
    add.u32 %r2,%r0,%r1; xor.b32 %r3,%r2,%r0; mul.lo.u32 %r0,%r3,5; fma.rn.f32 %f2,%f1,%f1,%f1; add.f32 %f1,%f1,%f2; \
    shl.b32 %r2,%r0,3; add.u32 %r1,%r1,1; setp.lt.u32 %p1,%r1,2000; @%p1 bra L; ld.param.u64 %rd1,[a]; mov.u32 %r5,%tid.x; \
    mul.wide.u32 %rd2,%r5,4; add.s64 %rd1,%rd1,%rd2; st.global.f32 [%rd1],%f1;";

#[test]
#[ignore = "a measurement"]
fn speed_of_arithmetic() {
    let host = Host::of_body(ARITHMETIC);
    let a = host.upload(&[0f32; 256]);
    host.run("k", line(1, 256), &wide(a)).unwrap();
    let start = seconds();
    let counters = host.run("k", line(1, 256), &wide(a)).unwrap();
    let rate = counters.instructions.lanes as f64 / (seconds() - start);
    println!("{:.0} million lane instructions a second", rate / 1e6);
    assert!(rate >= 100e6, "{rate:e} lane instructions a second");
}

#[test]
#[ignore = "a measurement"]
fn speed_of_matrices() {
    let matmul = include_str!("../../../tests/ptx/matmul.ptx");
    let host = Host::new(matmul);
    let n = 512usize;
    let short = |i: usize| half::bf16::from_f32(((i * 31 % 17) as f32 - 8.0) / 16.0);
    let x: Vec<half::bf16> = (0..n * n).map(short).collect();
    let (xs, ws, ys) = (host.upload(&x), host.upload(&x), host.upload(&vec![0f32; n * n]));
    let sides = Param::Narrow(n as u32);
    let params = [Param::Wide(xs), Param::Wide(ws), Param::Wide(ys), sides, sides];
    let blocks = (n / 64) as u32;
    let start = seconds();
    let shape = super::harness::Shape([blocks, blocks, 1], [128, 1, 1], 0);
    let counters = host.run("matmul", shape, &params).unwrap_or_else(|report| panic!("{report}"));
    let seconds = seconds() - start;
    let work: u64 = counters.matrix.values().map(|work| work.multiply_adds).sum();
    let rate = 2.0 * work as f64 / seconds;
    println!(
        "{counters}\n{:.2} GFLOP/s, {:.0} million lane instructions a second",
        rate / 1e9,
        counters.instructions.lanes as f64 / seconds / 1e6
    );
    assert!(rate >= 2e9, "{rate:e} operations a second");
}
