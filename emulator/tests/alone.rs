//! The emulator is found with no variable set, and is not found by those who did not ask for it.

mod common;

use std::process::{Command, Output};

use common::context;

/// Runs one of the ignored tests below in a process of its own, with an empty environment but for these variables.
fn run(test: &str, variables: &[(&str, String)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env_clear();
    command.envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    command.current_dir("/").output().unwrap()
}

#[test]
#[ignore = "run by the test below"]
fn child_that_opens() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let data = stream.clone_htod(&[1u8, 2, 3]).unwrap();
    assert_eq!(stream.clone_dtoh(&data).unwrap(), [1, 2, 3]);
    println!("opened {}", emulator.path().display());
}

#[test]
#[ignore = "run by the test below"]
fn child_that_does_not_ask() {
    let found = unsafe { cudarc::driver::sys::is_culib_present() };
    println!("a driver is present: {found}");
    if found {
        // On a machine with a real driver: it is that one.
        let name = cudarc::driver::CudaContext::new(0).and_then(|context| context.uuid());
        assert!(name.is_err() || !format!("{name:?}").contains("glimmer"));
    }
}

#[test]
fn it_is_found_beside_the_program() {
    let output = run("child_that_opens", &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("libglimmer_emulator.so"), "{output:?}");
}

#[test]
fn it_does_not_shadow_a_driver() {
    // The library path that cargo sets for tests holds the folders that the emulator lies in.
    let path = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let output = run("child_that_does_not_ask", &[("LD_LIBRARY_PATH", path)]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn opening_twice_is_opening_once() {
    let (first, second) = (glimmer_emulator::open().unwrap(), glimmer_emulator::open().unwrap());
    assert!(std::ptr::eq(first, second));
}

#[test]
fn a_recording_can_be_asked_for_from_outside() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let request = format!("ramp:1:{}", bundle.display());
    let output = run("child_that_launches", &[("GLIMMER_EMULATOR_RECORD", request)]);
    assert!(output.status.success(), "{output:?}");
    let manifest = glimmer_emulator::bundle::Manifest::read(&bundle).unwrap();
    assert_eq!(manifest.kernel, "ramp");
    assert!(glimmer_emulator::bundle::replay(&bundle, &Default::default()).unwrap().agrees());
}

#[test]
#[ignore = "run by the test above"]
fn child_that_launches() {
    use cudarc::driver::PushKernelArg;
    let (_, context) = context();
    let stream = context.default_stream();
    let ramp = common::kernel(&context, "pipeline", "ramp");
    let mut y = stream.alloc_zeros::<f32>(10).unwrap();
    for start in [1.0f32, 2.0] {
        unsafe { stream.launch_builder(&ramp).arg(&mut y).arg(&start).arg(&10i32).launch(common::line(1, 32)) }
            .unwrap();
    }
}

#[test]
fn kernels_print_in_the_order_of_their_blocks() {
    let output = run("child_that_prints", &[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("block")).collect();
    // The harness may have begun a line of its own.
    assert!(lines[0].ends_with("block 0 of 3: half 0.50"), "{text}");
    assert_eq!(lines[1..], ["block 1 of 3: half 0.50", "block 2 of 3: half 0.50"]);
}

#[test]
#[ignore = "run by the test above"]
fn child_that_prints() {
    let (emulator, context) = context();
    emulator.configure_context(r#"{"seed": 5}"#).unwrap();
    let says = common::kernel(&context, "launch", "says");
    unsafe { context.default_stream().launch_builder(&says).launch(common::line(3, 1)) }.unwrap();
}
