//! Launches written out, and run again.

mod common;

use std::fs;
use std::process::Command;

use common::{context, kernel, line, module, numbers};
use cudarc::driver::PushKernelArg;
use glimmer_emulator::bundle::{Alternative, Manifest, replay};
use glimmer_emulator::check::Kind;

/// Records the second of three saxpys, with an allocation beside it that is half written.
fn record(folder: &str) {
    let (emulator, context) = context();
    let request = format!(r#"{{"seed": 9, "record": [{{"kernel": "saxpy", "ordinal": 1, "folder": "{folder}"}}]}}"#);
    emulator.configure_context(&request).unwrap();
    let stream = context.default_stream();
    let saxpy = kernel(&context, "saxpy", "saxpy");
    let mut half = unsafe { stream.alloc::<u8>(100) }.unwrap();
    stream.memset_zeros(&mut half.slice_mut(50..)).unwrap();
    let x = stream.clone_htod(&numbers(300, 1)).unwrap();
    let mut y = stream.clone_htod(&numbers(300, 2)).unwrap();
    for _ in 0..3 {
        let mut builder = stream.launch_builder(&saxpy);
        builder.arg(&0.5f32).arg(&x).arg(&mut y).arg(&300i32);
        unsafe { builder.launch(line(3, 128)) }.unwrap();
    }
}

#[test]
fn a_bundle_holds_all_that_a_launch_depends_on() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    record(bundle.to_str().unwrap());
    let manifest = Manifest::read(&bundle).unwrap();
    assert_eq!((manifest.kernel.as_str(), manifest.grid, manifest.block), ("saxpy", [3, 1, 1], [128, 1, 1]));
    let params = manifest.param_bytes().unwrap();
    assert_eq!(params[..4], 0.5f32.to_le_bytes());
    assert_eq!(params[8..16], manifest.allocations[1].address.to_le_bytes());
    assert_eq!(params[24..28], 300i32.to_le_bytes());
    assert_eq!(manifest.seed, 9);
    let sizes: Vec<u64> = manifest.allocations.iter().map(|stored| stored.bytes).collect();
    assert_eq!(sizes, [100, 1200, 1200]);
    assert_eq!(manifest.allocations[0].unwritten, [[0, 50]]);
    let floats = |file: &str| {
        let bytes = fs::read(bundle.join(file)).unwrap();
        bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect::<Vec<_>>()
    };
    let (x, y) = (numbers(300, 1), numbers(300, 2));
    let after = |times: i32| -> Vec<f32> {
        x.iter().zip(&y).map(|(x, y)| (0..times).fold(*y, |y, _| 0.5f32.mul_add(*x, y))).collect()
    };
    assert_eq!(floats(&manifest.allocations[2].before), after(1));
    assert_eq!(floats(&manifest.allocations[2].after), after(2));
}

#[test]
fn a_replay_does_what_the_launch_did() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    record(bundle.to_str().unwrap());
    for (seed, threads) in [(None, 1), (Some(1), 2), (Some(2), 3)] {
        let again = replay(&bundle, &Alternative { seed, threads, ptx: None }).unwrap();
        assert!(again.agrees(), "{again}");
    }
    let program = Command::new(env!("CARGO_BIN_EXE_replay")).arg(&bundle).output().unwrap();
    assert!(program.status.success(), "{program:?}");
    assert!(String::from_utf8_lossy(&program.stdout).contains("as recorded"));
}

