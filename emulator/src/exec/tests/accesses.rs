//! Loads, stores, atomics and reductions of every type and space; addresses; hints that change nothing.

use super::harness::{Host, Param, kernel, line};
use super::operands::{check, check_wide};
use crate::check::Kind;
use crate::decode::Module;

/// Runs a body for one thread, with `%rd1` at `a`, which holds `before`, and returns what it holds after.
fn cells<T: Copy + Default>(body: &str, before: &[T]) -> Vec<T> {
    let host = Host::of_body(&format!("ld.param.u64 %rd1,[a]; {body}"));
    let a = host.upload(before);
    host.run("k", line(1, 1), &[Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)])
        .unwrap_or_else(|report| panic!("{body}: {report}"));
    host.download(a, before.len())
}

#[test]
fn loads_widen_as_their_type_says() {
    const BITS: u64 = 0xf1e2_d3c4_b5a6_9788;
    let wide = |op: &str, expected: u64| {
        assert_eq!(cells(&format!("{op} st.global.u64 [%rd1],%rd2;"), &[BITS])[0], expected, "{op}");
    };
    wide("ld.global.b8 %rd2,[%rd1];", 0x88);
    wide("ld.global.u8 %rd2,[%rd1+1];", 0x97);
    wide("ld.global.s8 %rd2,[%rd1+1];", 0xffff_ffff_ffff_ff97);
    wide("ld.global.b16 %rd2,[%rd1];", 0x9788);
    wide("ld.global.u16 %rd2,[%rd1+2];", 0xb5a6);
    wide("ld.global.s16 %rd2,[%rd1+2];", 0xffff_ffff_ffff_b5a6);
    wide("ld.global.b32 %rd2,[%rd1];", 0xb5a6_9788);
    wide("ld.global.u32 %rd2,[%rd1+4];", 0xf1e2_d3c4);
    wide("ld.global.s32 %rd2,[%rd1+4];", 0xffff_ffff_f1e2_d3c4);
    wide("ld.global.b64 %rd2,[%rd1];", BITS);
    wide("ld.global.u64 %rd2,[%rd1];", BITS);
    wide("ld.global.s64 %rd2,[%rd1];", BITS);
    wide("ld.global.f64 %fd1,[%rd1]; mov.b64 %rd2,%fd1;", BITS);
    wide("ldu.global.u64 %rd2,[%rd1];", BITS);
    wide("ld.u64 %rd2,[%rd1];", BITS);
    let narrow = |op: &str, expected: u32| {
        assert_eq!(cells(&format!("{op} st.global.u32 [%rd1],%r2;"), &[BITS as u32])[0], expected, "{op}");
    };
    narrow("ld.global.s8 %r2,[%rd1];", 0xffff_ff88);
    narrow("ld.global.u8 %r2,[%rd1];", 0x88);
    narrow("ld.global.s16 %r2,[%rd1];", 0xffff_9788);
    narrow("ld.global.f32 %f2,[%rd1]; mov.b32 %r2,%f2;", 0xb5a6_9788);
    narrow("ldu.global.s8 %r2,[%rd1+1];", 0xffff_ff97);
    narrow("ldu.global.v2.u16 {%h1,%h2},[%rd1]; mov.b32 %r2,{%h2,%h1};", 0x9788_b5a6);
    // Words about caches, order and scope.
    narrow("ld.global.nc.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.global.ca.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.global.cg.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.global.cs.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.global.lu.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.global.cv.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.weak.global.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.volatile.global.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.relaxed.gpu.global.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.acquire.sys.global.u32 %r2,[%rd1];", 0xb5a6_9788);
    narrow("ld.global.nc.L1::no_allocate.L2::128B.u32 %r2,[%rd1];", 0xb5a6_9788);
}

