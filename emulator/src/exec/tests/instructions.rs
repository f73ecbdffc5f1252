//! Instructions against formulas of their own.

use super::operands::{check, check_wide, lanes, singles};

#[test]
fn integer_arithmetic() {
    check("add.s32 %r20,%r10,%r11;", |a, b, _| a.wrapping_add(b));
    check("sub.u32 %r20,%r10,17;", |a, _, _| a.wrapping_sub(17));
    check("mul.lo.s32 %r20,%r10,%r11;", |a, b, _| a.wrapping_mul(b));
    check("mul.hi.u32 %r20,%r10,%r11;", |a, b, _| ((a as u64 * b as u64) >> 32) as u32);
    check("mul.hi.s32 %r20,%r10,%r11;", |a, b, _| ((a as i32 as i64 * b as i32 as i64) >> 32) as u32);
    check("mad.lo.s32 %r20,%r10,%r11,%r12;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check("div.u32 %r20,%r10,%r11;", |a, b, _| a.checked_div(b).unwrap_or(!0));
    check("rem.u32 %r20,%r10,%r11;", |a, b, _| a.checked_rem(b).unwrap_or(a));
    check("div.s32 %r20,%r10,7;", |a, _, _| (a as i32 / 7) as u32);
    check("min.s32 %r20,%r10,%r11;", |a, b, _| (a as i32).min(b as i32) as u32);
    check("max.u32 %r20,%r10,%r11;", |a, b, _| a.max(b));
    check("abs.s32 %r20,%r10;", |a, _, _| (a as i32).unsigned_abs());
    check("sad.u32 %r20,%r10,%r11,%r12;", |a, b, c| a.abs_diff(b).wrapping_add(c));
    check_wide("add.s64 %rd20,%rd10,%rd11;", |a, b, _| a.wrapping_add(b));
    check_wide("mul.hi.u64 %rd20,%rd10,%rd11;", |a, b, _| ((a as u128 * b as u128) >> 64) as u64);
    check_wide("mad.lo.s64 %rd20,%rd10,%rd11,%rd12;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check_wide("div.s64 %rd20,%rd10,3;", |a, _, _| (a as i64 / 3) as u64);
    check_wide("min.s64 %rd20,%rd10,%rd11;", |a, b, _| (a as i64).min(b as i64) as u64);
}

#[test]
fn logic_and_bits() {
    check("lop3.b32 %r20,%r10,%r11,%r12,0xe8;", |a, b, c| (a & b) | (a & c) | (b & c));
    check("lop3.b32 %r20,%r10,%r11,%r12,0x96;", |a, b, c| a ^ b ^ c);
    check("and.b32 %r1,%r11,63; shl.b32 %r20,%r10,%r1;", |a, b, _| a.checked_shl(b & 63).unwrap_or(0));
    check("and.b32 %r1,%r11,63; shr.s32 %r20,%r10,%r1;", |a, b, _| (a as i32 >> (b & 63).min(31)) as u32);
    check("and.b32 %r1,%r11,63; shr.u32 %r20,%r10,%r1;", |a, b, _| a.checked_shr(b & 63).unwrap_or(0));
    check("shf.l.wrap.b32 %r20,%r10,%r11,%r12;", |a, b, c| (((b as u64) << 32 | a as u64) << (c & 31) >> 32) as u32);
    check("shf.r.wrap.b32 %r20,%r10,%r11,%r12;", |a, b, c| (((b as u64) << 32 | a as u64) >> (c & 31)) as u32);
    check("popc.b32 %r20,%r10;", |a, _, _| a.count_ones());
    check("clz.b32 %r20,%r10;", |a, _, _| a.leading_zeros());
    check("brev.b32 %r20,%r10;", |a, _, _| a.reverse_bits());
    check("bfind.u32 %r20,%r10;", |a, _, _| if a == 0 { !0 } else { a.ilog2() });
    check("bfe.u32 %r20,%r10,5,9;", |a, _, _| a >> 5 & 0x1ff);
    check("bfe.s32 %r20,%r10,20,9;", |a, _, _| ((a << 3) as i32 >> 23) as u32);
    check("bfe.s32 %r20,%r10,28,9;", |a, _, _| (a as i32 >> 28) as u32);
    check("bfi.b32 %r20,%r10,%r11,8,12;", |a, b, _| (b & !0xf_ff00) | (a & 0xfff) << 8);
    check("prmt.b32 %r20,%r10,%r11,0x3715;", |a, b, _| {
        let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
        u32::from_le_bytes([bytes[5], bytes[1], bytes[7], bytes[3]])
    });
    check("dp4a.s32.s32 %r20,%r10,%r11,%r12;", |a, b, c| {
        let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(a, b)| a as i8 as i32 * b as i8 as i32);
        (c as i32).wrapping_add(products.sum()) as u32
    });
    check("setp.lt.s32 %p1,%r10,%r11; selp.b32 %r20,%r12,5,%p1;", |a, b, c| if (a as i32) < b as i32 { c } else { 5 });
    check(
        "setp.hi.u32 %p1,%r10,%r11; setp.ne.and.s32 %p2|%p3,%r12,0,%p1; selp.u32 %r1,1,0,%p2; selp.u32 %r2,2,0,%p3; or.b32 %r20,%r1,%r2;",
        |a, b, c| u32::from(c != 0 && a > b) | u32::from(c == 0 && a > b) << 1,
    );
}

#[test]
fn carries_run_through() {
    let op = "mov.b64 {%r1,%r2},%rd10; mov.b64 {%r3,%r4},%rd11; add.cc.u32 %r5,%r1,%r3; addc.u32 %r6,%r2,%r4; mov.b64 %rd20,{%r5,%r6};";
    check_wide(op, |a, b, _| a.wrapping_add(b));
    let op = "mov.b64 {%r1,%r2},%rd10; mov.b64 {%r3,%r4},%rd11; sub.cc.u32 %r5,%r1,%r3; subc.u32 %r6,%r2,%r4; mov.b64 %rd20,{%r5,%r6};";
    check_wide(op, |a, b, _| a.wrapping_sub(b));
    let op = "mov.b64 {%r1,%r2},%rd10; mov.b64 {%r3,%r4},%rd11; mul.lo.u32 %r5,%r1,%r3; mul.hi.u32 %r6,%r1,%r3; \
              mad.lo.cc.u32 %r6,%r1,%r4,%r6; mad.lo.u32 %r6,%r2,%r3,%r6; mov.b64 %rd20,{%r5,%r6};";
    check_wide(op, |a, b, _| a.wrapping_mul(b));
}

#[test]
fn single_precision() {
    const NAMES: &str = "mov.b32 %f10,%r10; mov.b32 %f11,%r11; mov.b32 %f12,%r12;";
    let run = |op: &str, f: &dyn Fn(f32, f32, f32) -> f32| singles(&format!("{NAMES} {op} mov.b32 %r20,%f20;"), f);
    let flush = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    run("add.f32 %f20,%f10,%f11;", &|a, b, _| a + b);
    run("fma.rn.f32 %f20,%f10,%f11,%f12;", &|a, b, c| a.mul_add(b, c));
    run("mul.ftz.f32 %f20,%f10,%f11;", &|a, b, _| flush(flush(a) * flush(b)));
    run("add.sat.f32 %f20,%f10,%f11;", &|a, b, _| if a + b > 0.0 { (a + b).min(1.0) } else { 0.0 });
    run("div.rn.f32 %f20,%f10,%f11;", &|a, b, _| a / b);
    run("sqrt.rn.f32 %f20,%f10;", &|a, _, _| a.sqrt());
    run("neg.f32 %f20,%f10;", &|a, _, _| -a);
    run("max.f32 %f20,%f10,%f11;", &|a, b, _| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a == b => {
            if a.is_sign_positive() {
                a
            } else {
                b
            }
        }
        _ => a.max(b),
    });
    run("min.NaN.f32 %f20,%f10,%f11;", &|a, b, _| {
        if a.is_nan() || b.is_nan() {
            f32::NAN
        } else if a == b && a == 0.0 {
            if a.is_sign_negative() { a } else { b }
        } else {
            a.min(b)
        }
    });
    run("copysign.f32 %f20,%f10,%f11;", &|a, b, _| b.copysign(a));
    run("setp.ltu.f32 %p1,%f10,%f11; selp.f32 %f20,0f3F800000,0f00000000,%p1;", &|a, b, _| {
        if a < b || a.is_nan() || b.is_nan() { 1.0 } else { 0.0 }
    });
    run("add.rz.f32 %f20,%f10,%f11;", &|a, b, _| {
        let exact = f64::from(a) + f64::from(b);
        let near = exact as f32;
        let toward_zero = if f64::from(near).abs() > exact.abs() && exact.is_finite() {
            f32::from_bits(near.to_bits() - 1)
        } else {
            near
        };
        if exact == 0.0 { a + b } else { toward_zero }
    });
}