#[test]
fn a_replay_finds_what_another_compilation_does_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    record(bundle.to_str().unwrap());
    let other = folder.path().join("other.ptx");
    let ptx = fs::read_to_string(bundle.join("kernel.ptx")).unwrap();
    assert!(ptx.contains("fma.rn.f32"));
    fs::write(&other, ptx.replacen("fma.rn.f32", "fma.rz.f32", 1)).unwrap();
    let again = replay(&bundle, &Alternative { ptx: Some(other.clone()), ..Alternative::default() }).unwrap();
    // Halves of 64ths are exact, whichever way they are rounded.
    assert!(again.agrees(), "{again}");
    let wrong = ptx.replacen("%f4, %f2, %f1, %f3", "%f4, %f2, %f2, %f3", 1);
    assert_ne!(wrong, ptx);
    fs::write(&other, wrong).unwrap();
    let again = replay(&bundle, &Alternative { ptx: Some(other.clone()), ..Alternative::default() }).unwrap();
    assert!(!again.agrees());
    assert_eq!(again.differences.len(), 1);
    assert_eq!(again.differences[0].file, "after/0002.bin");
    let arguments = [bundle.to_str().unwrap(), "--ptx", other.to_str().unwrap()];
    let program = Command::new(env!("CARGO_BIN_EXE_replay")).args(arguments).output().unwrap();
    assert_eq!(program.status.code(), Some(1), "{program:?}");
}

#[test]
fn a_fault_is_recorded_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let (emulator, context) = context();
    let place = bundle.to_str().unwrap();
    let record = format!(r#""record": [{{"kernel": "off_by_one", "ordinal": 0, "folder": "{place}"}}]"#);
    emulator.configure_context(&format!(r#"{{"reports": "keep", {record}}}"#)).unwrap();
    let stream = context.default_stream();
    let function = kernel(&context, "bugs", "off_by_one");
    let (x, mut y) = (stream.alloc_zeros::<f32>(256).unwrap(), stream.alloc_zeros::<f32>(256).unwrap());
    let mut builder = stream.launch_builder(&function);
    builder.arg(&x).arg(&mut y).arg(&256i32);
    unsafe { builder.launch(line(5, 64)) }.unwrap_err();
    let again = replay(&bundle, &Alternative::default()).unwrap();
    assert!(again.agrees(), "{again}");
    assert_eq!(again.outcome.unwrap_err().fault.kind, Kind::OutOfBounds);
}

#[test]
fn the_modules_variables_are_part_of_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let (emulator, context) = context();
    let place = bundle.to_str().unwrap();
    let record = format!(r#"{{"record": [{{"kernel": "count", "ordinal": 1, "folder": "{place}"}}]}}"#);
    emulator.configure_context(&record).unwrap();
    let stream = context.default_stream();
    let module = module(&context, "launch");
    let count = module.load_function("count").unwrap();
    for _ in 0..2 {
        unsafe { stream.launch_builder(&count).launch(line(1, 32)) }.unwrap();
    }
    let manifest = Manifest::read(&bundle).unwrap();
    let counter = manifest.globals.iter().find(|global| global.name == "counter").unwrap();
    let stored = manifest.allocations.iter().find(|stored| stored.address == counter.address).unwrap();
    assert_eq!(fs::read(bundle.join(&stored.before)).unwrap(), (5 + 32i32).to_le_bytes());
    assert_eq!(fs::read(bundle.join(&stored.after)).unwrap(), (5 + 64i32).to_le_bytes());
    assert!(replay(&bundle, &Alternative::default()).unwrap().agrees());
}

#[test]
fn a_folder_that_is_no_bundle_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "all of it").unwrap();
    let (emulator, context) = context();
    let place = folder.path().to_str().unwrap();
    let record = format!(r#"{{"record": [{{"kernel": "count", "ordinal": 0, "folder": "{place}"}}]}}"#);
    emulator.configure_context(&record).unwrap();
    let stream = context.default_stream();
    let count = kernel(&context, "launch", "count");
    unsafe { stream.launch_builder(&count).launch(line(1, 32)) }.unwrap_err();
    assert!(emulator.last_failure().unwrap().contains("is no bundle"));
    assert_eq!(fs::read_to_string(folder.path().join("thesis.txt")).unwrap(), "all of it");
    assert!(replay(folder.path(), &Alternative::default()).unwrap_err().to_string().contains("not a bundle"));
}
