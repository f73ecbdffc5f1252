//! What warps do together, where control flow takes lanes apart, and atomics.

mod common;

use common::{context, launch_one, line, module, rows};
use cudarc::driver::PushKernelArg;

#[test]
fn warps_exchange() {
    let x: Vec<i32> = (0..32).map(|i| (i * 37 + 11) % 200 - 100).collect();
    let got: Vec<i32> = launch_one(("warps", "warps"), &[&x], 32 * 16);
    let bits = |holds: &dyn Fn(i32) -> bool| (0..32).filter(|&i| holds(x[i])).fold(0u32, |mask, i| mask | 1 << i);
    let positive = bits(&|v| v > 0);
    let top = x.iter().copied().max().unwrap();
    for (lane, row) in got.chunks(16).enumerate() {
        let wanted = [
            x[5],
            x[if lane >= 3 { lane - 3 } else { lane }],
            x[if lane + 3 < 32 { lane + 3 } else { lane }],
            x[lane ^ 9],
            x[lane / 8 * 8 + 3],
            x[if lane % 16 >= 2 { lane - 2 } else { lane }],
            positive as i32,
            i32::from(top > 90) + 2,
            bits(&|v| v & 3 == x[lane] & 3) as i32,
            0,
            x.iter().sum(),
            *x.iter().min().unwrap(),
            x.iter().fold(0, |all, v| all | v),
            -1,
            (bits(&|v| v & 1 == 1) & ((1 << lane) - 1)).count_ones() as i32,
            if x[lane] > 0 { top } else { 0 },
        ];
        assert_eq!(row, wanted, "lane {lane}");
    }
}

fn collatz(mut n: u32) -> i32 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
        if steps > 200 {
            return -1;
        }
    }
    steps
}

fn flow_row(x: i32) -> [i32; 6] {
    let mut sum = 0;
    for k in 0..50 {
        if k % 3 == x % 3 {
            continue;
        }
        if sum > 2 * (x & 127) {
            break;
        }
        sum += k;
    }
    let first = collatz((x & 63) as u32 + 1);
    let chosen = match x & 7 {
        0 => x * 3,
        1 => x - 100,
        2 | 3 => collatz((x & 15) as u32 + 1),
        4 => x ^ 0x2a,
        5 => return [first, sum, -5, 0, 0, 0],
        _ => 1000,
    };
    let mut inside = 0;
    let mut found = false;
    'search: for p in 0..=(x & 3) {
        for q in 0..4 {
            if (p + q + x) % 5 == 0 {
                found = true;
                break 'search;
            }
            inside += p * q + 1;
        }
    }
    if !found {
        inside += 1000;
    }
    let mut table = [3, 1, 4, 1, 5];
    for k in 0..5 {
        table[((k as i32 + x) & 3) as usize] += table[k];
    }
    let sign = if x < 0 { -1 } else { 1 };
    let odd = if x & 1 == 1 { 1 } else { 2 };
    [first, sum, chosen, inside, table[(x & 3) as usize] * 10 + table[4], sign * odd]
}

#[test]
fn control_flow_parts_and_meets() {
    let values: Vec<i32> = (0..150).map(|i| (i * 7919) % 1009 - 300).collect();
    let got: Vec<i32> = rows(("warps", "flow"), &values, None, 6);
    for (row, &x) in got.chunks(6).zip(&values) {
        assert_eq!(row, flow_row(x), "{x}");
    }
}

#[test]
fn atomics() {
    let (_, context) = context();
    let stream = context.default_stream();
    let function = module(&context, "warps").load_function("atomics").unwrap();
    let x: Vec<i32> = (0..256).map(|i| (i * 101 + 17) % 509 - 250).collect();
    let there = stream.clone_htod(&x).unwrap();
    let mut out = stream.clone_htod(&[0i32, 0, 0, -1, 0, 0, 0, 5, 0, 0]).unwrap();
    let mut wide = stream.alloc_zeros::<u64>(2).unwrap();
    let mut single = stream.alloc_zeros::<f32>(1).unwrap();
    let mut fine = stream.alloc_zeros::<f64>(1).unwrap();
    let mut builder = stream.launch_builder(&function);
    builder.arg(&there).arg(&mut out).arg(&mut wide).arg(&mut single).arg(&mut fine);
    unsafe { builder.launch(line(4, 64)) }.unwrap();
    let sum: i32 = x.iter().sum();
    // Of two values as long as each other the first to come stays, whichever that is.
    let longest = x.iter().map(|v| v.abs()).max().unwrap();
    let got = stream.clone_dtoh(&out).unwrap();
    assert_eq!(got[8].abs(), longest);
    let inc = (0..256).fold(0u32, |old, _| if old >= 9 { 0 } else { old + 1 });
    let dec = (0..256).fold(5u32, |old, _| if old == 0 || old > 9 { 9 } else { old - 1 });
    let fold = |start, f: fn(i32, i32) -> i32| x.iter().copied().fold(start, f);
    let wanted = [
        sum,
        fold(0, i32::min),
        fold(0, i32::max),
        fold(-1, |a, b| a & b),
        fold(0, |a, b| a | b),
        fold(0, |a, b| a ^ b),
        inc as i32,
        dec as i32,
        got[8],
        x[0],
    ];
    assert_eq!(got, wanted);
    let top = (fold(0, i32::max) + 1000) as u64;
    assert_eq!(stream.clone_dtoh(&wide).unwrap(), [((sum + 256_000) as u64) << 20, top << 33]);
    assert_eq!(stream.clone_dtoh(&single).unwrap(), [sum as f32]);
    assert_eq!(stream.clone_dtoh(&fine).unwrap(), [f64::from(sum) / 4.0]);
}