#[test]
fn two_to_the_x_is_within_two_units() {
    let xs: [u64; 32] = std::array::from_fn(|i| u64::from((i as f32 * 7.3 - 110.0).to_bits()));
    let got = lanes("mov.b32 %f10,%r10; ex2.approx.f32 %f20,%f10; mov.b32 %r20,%f20;", (32, 32), xs, xs, xs);
    for (x, got) in xs.iter().zip(got) {
        let exact = f64::from(f32::from_bits(*x as u32)).exp2();
        let error = (f64::from(f32::from_bits(got as u32)) - exact).abs();
        assert!(error <= 2.0 * exact * f64::from(f32::EPSILON), "{exact:e}");
    }
}

#[test]
fn conversions() {
    check("cvt.s32.s8 %r20,%r10;", |a, _, _| a as i8 as i32 as u32);
    check("cvt.u16.u32 %h1,%r10; cvt.u32.u16 %r20,%h1;", |a, _, _| a & 0xffff);
    check("cvt.sat.s16.s32 %h1,%r10; cvt.s32.s16 %r20,%h1;", |a, _, _| (a as i32).clamp(-32768, 32767) as u32);
    check("cvt.rn.f32.s32 %f1,%r10; mov.b32 %r20,%f1;", |a, _, _| (a as i32 as f32).to_bits());
    check("cvt.rz.f32.u32 %f1,%r10; mov.b32 %r20,%f1;", |a, _, _| {
        let near = a as f32;
        if f64::from(near) > f64::from(a) { near.to_bits() - 1 } else { near.to_bits() }
    });
    check("mov.b32 %f1,%r10; cvt.rzi.s32.f32 %r20,%f1;", |a, _, _| f32::from_bits(a) as i32 as u32);
    check("mov.b32 %f1,%r10; cvt.rni.u32.f32 %r20,%f1;", |a, _, _| f32::from_bits(a).round_ties_even() as u32);
    check("mov.b32 %f1,%r10; mov.b32 %f2,%r11; cvt.rn.bf16x2.f32 %r20,%f1,%f2;", |a, b, _| {
        let short = |x: u32| {
            let short = half::bf16::from_f32(f32::from_bits(x));
            if short.is_nan() { 0x7fff } else { u32::from(short.to_bits()) }
        };
        short(a) << 16 | short(b)
    });
    check("mov.b32 %f1,%r10; cvt.rn.f16.f32 %h1,%f1; cvt.u32.u16 %r20,%h1;", |a, _, _| {
        let short = half::f16::from_f32(f32::from_bits(a));
        if short.is_nan() { 0x7fff } else { u32::from(short.to_bits()) }
    });
    check("mov.b32 %f1,%r10; cvt.rna.tf32.f32 %r20,%f1;", |a, _, _| {
        let x = f32::from_bits(a);
        if x.is_nan() {
            0x7fff_ffffu32 & !0x1fff
        } else if x.is_infinite() {
            a
        } else {
            a.wrapping_add(0x1000) & !0x1fff
        }
    });
    check("mov.b32 %f1,%r10; cvt.f64.f32 %fd1,%f1; cvt.rn.f32.f64 %f2,%fd1; mov.b32 %r20,%f2;", |a, _, _| {
        if f32::from_bits(a).is_nan() { (f64::from(f32::from_bits(a)) as f32).to_bits() } else { a }
    });
    check_wide("cvt.rn.f64.s64 %fd1,%rd10; mov.b64 %rd20,%fd1;", |a, _, _| (a as i64 as f64).to_bits());
    check_wide("mov.b64 %fd1,%rd10; cvt.rzi.s64.f64 %rd20,%fd1;", |a, _, _| {
        let x = f64::from_bits(a);
        if x.is_nan() { 1 << 63 } else { x as i64 as u64 }
    });
}

