//! Matrix multiply-adds, and the loads that feed them.

use super::harness::{Host, Param, line};

fn value(i: usize) -> f32 {
    ((i * 37 % 23) as f32 - 11.0) / 8.0
}

/// `[16, k] · [k, 8]`, fragments gathered by hand from the documented layouts.
fn multiply(opcode: &str, k: usize, bits: u32, encode: &dyn Fn(f32) -> u32) -> (Vec<f32>, Vec<f32>) {
    let per_register = (32 / bits) as usize;
    let (a_registers, b_registers) = (16 * k / 32 / per_register, 8 * k / 32 / per_register);
    let pack = |at: &dyn Fn(usize) -> f32| {
        (0..per_register).fold(0u32, |word, i| word | encode(at(i)) << (bits * i as u32 % 32))
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for register in 0..a_registers {
        for lane in 0..32 {
            let (row, column) = (lane / 4 + 8 * (register % 2), per_register * (lane % 4 + 4 * (register / 2)));
            a.push(pack(&|i| value(row * k + column + i)));
        }
    }
    for register in 0..b_registers {
        for lane in 0..32 {
            let (row, column) = (per_register * (lane % 4 + 4 * register), lane / 4);
            b.push(pack(&|i| value((row + i) * 8 + column + 5)));
        }
    }
    let loads = |name: &str, base: u32, count: usize| -> String {
        (0..count).map(|i| format!("ld.global.u32 %r{},[%{name}+{}];", base + i as u32, i * 128)).collect()
    };
    let list =
        |base: u32, count: usize| (0..count).map(|i| format!("%r{}", base + i as u32)).collect::<Vec<_>>().join(",");
    let body = format!(
        "mov.u32 %r0,%tid.x; mul.wide.u32 %rd0,%r0,4; ld.param.u64 %rd1,[a]; add.s64 %rd1,%rd1,%rd0; ld.param.u64 %rd2,[b]; \
         add.s64 %rd2,%rd2,%rd0; ld.param.u64 %rd3,[d]; add.s64 %rd3,%rd3,%rd0; {} {} mov.f32 %f0,0f3F800000; \
         {opcode} {{%f1,%f2,%f3,%f4}},{{{}}},{{{}}},{{%f0,%f0,%f0,%f0}}; \
         st.global.f32 [%rd3],%f1; st.global.f32 [%rd3+128],%f2; st.global.f32 [%rd3+256],%f3; st.global.f32 [%rd3+384],%f4;",
        loads("rd1", 10, a_registers),
        loads("rd2", 30, b_registers),
        list(10, a_registers),
        list(30, b_registers),
    );
    let host = Host::of_body(&body);
    let d = host.upload(&[0f32; 128]);
    let params = [Param::Wide(host.upload(&a)), Param::Wide(host.upload(&b)), Param::Wide(0), Param::Wide(d)];
    let counters = host.run("k", line(1, 32), &params).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(counters.matrix.values().next().unwrap().multiply_adds, 128 * k as u64);
    let mut expected = vec![0.0; 128];
    for register in 0..4 {
        for lane in 0..32 {
            let (row, column) = (lane / 4 + 8 * (register / 2), 2 * (lane % 4) + register % 2);
            let products = (0..k).map(|i| value(row * k + i) * value(i * 8 + column + 5));
            expected[register * 32 + lane] = 1.0 + products.sum::<f32>();
        }
    }
    (host.download(d, 128), expected)
}

#[test]
fn floats_of_every_shape() {
    // The values are multiples of 1/8 below 2: products and sums are exact in every format.
    let bf16 = |x: f32| u32::from(half::bf16::from_f32(x).to_bits());
    let f16 = |x: f32| u32::from(half::f16::from_f32(x).to_bits());
    let tf32 = |x: f32| x.to_bits();
    for (opcode, k, bits, encode) in [
        ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 16, 16, &bf16 as &dyn Fn(f32) -> u32),
        ("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 8, 16, &bf16),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 16, 16, &f16),
        ("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 8, 16, &f16),
        ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 8, 32, &tf32),
        ("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", 4, 32, &tf32),
    ] {
        let (got, expected) = multiply(opcode, k, bits, encode);
        assert_eq!(got, expected, "{opcode}");
    }
}

#[test]
fn matrices_are_loaded_straight_and_transposed_and_stored_back() {
    // A tile of two 8 × 8 matrices, one below the other, filled with 0, 1, 2, …
    let body = |trans: &str| {
        format!(
            "mov.u32 %r0,%tid.x; mov.u32 %r3,tile; mul.lo.u32 %r1,%r0,16; and.b32 %r1,%r1,255; add.u32 %r1,%r1,%r3; mul.lo.u32 %r2,%r0,8; \
             add.u32 %r2,%r2,%r3; mul.lo.u32 %r4,%r0,4; cvt.u16.u32 %h0,%r4; add.u16 %h1,%h0,1; add.u16 %h2,%h0,2; add.u16 %h3,%h0,3; \
             mov.b64 %rd5,{{%h0,%h1,%h2,%h3}}; st.shared.b64 [%r2],%rd5; bar.sync 0; \
             ldmatrix.sync.aligned.m8n8.x2{trans}.shared.b16 {{%r10,%r11}},[%r1]; \
             ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,8; add.s64 %rd1,%rd1,%rd2; st.global.v2.u32 [%rd1],{{%r10,%r11}};"
        )
    };
    for (trans, element) in
        [("", (|g, p, i| 8 * g + 2 * p + i) as fn(u32, u32, u32) -> u32), (".trans", |g, p, i| 8 * (2 * p + i) + g)]
    {
        let host = Host::of_body(&body(trans));
        let a = host.upload(&[0u32; 64]);
        let counters = host.run("k", line(1, 32), &[Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)]);
        let counters = counters.unwrap_or_else(|report| panic!("{report}"));
        let got = host.download::<u32>(a, 64);
        for lane in 0..32 {
            for matrix in 0..2 {
                let at = |i| element(lane / 4, lane % 4, i) + 64 * matrix;
                assert_eq!(
                    got[(2 * lane + matrix) as usize],
                    at(0) | at(1) << 16,
                    "lane {lane}, matrix {matrix}{trans}"
                );
            }
        }
        assert_eq!((counters.shared_loads.transactions, counters.shared_loads.least), (2, 2));
    }
}