#[test]
fn stores_write_their_bytes_and_no_others() {
    let after = |op: &str| cells(&format!("mov.u64 %rd2,0xa1a2a3a4a5a6a7a8; {op}"), &[0u64])[0];
    assert_eq!(after("st.global.b8 [%rd1+1],%rd2;"), 0xa800);
    assert_eq!(after("cvt.u16.u64 %h1,%rd2; st.global.u8 [%rd1],%h1;"), 0xa8);
    assert_eq!(after("cvt.u32.u64 %r1,%rd2; st.global.s8 [%rd1+7],%r1;"), 0xa800_0000_0000_0000);
    assert_eq!(after("cvt.u16.u64 %h1,%rd2; st.global.b16 [%rd1+2],%h1;"), 0xa7a8_0000);
    assert_eq!(after("cvt.u32.u64 %r1,%rd2; st.global.s16 [%rd1],%r1;"), 0xa7a8);
    assert_eq!(after("cvt.u32.u64 %r1,%rd2; st.global.s32 [%rd1+4],%r1;"), 0xa5a6_a7a8_0000_0000);
    assert_eq!(after("mov.f32 %f1,0f3F800000; st.global.f32 [%rd1],%f1;"), 0x3f80_0000);
    assert_eq!(after("st.global.u64 [%rd1],%rd2;"), 0xa1a2_a3a4_a5a6_a7a8);
    assert_eq!(after("st.global.s64 [%rd1],-2;"), 2u64.wrapping_neg());
    assert_eq!(after("mov.f64 %fd1,0d3FF8000000000000; st.global.f64 [%rd1],%fd1;"), 1.5f64.to_bits());
    assert_eq!(after("st.u64 [%rd1],%rd2;"), 0xa1a2_a3a4_a5a6_a7a8);
    for how in [
        "st.global.wb.u64",
        "st.global.cg.u64",
        "st.global.cs.u64",
        "st.global.wt.u64",
        "st.weak.global.u64",
        "st.volatile.global.u64",
        "st.relaxed.gpu.global.u64",
        "st.release.sys.global.u64",
    ] {
        assert_eq!(after(&format!("{how} [%rd1],%rd2;")), 0xa1a2_a3a4_a5a6_a7a8, "{how}");
    }
}

#[test]
fn vectors_keep_their_order() {
    let turned = |load: &str, store: &str, parts: &str, reversed: &str| {
        cells(
            &format!("{load} {{{parts}}},[%rd1]; {store} [%rd1],{{{reversed}}};"),
            &[0x0706_0504_0302_0100u64, 0x0f0e_0d0c_0b0a_0908],
        )
    };
    assert_eq!(turned("ld.global.v2.u8", "st.global.v2.u8", "%h1,%h2", "%h2,%h1")[0], 0x0706_0504_0302_0001);
    assert_eq!(
        turned("ld.global.v4.u8", "st.global.v4.u8", "%h1,%h2,%h3,%h4", "%h4,%h3,%h2,%h1")[0],
        0x0706_0504_0001_0203
    );
    assert_eq!(turned("ld.global.v2.b16", "st.global.v2.b16", "%h1,%h2", "%h2,%h1")[0], 0x0706_0504_0100_0302);
    assert_eq!(
        turned("ld.global.v4.u16", "st.global.v4.u16", "%h1,%h2,%h3,%h4", "%h4,%h3,%h2,%h1")[0],
        0x0100_0302_0504_0706
    );
    assert_eq!(turned("ld.global.v2.f32", "st.global.v2.f32", "%f1,%f2", "%f2,%f1")[0], 0x0302_0100_0706_0504);
    let words = turned("ld.global.v4.f32", "st.global.v4.f32", "%f1,%f2,%f3,%f4", "%f4,%f3,%f2,%f1");
    assert_eq!(words, [0x0b0a_0908_0f0e_0d0c, 0x0302_0100_0706_0504]);
    let words = turned("ld.global.v2.u64", "st.global.v2.u64", "%rd2,%rd3", "%rd3,%rd2");
    assert_eq!(words, [0x0f0e_0d0c_0b0a_0908, 0x0706_0504_0302_0100]);
    let words = turned("ld.global.v2.f64", "st.global.v2.f64", "%fd2,%fd3", "%fd3,%fd2");
    assert_eq!(words, [0x0f0e_0d0c_0b0a_0908, 0x0706_0504_0302_0100]);
    // What goes nowhere is read all the same.
    let words = cells("ld.global.v4.u32 {_,%r1,_,%r2},[%rd1]; st.global.v2.u32 [%rd1],{%r1,%r2};", &[1u32, 2, 3, 4]);
    assert_eq!(words, [2, 4, 3, 4]);
}