#[test]
fn halves_are_rounded_once() {
    let f16 = |bits: u32| half::f16::from_bits(bits as u16).to_f64();
    // f64 holds a sum of two halves of moderate size exactly, and a product always.
    let moderate = |bits: u32| bits & 0x3fff_3fff | bits & 0x8000_8000;
    let pair = |a: u32, b: u32, f: &dyn Fn(f64, f64) -> f64| {
        let one =
            |s: u32| u32::from(half::f16::from_f64(f(f16(moderate(a) >> s), f16(moderate(b) >> s))).to_bits()) << s;
        one(0) | one(16)
    };
    const MASK: &str = "and.b32 %r1,%r10,0xBFFFBFFF; and.b32 %r2,%r11,0xBFFFBFFF;";
    check(&format!("{MASK} add.f16x2 %r20,%r1,%r2;"), |a, b, _| pair(a, b, &|a, b| a + b));
    check(&format!("{MASK} mul.rn.f16x2 %r20,%r1,%r2;"), |a, b, _| pair(a, b, &|a, b| a * b));
    // bf16: 1 + 2^-8 · (1 + 2^-60) is above the tie, which an f64 cannot tell.
    let (one, tie) = (0x3f80u64, 0x3b80u64);
    let tiny = 0x2180u64;
    let got = lanes("mov.b16 %h1,%h10; fma.rn.bf16 %h20,%h11,%h12,%h1;", (16, 16), [one; 32], [tie; 32], [one; 32]);
    assert_eq!(got[0] as u16, 0x3f80, "a tie goes to even");
    let op = "fma.rn.bf16 %h20,%h10,%h11,%h12;";
    // (1 + 2^-7) · (1 + 2^-1) = 1.51171875: a tie between two bf16; the addend decides.
    let got = lanes(op, (16, 16), [0x3f81; 32], [0x3fc0; 32], [tiny; 32]);
    assert_eq!(got[0] as u16, 0x3fc2);
    let got = lanes(op, (16, 16), [0x3f81; 32], [0x3fc0; 32], [tiny | 0x8000; 32]);
    assert_eq!(got[0] as u16, 0x3fc1);
}