#[test]
fn copies_are_padded_with_zeros() {
    let host = Host::of_body(
        "mov.u32 %r0,%tid.x; mul.lo.u32 %r1,%r0,16; mov.u32 %r3,tile; add.u32 %r2,%r3,%r1; ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,16; \
         add.s64 %rd1,%rd1,%rd2; setp.lt.u32 %p1,%r0,3; selp.u32 %r4,16,0,%p1; setp.eq.u32 %p2,%r0,3; selp.u32 %r4,6,%r4,%p2; \
         cp.async.cg.shared.global [%r2],[%rd1],16,%r4; cp.async.wait_all; ld.shared.v4.u32 {%r5,%r6,%r7,%r8},[%r2]; \
         ld.param.u64 %rd3,[b]; add.s64 %rd3,%rd3,%rd2; st.global.v4.u32 [%rd3],{%r5,%r6,%r7,%r8};",
    );
    // Three whole copies and six bytes: the buffer ends there.
    let data: Vec<u8> = (1..=54).collect();
    let (a, b) = (host.upload(&data), host.upload(&[9u8; 512]));
    host.run("k", line(1, 32), &[Param::Wide(a), Param::Wide(b), Param::Wide(0), Param::Wide(0)])
        .unwrap_or_else(|r| panic!("{r}"));
    let mut expected = vec![0u8; 512];
    expected[..54].copy_from_slice(&data);
    assert_eq!(host.download::<u8>(b, 512), expected);
}