#[test]
fn every_space_has_its_own_bytes() {
    let host = Host::new(SPACES);
    let a = host.upload(&[0u32; 8]);
    host.run("k", line(1, 1), &[Param::Wide(a), Param::Narrow(0x8001_fffe)])
        .unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(host.download::<u32>(a, 8), [70000, 9, 11, 13, 0xffff_fffe, 0xffff_8001, 70000, 13]);
}

const SPACES: &str = ".version 9.0\n.target sm_80\n.address_size 64\n\
    .const .align 4 .b32 fixed[2] = {5, 70000}; .global .align 4 .b32 shown[2] = {7, 9}; .visible .entry k(.param .u64 a, .param .u32 b) { .reg .b32 %r<12>; .reg .b64 %rd<8>; .local .align 8 .b8 own[16]; \
    .shared .align 8 .b8 tile[16]; ld.param.u64 %rd1,[a]; cvta.to.global.u64 %rd1,%rd1; \
    ld.const.u32 %r1,[fixed+4]; st.global.u32 [%rd1],%r1; ld.global.u32 %r1,[shown+4]; st.global.u32 [%rd1+4],%r1; \
    st.shared.u32 [tile+4],11; ld.shared.u32 %r1,[tile+4]; st.global.u32 [%rd1+8],%r1; \
    st.local.u32 [own+8],13; ld.local.u32 %r1,[own+8]; st.global.u32 [%rd1+12],%r1; \
    ld.param.s16 %r1,[b]; st.global.u32 [%rd1+16],%r1; ld.param.s16 %r1,[b+2]; st.global.u32 [%rd1+20],%r1; \
    mov.u64 %rd2,fixed; cvta.const.u64 %rd3,%rd2; ld.u32 %r1,[%rd3+4]; st.global.u32 [%rd1+24],%r1; \
    mov.u64 %rd2,own; cvta.local.u64 %rd3,%rd2; ld.u32 %r1,[%rd3+8]; st.global.u32 [%rd1+28],%r1; ret; }";

#[test]
fn addresses_know_their_space() {
    // Bits: global, shared, local, param, const.
    let asked = |address: &str, bits: u32| {
        let body = format!(
            ".local .align 4 .b8 own[4]; {address} isspacep.global %p1,%rd2; isspacep.shared %p2,%rd2; isspacep.local %p3,%rd2; \
             isspacep.param %p4,%rd2; isspacep.const %p5,%rd2; isspacep.shared::cta %p6,%rd2; selp.u32 %r1,1,0,%p1; selp.u32 %r2,2,0,%p2; \
             selp.u32 %r3,4,0,%p3; selp.u32 %r4,8,0,%p4; selp.u32 %r5,16,0,%p5; selp.u32 %r6,32,0,%p6; or.b32 %r1,%r1,%r2; \
             or.b32 %r3,%r3,%r4; or.b32 %r5,%r5,%r6; or.b32 %r1,%r1,%r3; or.b32 %r1,%r1,%r5; st.global.u32 [%rd1],%r1;"
        );
        assert_eq!(cells(&body, &[0u32])[0], bits, "{address}");
    };
    asked("mov.u64 %rd2,%rd1;", 1);
    asked("mov.u64 %rd2,tile; cvta.shared.u64 %rd2,%rd2;", 2 | 32);
    asked("mov.u64 %rd2,own; cvta.local.u64 %rd2,%rd2;", 4);
    asked("mov.u64 %rd2,a; cvta.param.u64 %rd2,%rd2;", 8);
    // There and back.
    check_wide("cvta.shared.u64 %rd1,%rd10; cvta.to.shared.u64 %rd20,%rd1;", |a, _, _| a);
    check_wide("cvta.local.u64 %rd1,%rd10; cvta.to.local.u64 %rd20,%rd1;", |a, _, _| a);
    check_wide("cvta.param.u64 %rd1,%rd10; cvta.to.param.u64 %rd20,%rd1;", |a, _, _| a);
    check_wide("cvta.global.u64 %rd1,%rd10; cvta.to.const.u64 %rd20,%rd1;", |a, _, _| a);
}