#[test]
fn what_is_not_known_is_named_with_its_line() {
    let text = super::harness::kernel("mov.u32 %r0,%tid.x;\nfrobnicate.u32 %r1,%r0;");
    let error = crate::decode::Module::parse(&text).unwrap_err();
    assert!(error.line == 9 && error.what.contains("frobnicate.u32"), "{error}");
    let text = super::harness::kernel("add.s32 %r1,%r2;");
    assert!(crate::decode::Module::parse(&text).unwrap_err().what.contains("3 are due"));
    let text = super::harness::kernel("add.s32 %r1,%r2,%rd1;");
    assert!(crate::decode::Module::parse(&text).is_err());
    for vast in [".shared .b8 big[99999999999];", ".local .b32 big[4000000000];"] {
        let text = super::harness::kernel(&format!("{vast} mov.u64 %rd1,big;"));
        assert!(crate::decode::Module::parse(&text).unwrap_err().what.contains("at most"));
    }
    let text = super::harness::kernel("bra NOWHERE;");
    assert!(crate::decode::Module::parse(&text).unwrap_err().what.contains("NOWHERE"));
    let text = super::harness::kernel("mov.u32 %r1,%r99;");
    assert!(crate::decode::Module::parse(&text).unwrap_err().what.contains("%r99"));
    let text = super::harness::kernel("ld.global.v3.u32 {%r1,%r2,%r3},[%rd1];");
    assert!(crate::decode::Module::parse(&text).is_err());
}