#[test]
fn bytes_add_up_to_words() {
    // a is all bytes of a lane's own number, b all -2: every sum of a row is the sum of its four lanes' numbers.
    for (shape, a, b, per_lane) in [("m16n8k32", 4, 2, 8), ("m16n8k16", 2, 1, 4)] {
        let list = |register: &str, count| vec![register; count].join(",");
        let body = format!(
            "mov.u32 %r0,%tid.x; mul.lo.u32 %r1,%r0,0x01010101; mov.u32 %r2,0xfefefefe; mov.u32 %r3,1000; \
             mma.sync.aligned.{shape}.row.col.s32.s8.s8.s32 {{%r4,%r5,%r6,%r7}},{{{}}},{{{}}},{{%r3,%r3,%r3,%r3}}; \
             ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,16; add.s64 %rd1,%rd1,%rd2; st.global.v4.u32 [%rd1],{{%r4,%r5,%r6,%r7}};",
            list("%r1", a),
            list("%r2", b),
        );
        let host = Host::of_body(&body);
        let d = host.upload(&[0i32; 128]);
        host.run("k", line(1, 32), &[Param::Wide(d), Param::Wide(0), Param::Wide(0), Param::Wide(0)]).unwrap();
        let got = host.download::<i32>(d, 128);
        for lane in 0..32 {
            let row: i32 = (0..4).map(|t| (lane / 4 * 4 + t) as i32).sum();
            assert_eq!(got[4 * lane..4 * lane + 4], [1000 - 2 * per_lane * row; 4], "{shape}, lane {lane}");
        }
    }
}

#[test]
fn what_is_stored_transposed_comes_back_transposed() {
    let host = Host::of_body(
        "mov.u32 %r0,%tid.x; mov.u32 %r3,tile; and.b32 %r1,%r0,7; mad.lo.u32 %r1,%r1,16,%r3; mul.lo.u32 %r2,%r0,0x10001; \
         add.u32 %r2,%r2,0x10000; stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%r1],{%r2}; bar.warp.sync 0xffffffff; \
         ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r4},[%r1]; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r5},[%r1]; \
         ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,8; add.s64 %rd1,%rd1,%rd2; st.global.v2.u32 [%rd1],{%r4,%r5};",
    );
    let a = host.upload(&[0u32; 64]);
    host.run("k", line(1, 32), &[Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)])
        .unwrap_or_else(|r| panic!("{r}"));
    let got = host.download::<u32>(a, 64);
    let own = |lane: u32, i: u32| lane + i;
    for lane in 0..32u32 {
        assert_eq!(got[2 * lane as usize], own(lane, 0) | own(lane, 1) << 16);
        // Row g, columns 2t and 2t + 1 of the transpose: rows 2t and 2t + 1, column g of what the lanes had.
        let (g, t) = (lane / 4, lane % 4);
        let at = |row: u32, column: u32| own(4 * row + column / 2, column % 2);
        assert_eq!(got[2 * lane as usize + 1], at(2 * t, g) | at(2 * t + 1, g) << 16, "lane {lane}");
    }
}