/// Runs `opcode` of `atom` on `[%rd1]` and, where `red` has it, of `red`; in shared memory too. `c` is for `cas`.
fn updates(atom: &str, bits: u32, cases: &[([u64; 3], u64)]) {
    let register = match bits {
        16 => "h",
        32 => "r",
        _ => "rd",
    };
    let mask = !0u64 >> (64 - bits);
    for &([old, b, c], new) in cases {
        let third = if atom.contains(".cas") { format!(",%{register}12") } else { String::new() };
        let name = |reduces: bool, space: &str| {
            let opcode = atom.replacen("atom", if reduces { "red" } else { "atom" }, 1);
            opcode.replace(".global", space)
        };
        let load = format!(
            "ld.global.b{bits} %{register}10,[%rd1]; ld.global.b{bits} %{register}11,[%rd1+8]; ld.global.b{bits} %{register}12,[%rd1+16];"
        );
        for (place, address) in [(".global", "%rd1"), ("", "%rd1"), (".shared", "tile")] {
            let before = format!("{load} st.shared.b{bits} [tile],%{register}10;");
            let after = format!("ld.shared.b{bits} %{register}13,[tile];");
            let copy = if place == ".shared" {
                format!("{after} st.global.b{bits} [%rd1],%{register}13;")
            } else {
                String::new()
            };
            let got = cells(
                &format!(
                    "{before} {} %{register}20,[{address}],%{register}11{third}; {copy} st.global.b{bits} [%rd1+24],%{register}20;",
                    name(false, place)
                ),
                &[old, b, c, 0],
            );
            assert_eq!((got[0] & mask, got[3] & mask), (new, old), "{} {old:#x} {b:#x}", name(false, place));
            if !atom.contains(".cas") && !atom.contains(".exch") {
                let got = cells(
                    &format!("{before} {} [{address}],%{register}11; {copy}", name(true, place)),
                    &[old, b, c, 0],
                );
                assert_eq!(got[0] & mask, new, "{} {old:#x} {b:#x}", name(true, place));
            }
        }
    }
}

#[test]
fn atomics_of_integers() {
    const LOW: u64 = 0xffff_ffff;
    const TOP: u64 = 1 << 63;
    updates("atom.global.add.u32", 32, &[([LOW, 2, 0], 1), ([5, 6, 0], 11)]);
    updates("atom.global.add.s32", 32, &[([0x7fff_ffff, 1, 0], 0x8000_0000)]);
    updates("atom.global.add.u64", 64, &[([!0, 2, 0], 1), ([LOW, 1, 0], 1 << 32)]);
    updates("atom.global.add.s64", 64, &[([5, !0, 0], 4)]);
    updates("atom.global.exch.b32", 32, &[([1, LOW, 0], LOW)]);
    updates("atom.global.exch.b64", 64, &[([1, !0, 0], !0)]);
    updates("atom.global.cas.b16", 16, &[([7, 7, 9], 9), ([7, 8, 9], 7)]);
    updates("atom.global.cas.b32", 32, &[([7, 7, 9], 9), ([7, 8, 9], 7)]);
    updates("atom.global.cas.b64", 64, &[([TOP, TOP, 9], 9), ([TOP, 0, 9], TOP)]);
    updates("atom.global.inc.u32", 32, &[([3, 5, 0], 4), ([5, 5, 0], 0), ([6, 5, 0], 0)]);
    updates("atom.global.dec.u32", 32, &[([3, 5, 0], 2), ([0, 5, 0], 5), ([6, 5, 0], 5), ([5, 5, 0], 4)]);
    updates("atom.global.and.b32", 32, &[([0b1100, 0b1010, 0], 0b1000)]);
    updates("atom.global.or.b32", 32, &[([0b1100, 0b1010, 0], 0b1110)]);
    updates("atom.global.xor.b32", 32, &[([0b1100, 0b1010, 0], 0b0110)]);
    updates("atom.global.and.b64", 64, &[([TOP | 0b1100, TOP | 0b1010, 0], TOP | 0b1000)]);
    updates("atom.global.or.b64", 64, &[([TOP | 0b1100, 0b1010, 0], TOP | 0b1110)]);
    updates("atom.global.xor.b64", 64, &[([TOP | 0b1100, TOP | 0b1010, 0], 0b0110)]);
    updates("atom.global.min.u32", 32, &[([LOW, 1, 0], 1), ([1, LOW, 0], 1)]);
    updates("atom.global.max.u32", 32, &[([LOW, 1, 0], LOW), ([1, LOW, 0], LOW)]);
    updates("atom.global.min.s32", 32, &[([LOW, 1, 0], LOW), ([1, LOW, 0], LOW)]);
    updates("atom.global.max.s32", 32, &[([LOW, 1, 0], 1), ([1, LOW, 0], 1)]);
    updates("atom.global.min.u64", 64, &[([!0, 1, 0], 1), ([1, !0, 0], 1)]);
    updates("atom.global.max.u64", 64, &[([!0, 1, 0], !0), ([1, !0, 0], !0)]);
    updates("atom.global.min.s64", 64, &[([!0, 1, 0], !0), ([1, !0, 0], !0)]);
    updates("atom.global.max.s64", 64, &[([!0, 1, 0], 1), ([1, !0, 0], 1)]);
    // Order and scope are words that change nothing for a thread alone.
    updates("atom.relaxed.gpu.global.add.u32", 32, &[([5, 6, 0], 11)]);
    updates("atom.acq_rel.sys.global.cas.b32", 32, &[([7, 7, 9], 9)]);
    updates("atom.release.cta.global.exch.b32", 32, &[([7, 8, 0], 8)]);
    updates("atom.acquire.gpu.global.or.b32", 32, &[([4, 8, 0], 12)]);
}

