//! Matrix instructions, mbarriers, and memory accesses of every width.

mod common;

use common::{context, launch_one, line, module, numbers};
use cudarc::driver::PushKernelArg;
use half::{bf16, f16};

/// `a · bᵀ` of 16 rows and 8 columns.
fn product(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    let dot = |row: usize, column: usize| (0..inner).map(|i| a[row * inner + i] * b[column * inner + i]).sum();
    (0..16 * 8).map(|i| dot(i / 8, i % 8)).collect()
}

#[test]
fn tensor_cores_multiply_each_type() {
    // Multiples of 1/64 below 1: their products and sums are exact in f32.
    for (name, inner) in [("product_bf16", 16), ("product_bf16_short", 8), ("product_f16", 16)] {
        let (a, b) = (numbers(16 * inner, 1), numbers(8 * inner, 2));
        let bits =
            |v: &f32| if name == "product_f16" { f16::from_f32(*v).to_bits() } else { bf16::from_f32(*v).to_bits() };
        let (there_a, there_b): (Vec<u16>, Vec<u16>) = (a.iter().map(bits).collect(), b.iter().map(bits).collect());
        let got: Vec<f32> = launch_one(("tensor", name), &[&there_a, &there_b], 128);
        assert_eq!(got, product(&a, &b, inner), "{name}");
    }
    let (a, b) = (numbers(16 * 8, 3), numbers(8 * 8, 4));
    let got: Vec<f32> = launch_one(("tensor", "product_tf32"), &[&a, &b], 128);
    assert_eq!(got, product(&a, &b, 8));

    let bytes = |count: usize, seed| numbers(count, seed).iter().map(|v| (v * 127.0) as i8).collect::<Vec<_>>();
    let (a, b) = (bytes(16 * 32, 5), bytes(8 * 32, 6));
    let words = |bytes: &[i8]| -> Vec<i32> {
        bytes.chunks(4).map(|four| i32::from_le_bytes([0, 1, 2, 3].map(|i| four[i] as u8))).collect()
    };
    let got: Vec<i32> = launch_one(("tensor", "product_int8"), &[&words(&a), &words(&b)], 128);
    let dot = |row: usize, column: usize| {
        (0..32).map(|i| i32::from(a[row * 32 + i]) * i32::from(b[column * 32 + i])).sum::<i32>()
    };
    assert_eq!(got, (0..128).map(|i| dot(i / 8, i % 8)).collect::<Vec<_>>());
}

#[test]
fn tf32_keeps_ten_bits() {
    let (mut a, mut b) = (vec![0.0f32; 128], vec![0.0f32; 64]);
    (a[0], b[0]) = (1.0 + 1.0 / 1024.0 + 1.0 / 8192.0, 1.0);
    let got: Vec<f32> = launch_one(("tensor", "product_tf32"), &[&a, &b], 128);
    assert_eq!(got[0], 1.0 + 1.0 / 1024.0);
}

#[test]
fn matrices_are_loaded_and_transposed() {
    let a: Vec<u16> = (0..256).collect();
    let got: Vec<u32> = launch_one(("tensor", "transposed"), &[&a], 7 * 32);
    let at = |matrix: usize, row: usize, column: usize| u32::from(a[matrix * 64 + row * 8 + column]);
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        let straight = |m| at(m, g, 2 * t) | at(m, g, 2 * t + 1) << 16;
        let turned = |m| at(m, 2 * t, g) | at(m, 2 * t + 1, g) << 16;
        let column: Vec<u32> = (0..7).map(|j| got[j * 32 + lane]).collect();
        let wanted = [turned(0), turned(1), turned(2), turned(3), straight(0), turned(0), turned(1)];
        assert_eq!(column, wanted, "lane {lane}");
    }
}

#[test]
fn an_mbarrier_holds_producer_and_consumer_together() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let function = module(&context, "tensor").load_function("producer_consumer").unwrap();
    let rounds = 6;
    let x: Vec<i32> = (0..32 * rounds).collect();
    let wanted: Vec<i32> = (0..32 * rounds).map(|i| (i / 32 * 32 + 31 - i % 32) * 2).collect();
    let there = stream.clone_htod(&x).unwrap();
    for seed in 0..20 {
        emulator.configure_context(&format!(r#"{{"seed": {seed}}}"#)).unwrap();
        let mut out = stream.alloc_zeros::<i32>(32 * rounds as usize).unwrap();
        let mut builder = stream.launch_builder(&function);
        builder.arg(&there).arg(&mut out).arg(&rounds);
        unsafe { builder.launch(line(1, 64)) }.unwrap();
        assert_eq!(stream.clone_dtoh(&out).unwrap(), wanted, "seed {seed}");
    }
}

#[test]
fn loads_and_stores_of_every_width() {
    let (_, context) = context();
    let stream = context.default_stream();
    let function = module(&context, "tensor").load_function("vectors").unwrap();
    let words: Vec<u32> = (0..128).map(|i| i * 0x0101_0101).collect();
    let bytes: Vec<u8> = (0..128).collect();
    let (a, c, e) = (
        stream.clone_htod(&words).unwrap(),
        stream.clone_htod(&words[..64]).unwrap(),
        stream.clone_htod(&bytes).unwrap(),
    );
    let mut b = stream.alloc_zeros::<u32>(256).unwrap();
    let mut d = stream.alloc_zeros::<u32>(64).unwrap();
    let mut f = stream.alloc_zeros::<u8>(128).unwrap();
    let mut builder = stream.launch_builder(&function);
    builder.arg(&a).arg(&mut b).arg(&c).arg(&mut d).arg(&e).arg(&mut f);
    unsafe { builder.launch(line(1, 32)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&b).unwrap(), [words.clone(), words.clone()].concat());
    assert_eq!(stream.clone_dtoh(&d).unwrap(), words[..64]);
    let turned: Vec<u8> = bytes.chunks(4).flat_map(|four| [four[3], four[2], four[1], four[0]]).collect();
    assert_eq!(stream.clone_dtoh(&f).unwrap(), turned);
}