#[test]
fn matrices_come_in_ones_twos_and_fours() {
    // Lane i has the row of that number; what was stored comes back, and was where its row is.
    for (count, load, store) in [
        (1, "ldmatrix.sync.aligned.m8n8.x1.shared.b16", "stmatrix.sync.aligned.m8n8.x1.shared.b16"),
        (2, "ldmatrix.sync.aligned.m8n8.x2.shared::cta.b16", "stmatrix.sync.aligned.m8n8.x2.shared::cta.b16"),
        (4, "ldmatrix.sync.aligned.m8n8.x4.shared.b16", "stmatrix.sync.aligned.m8n8.x4.shared.b16"),
        (4, "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16"),
        (4, "ldmatrix.sync.aligned.m8n8.x4.b16", "stmatrix.sync.aligned.m8n8.x4.b16"),
    ] {
        let list = |base: usize| (0..count).map(|i| format!("%r{}", base + i)).collect::<Vec<_>>().join(",");
        let fill: String = (0..count).map(|i| format!("add.u32 %r{},%r0,{};", 10 + i, 1000 * i)).collect();
        let keep: String = (0..count).map(|i| format!("st.global.u32 [%rd1+{}],%r{};", 128 * i, 20 + i)).collect();
        let address = if load.contains("shared") { "%r1" } else { "%rd5" };
        let body = format!(
            "mov.u32 %r0,%tid.x; mov.u32 %r3,tile; mad.lo.u32 %r1,%r0,16,%r3; cvt.u64.u32 %rd5,%r1; cvta.shared.u64 %rd5,%rd5; {fill} \
             {store} [{address}],{{{}}}; bar.warp.sync 0xffffffff; {load} {{{}}},[{address}]; ld.shared.u32 %r30,[tile+4]; \
             ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,4; add.s64 %rd1,%rd1,%rd2; {keep} st.global.u32 [%rd1+512],%r30;",
            list(10),
            list(20)
        );
        let host = Host::of_body(&body);
        let a = host.upload(&[0u32; 160]);
        host.run("k", line(1, 32), &[Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)])
            .unwrap_or_else(|report| panic!("{load}: {report}"));
        let got = host.download::<u32>(a, 160);
        for matrix in 0..count {
            let own: Vec<u32> = (0..32).map(|lane| lane + 1000 * matrix as u32).collect();
            assert_eq!(got[32 * matrix..32 * matrix + 32], own, "{load}");
        }
        // Columns 2 and 3 of row 0: lane 1's word, or of the transpose the lower halves of lanes 8 and 12.
        let expected = if load.contains("trans") { 8 | 12 << 16 } else { 1 };
        assert_eq!(got[128], expected, "{load}");
    }
}

#[test]
fn sums_of_f16_and_sums_that_stop_at_the_ends() {
    let run = |opcode: &str, (d, a, b, c): (usize, usize, usize, usize), [x, y, z]: [u32; 3]| {
        let list = |register: &str, count| vec![register; count].join(",");
        let results: Vec<String> = (0..d).map(|i| format!("%r{}", 20 + i)).collect();
        let body = format!(
            "mov.u32 %r0,%tid.x; mov.u32 %r1,{x}; mov.u32 %r2,{y}; mov.u32 %r3,{z}; {opcode} {{{}}},{{{}}},{{{}}},{{{}}}; \
             ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,4; add.s64 %rd1,%rd1,%rd2; st.global.u32 [%rd1],%r{};",
            results.join(","),
            list("%r1", a),
            list("%r2", b),
            list("%r3", c),
            19 + d,
        );
        let host = Host::of_body(&body);
        let d = host.upload(&[0u32; 32]);
        host.run("k", line(1, 32), &[Param::Wide(d), Param::Wide(0), Param::Wide(0), Param::Wide(0)])
            .unwrap_or_else(|report| panic!("{opcode}: {report}"));
        let got = host.download::<u32>(d, 32);
        assert!(got.iter().all(|x| *x == got[0]), "{opcode}");
        got[0]
    };
    // 1 · 0.5 so many times, on top of 1: in pairs of f16.
    let halves = [0x3c00_3c00, 0x3800_3800, 0x3c00_3c00];
    assert_eq!(run("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", (2, 4, 2, 2), halves), 0x4880_4880);
    assert_eq!(run("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", (2, 2, 1, 2), halves), 0x4500_4500);
    // 255 is -1 of a signed byte.
    let bytes = [0xffff_ffff, 0x0202_0202, 5];
    let unsigned = |k: u32, a: i64| (5 + i64::from(k) * a * 2) as u32;
    assert_eq!(run("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32", (4, 4, 2, 4), bytes), unsigned(32, 255));
    assert_eq!(run("mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32", (4, 2, 1, 4), bytes), unsigned(16, 255));
    assert_eq!(run("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32", (4, 4, 2, 4), bytes), unsigned(32, -1));
    let most = i32::MAX as u32;
    let full = [0x7f7f_7f7f, 0x7f7f_7f7f, most - 5];
    assert_eq!(run("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32", (4, 4, 2, 4), full), most);
    assert_eq!(
        run("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", (4, 4, 2, 4), full),
        (most - 5).wrapping_add(32 * 127 * 127)
    );
}