#[test]
fn atomics_of_floats() {
    let single = |x: f32| u64::from(x.to_bits());
    updates("atom.global.add.f32", 32, &[([single(1.5), single(0.25), 0], single(1.75))]);
    updates(
        "atom.global.add.f64",
        64,
        &[([1.5f64.to_bits(), 0.25f64.to_bits(), 0], 1.75f64.to_bits()), ([1, 1, 0], 2)],
    );
    // One and half a unit is a tie; both halves of a pair, which know nothing of each other.
    updates(
        "atom.global.add.noftz.f16",
        16,
        &[([0x3c00, 0x1000, 0], 0x3c00), ([0x3c01, 0x1000, 0], 0x3c02), ([1, 1, 0], 2)],
    );
    updates(
        "atom.global.add.noftz.bf16",
        16,
        &[([0x3f80, 0x3b80, 0], 0x3f80), ([0x3f81, 0x3b80, 0], 0x3f82), ([1, 1, 0], 2)],
    );
    updates("atom.global.add.noftz.f16x2", 32, &[([0x3c01_7bff, 0x1000_7bff, 0], 0x3c02_7c00)]);
    updates("atom.global.add.noftz.bf16x2", 32, &[([0x3f81_7f7f, 0x3b80_7f7f, 0], 0x3f82_7f80)]);
    // Subnormals are flushed in global memory, and kept in shared memory.
    let tiny = single(1e-40);
    let after = |op: &str| cells(op, &[tiny as u32, tiny as u32]);
    assert_eq!(
        after("ld.global.f32 %f1,[%rd1]; atom.global.add.f32 %f2,[%rd1+4],%f1; st.global.f32 [%rd1],%f2;"),
        [tiny as u32, 0]
    );
    let op = "ld.global.f32 %f1,[%rd1]; st.shared.f32 [tile],%f1; red.shared.add.f32 [tile],%f1; ld.shared.f32 %f2,[tile]; st.global.f32 [%rd1],%f2;";
    assert_eq!(after(op)[0], 2 * tiny as u32);
    for op in [
        "atom.global.add.b32 %r1,[%rd1],%r2;",
        "red.global.add.v2.f32 [%rd1],{%f1,%f2};",
        "red.async.shared.add.u32 [tile],%r1,[tile];",
    ] {
        assert!(Module::parse(&kernel(op)).is_err(), "{op}");
    }
}

