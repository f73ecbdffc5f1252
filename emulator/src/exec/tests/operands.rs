//! Instructions run on operands of many kinds, and what comes of them held against a formula or a table.

use super::harness::{Host, Param, line};

/// Runs `op` on 32 lanes with operands `a`, `b` and `c`; loads and stores are of these widths in bits.
pub fn lanes(op: &str, (from, to): (u32, u32), a: [u64; 32], b: [u64; 32], c: [u64; 32]) -> [u64; 32] {
    let load = |register: &str, param: &str| match from {
        64 => format!("ld.param.u64 %rd1,[{param}]; add.s64 %rd1,%rd1,%rd0; ld.global.b64 %rd{register},[%rd1];"),
        32 => format!("ld.param.u64 %rd1,[{param}]; add.s64 %rd1,%rd1,%rd0; ld.global.b32 %r{register},[%rd1];"),
        _ => format!("ld.param.u64 %rd1,[{param}]; add.s64 %rd1,%rd1,%rd0; ld.global.b16 %h{register},[%rd1];"),
    };
    let result = match to {
        64 => "st.global.b64 [%rd1],%rd20;",
        32 => "st.global.b32 [%rd1],%r20;",
        _ => "st.global.b16 [%rd1],%h20;",
    };
    let body = format!(
        "mov.u32 %r0,%tid.x; mul.wide.u32 %rd0,%r0,8; {} {} {} {op} ld.param.u64 %rd1,[d]; add.s64 %rd1,%rd1,%rd0; {result}",
        load("10", "a"),
        load("11", "b"),
        load("12", "c"),
    );
    let host = Host::of_body(&body);
    let d = host.upload(&[0u64; 32]);
    let params = [&a, &b, &c].map(|values| Param::Wide(host.upload(values)));
    host.run("k", line(1, 32), &[params[0], params[1], params[2], Param::Wide(d)])
        .unwrap_or_else(|r| panic!("{op}: {r}"));
    host.download::<u64>(d, 32).try_into().unwrap()
}

fn numbers(seed: u64) -> [u64; 32] {
    let special = [0, 1, !0, 1 << 31, 1 << 63, 0x7fff_ffff, 0x8000, 0x7fff, 0xffff];
    let mut state = seed;
    std::array::from_fn(|i| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        special.get(i).copied().filter(|_| seed.is_multiple_of(2)).unwrap_or(state >> 3 ^ state << 30)
    })
}

/// Three operands of so many bits, and a result of so many.
pub fn check_bits(op: &str, (from, to): (u32, u32), f: impl Fn(u64, u64, u64) -> u64) {
    let (sources, results) = (!0u64 >> (64 - from), !0u64 >> (64 - to));
    for seed in [1, 2, 3] {
        let (a, b, c) = (numbers(seed), numbers(seed + 7), numbers(seed + 10));
        let got = lanes(op, (from, to), a, b, c);
        for i in 0..32 {
            let [a, b, c] = [a[i], b[i], c[i]].map(|x| x & sources);
            let expected = f(a, b, c) & results;
            assert_eq!(got[i] & results, expected, "{op}: {a:#x} {b:#x} {c:#x}: {:#x}, {expected:#x}", got[i]);
        }
    }
}

/// Three operands of 16 bits, in `%h10` to `%h12`, and the result in `%h20`.
pub fn check_short(op: &str, f: impl Fn(u16, u16, u16) -> u16) {
    check_bits(op, (16, 16), |a, b, c| u64::from(f(a as u16, b as u16, c as u16)));
}

/// Three operands of 32 bits, in `%r10` to `%r12`, and the result in `%r20`.
pub fn check(op: &str, f: impl Fn(u32, u32, u32) -> u32) {
    check_bits(op, (32, 32), |a, b, c| u64::from(f(a as u32, b as u32, c as u32)));
}

/// Three operands of 64 bits, in `%rd10` to `%rd12`, and the result in `%rd20`.
pub fn check_wide(op: &str, f: impl Fn(u64, u64, u64) -> u64) {
    check_bits(op, (64, 64), f);
}

/// Operands and the result that is due, bit by bit; any NaN (by `is_nan`) stands for all.
pub fn table(op: &str, bits: u32, cases: &[([u64; 3], u64)], is_nan: impl Fn(u64) -> bool) {
    for cases in cases.chunks(32) {
        let of = |i: usize| std::array::from_fn(|lane| cases[lane % cases.len()].0[i]);
        let got = lanes(op, (bits, bits), of(0), of(1), of(2));
        for (&([a, b, c], expected), got) in cases.iter().zip(got) {
            let same = got == expected || (is_nan(got) && is_nan(expected));
            assert!(same, "{op}: {a:#x} {b:#x} {c:#x}: {got:#x}, {expected:#x} is due");
        }
    }
}

/// f32 in `%f10` to `%f12`, and the result in `%f20`.
pub fn single_table(op: &str, cases: &[([f32; 3], f32)]) {
    let op = format!("mov.b32 %f10,%r10; mov.b32 %f11,%r11; mov.b32 %f12,%r12; {op} mov.b32 %r20,%f20;");
    let bits = |x: f32| u64::from(x.to_bits());
    let cases: Vec<_> = cases.iter().map(|&(operands, result)| (operands.map(bits), bits(result))).collect();
    table(&op, 32, &cases, |x| f32::from_bits(x as u32).is_nan());
}

/// f64 in `%fd10` to `%fd12`, and the result in `%fd20`.
pub fn double_table(op: &str, cases: &[([f64; 3], f64)]) {
    let op = format!("mov.b64 %fd10,%rd10; mov.b64 %fd11,%rd11; mov.b64 %fd12,%rd12; {op} mov.b64 %rd20,%fd20;");
    let cases: Vec<_> =
        cases.iter().map(|&(operands, result)| (operands.map(f64::to_bits), result.to_bits())).collect();
    table(&op, 64, &cases, |x| f64::from_bits(x).is_nan());
}

/// 16 bits in `%h10` to `%h12`, and the result in `%h20`.
pub fn short_table(op: &str, cases: &[([u16; 3], u16)]) {
    let cases: Vec<_> = cases.iter().map(|&(operands, result)| (operands.map(u64::from), u64::from(result))).collect();
    table(op, 16, &cases, |_| false);
}

/// 32 bits in `%r10` to `%r12`, and the result in `%r20`.
pub fn word_table(op: &str, cases: &[([u32; 3], u32)]) {
    let cases: Vec<_> = cases.iter().map(|&(operands, result)| (operands.map(u64::from), u64::from(result))).collect();
    table(op, 32, &cases, |_| false);
}

/// f32, NaN among them.
pub fn singles(op: &str, f: impl Fn(f32, f32, f32) -> f32) {
    let special =
        [0.0f32, -0.0, 1.0, -1.5, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-45, f32::MAX, f32::NAN, 0.1, 3e38];
    let pick = |i: usize, k: usize| u64::from(special[(i * k + i / 3 + k) % special.len()].to_bits());
    let (a, b, c) =
        (std::array::from_fn(|i| pick(i, 1)), std::array::from_fn(|i| pick(i, 5)), std::array::from_fn(|i| pick(i, 7)));
    let got = lanes(op, (32, 32), a, b, c);
    for i in 0..32 {
        let value = |bits: u64| f32::from_bits(bits as u32);
        let (got, expected) = (value(got[i]), f(value(a[i]), value(b[i]), value(c[i])));
        let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
        assert!(same, "{op}: {} {} {}: {got:e}, expected {expected:e}", value(a[i]), value(b[i]), value(c[i]));
    }
}