#[test]
fn lanes_update_one_after_the_other() {
    // Every lane gets what those before it left: together, all the numbers there are.
    let host = Host::of_body(
        "mov.u32 %r0,%tid.x; ld.param.u64 %rd1,[a]; ld.param.u64 %rd2,[b]; mul.wide.u32 %rd3,%r0,4; add.s64 %rd2,%rd2,%rd3; \
         atom.global.inc.u32 %r1,[%rd1],100; st.global.u32 [%rd2],%r1;",
    );
    let (a, b) = (host.upload(&[0u32]), host.upload(&[0u32; 64]));
    host.run("k", line(1, 64), &[Param::Wide(a), Param::Wide(b), Param::Wide(0), Param::Wide(0)])
        .unwrap_or_else(|report| panic!("{report}"));
    let mut seen = host.download::<u32>(b, 64);
    seen.sort_unstable();
    assert_eq!(seen, (0..64).collect::<Vec<u32>>());
    assert_eq!(host.download::<u32>(a, 1), [64]);
}

#[test]
fn hints_change_nothing() {
    let hints = "prefetch.global.L1 [%rd1]; prefetch.global.L2 [%rd1]; prefetch.global.L2::evict_last [%rd1]; prefetch.L1 [%rd1]; \
        prefetchu.L1 [%rd1]; applypriority.global.L2::evict_normal [%rd1],128; discard.global.L2 [%rd1],128; nanosleep.u32 20; \
        mov.u32 %r3,40; nanosleep.u32 %r3; pmevent 7; pmevent.mask 3; griddepcontrol.launch_dependents; griddepcontrol.wait; \
        createpolicy.fractional.L2::evict_last.b64 %rd3,1.0; createpolicy.fractional.L2::evict_first.b64 %rd4; \
        ld.global.L2::cache_hint.u32 %r1,[%rd1],%rd3; add.u32 %r1,%r1,1; st.global.L2::cache_hint.u32 [%rd1],%r1,%rd4;";
    let before: Vec<u32> = (0..32).collect();
    let mut expected = before.clone();
    expected[0] = 1;
    assert_eq!(cells(hints, &before), expected);
}

#[test]
fn fences_of_every_scope() {
    for fence in [
        "membar.cta;",
        "membar.gl;",
        "membar.sys;",
        "fence.acq_rel.cta;",
        "fence.acq_rel.gpu;",
        "fence.sc.sys;",
        "fence.sc.cluster;",
        "fence.proxy.async;",
        "fence.proxy.alias;",
    ] {
        assert_eq!(
            cells(
                &format!("st.global.u32 [%rd1],5; {fence} ld.global.u32 %r1,[%rd1]; st.global.u32 [%rd1+4],%r1;"),
                &[0u32; 2]
            ),
            [5, 5]
        );
    }
    // A fence of the device hands over what was written; one of the block does not.
    let hand = |fence: &str| {
        let body = format!(
            "mov.u32 %r1,%ctaid.x; ld.param.u64 %rd1,[a]; setp.ne.u32 %p1,%r1,0; @%p1 bra READ; st.global.u32 [%rd1],5; {fence} \
             atom.global.exch.b32 %r2,[%rd1+4],1; bra END; READ: atom.global.add.u32 %r2,[%rd1+4],0; setp.eq.u32 %p2,%r2,0; @%p2 bra READ; \
             {fence} ld.global.u32 %r3,[%rd1]; END:"
        );
        let host = Host::of_body(&body);
        let a = host.upload(&[0u32; 2]);
        host.run("k", line(2, 1), &[Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)]).map(|_| ())
    };
    for fence in ["membar.gl;", "membar.sys;", "fence.acq_rel.gpu;", "fence.sc.gpu;"] {
        assert!(hand(fence).is_ok(), "{fence}");
    }
    for fence in ["", "membar.cta;", "fence.acq_rel.cta;"] {
        assert_eq!(hand(fence).unwrap_err().fault.kind, Kind::GlobalRace, "{fence}");
    }
}

#[test]
fn special_registers() {
    let body = "mov.u32 %r0,%tid.x; mov.u32 %r1,%tid.y; mov.u32 %r2,%tid.z; mad.lo.u32 %r3,%r2,3,%r1; mad.lo.u32 %r3,%r3,8,%r0; \
        mov.u32 %r4,%ctaid.x; mov.u32 %r5,%ctaid.y; mov.u32 %r6,%ctaid.z; ld.param.u64 %rd1,[a]; mad.lo.u32 %r7,%r6,3,%r5; \
        mad.lo.u32 %r7,%r7,2,%r4; mad.lo.u32 %r7,%r7,48,%r3; mul.wide.u32 %rd2,%r7,64; add.s64 %rd1,%rd1,%rd2; \
        mov.u32 %r10,%ntid.x; mov.u32 %r11,%ntid.y; mov.u32 %r12,%ntid.z; mov.u32 %r13,%nctaid.x; st.global.v4.u32 [%rd1],{%r10,%r11,%r12,%r13}; \
        mov.u32 %r10,%nctaid.y; mov.u32 %r11,%nctaid.z; mov.u32 %r12,%laneid; mov.u32 %r13,%warpid; st.global.v4.u32 [%rd1+16],{%r10,%r11,%r12,%r13}; \
        mov.u32 %r10,%lanemask_eq; mov.u32 %r11,%lanemask_lt; mov.u32 %r12,%lanemask_le; mov.u32 %r13,%lanemask_gt; \
        st.global.v4.u32 [%rd1+32],{%r10,%r11,%r12,%r13}; \
        mov.u32 %r10,%lanemask_ge; mov.u32 %r11,%nwarpid; mov.u32 %r12,%dynamic_smem_size; mov.u32 %r13,WARP_SZ; \
        st.global.v4.u32 [%rd1+48],{%r10,%r11,%r12,%r13};";
    let host = Host::of_body(body);
    let a = host.upload(&[0u32; 16 * 48 * 12]);
    let shape = super::harness::Shape([2, 3, 2], [8, 3, 2], 96);
    host.run("k", shape, &[Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)])
        .unwrap_or_else(|report| panic!("{report}"));
    let got = host.download::<u32>(a, 16 * 48 * 12);
    for (index, got) in got.chunks(16).enumerate() {
        let thread = index as u32 % 48;
        let lane = thread % 32;
        let below = (1u32 << lane) - 1;
        assert_eq!(got[..8], [8, 3, 2, 2, 3, 2, lane, thread / 32], "{index}");
        assert_eq!(got[8..12], [1 << lane, below, below | 1 << lane, !(below | 1 << lane)], "{index}");
        assert_eq!((got[12], got[14], got[15]), (!below, 96, 32), "{index}");
        assert!(got[13] >= 2);
    }
    // Clocks go on, and a multiprocessor is one of those there are.
    let body = "mov.u64 %rd2,%clock64; mov.u32 %r1,%clock; mov.u64 %rd3,%globaltimer; mov.u64 %rd4,%clock64; setp.gt.u64 %p1,%rd4,%rd2; \
        mov.u32 %r2,%smid; mov.u32 %r3,%nsmid; setp.lt.and.u32 %p2,%r2,%r3,%p1; mov.u64 %rd5,%gridid; mov.u32 %r4,%total_smem_size; \
        setp.ge.and.u32 %p3,%r4,4096,%p2; mov.u32 %r5,%cluster_ctarank; mov.u32 %r6,%cluster_nctarank; setp.lt.and.u32 %p4,%r5,%r6,%p3; \
        mov.u32 %r7,%cluster_ctaid.x; mov.u32 %r8,%cluster_nctaid.x; setp.lt.and.u32 %p5,%r7,%r8,%p4; \
        mov.u32 %r9,%clusterid.x; mov.u32 %r10,%nclusterid.x; setp.lt.and.u32 %p6,%r9,%r10,%p5; selp.u32 %r11,1,0,%p6; st.global.u32 [%rd1],%r11;";
    assert_eq!(cells(body, &[0u32]), [1]);
    check("mov.u32 %r20,%ntid.x;", |_, _, _| 32);
}
