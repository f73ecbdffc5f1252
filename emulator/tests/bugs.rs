//! Every planted bug is caught, with its kind and its line; no clean twin is reported under any of twenty schedules.
//!
//! `kernels/bugs.cu` marks the line and names the kind: what the tests expect is written where the bug is.

mod common;

use std::sync::Arc;

use common::{code, context, kernel, numbers};
use cudarc::driver::{CudaContext, DriverError, LaunchConfig, PushKernelArg, result, sys};
use glimmer_emulator::check::Report;

const COUNT: usize = 256;
const BUGS: &str = include_str!("kernels/bugs.cu");
const CLEAN: &str = include_str!("kernels/clean.cu");

/// A marked line.
#[derive(Debug, PartialEq)]
struct Mark {
    line: usize,
    kind: String,
}

/// The kernels of a source, with the marks in each.
fn kernels(source: &str) -> Vec<(String, Vec<Mark>)> {
    let mut all: Vec<(String, Vec<Mark>)> = Vec::new();
    for (index, line) in source.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("KERNEL ") {
            all.push((rest.split('(').next().unwrap().into(), Vec::new()));
        } else if let Some((_, kind)) = line.split_once("// BUG ")
            && let Some((_, marks)) = all.last_mut()
        {
            marks.push(Mark { line: index + 1, kind: kind.trim().into() });
        }
    }
    all
}

/// What each kernel finds in `y`, and whether `x` is there.
#[derive(Clone, Copy, PartialEq)]
enum Buffers {
    Filled,
    OutputUnwritten,
    InputFreed,
    InputNull,
}

fn buffers(name: &str) -> Buffers {
    match name {
        "uninitialised_global" => Buffers::OutputUnwritten,
        "use_after_free" => Buffers::InputFreed,
        "null_pointer" => Buffers::InputNull,
        _ => Buffers::Filled,
    }
}

fn shape(name: &str) -> LaunchConfig {
    let (blocks, shared_mem_bytes) = match name {
        // One block more than there is data for.
        "off_by_one" | "unguarded" => (5, 0),
        "shared_overrun" => (1, 64 * 4),
        "unguarded_counter" | "early_return" => (1, 0),
        _ => (4, 0),
    };
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes }
}

fn launch(context: &Arc<CudaContext>, file: &str, name: &str) -> Result<(), DriverError> {
    let stream = context.default_stream();
    let x = match buffers(name) {
        Buffers::InputNull => 0,
        _ => stream.clone_htod(&numbers(COUNT, 1))?.leak(),
    };
    let y = match buffers(name) {
        Buffers::OutputUnwritten => unsafe { stream.alloc::<f32>(COUNT) }?.leak(),
        _ => stream.alloc_zeros::<f32>(COUNT)?.leak(),
    };
    if buffers(name) == Buffers::InputFreed {
        unsafe { result::free_sync(x) }?;
    }
    let function = kernel(context, file, name);
    let count = COUNT as i32;
    unsafe { stream.launch_builder(&function).arg(&x).arg(&y).arg(&count).launch(shape(name)) }?;
    context.synchronize()
}

fn kind_of(report: &Report) -> String {
    serde_json::to_value(report.fault.kind).unwrap().as_str().unwrap().into()
}

fn matches(report: &Report, marks: &[Mark]) -> bool {
    let Some(place) = &report.place else { return false };
    // The instruction may be a wrapper's in one of CUDA's headers: then the line is the one that it was inlined at.
    let lines = [place.source.as_deref(), place.inlined_at.as_deref()];
    let kind = kind_of(report);
    marks.iter().any(|mark| {
        lines.contains(&Some(&*format!("bugs.cu:{}", mark.line))) && mark.kind.split(" or ").any(|known| known == kind)
    })
}

#[test]
fn every_bug_is_caught_at_its_line() {
    let mut missed = Vec::new();
    for (name, marks) in kernels(BUGS) {
        assert!(!marks.is_empty(), "{name} has no mark");
        for seed in 0..5 {
            let (emulator, context) = context();
            emulator.configure_context(&format!(r#"{{"seed": {seed}, "reports": "keep"}}"#)).unwrap();
            let outcome = launch(&context, "bugs", &name);
            match emulator.report().unwrap() {
                Some(report) if outcome.is_err() && matches(&report, &marks) => assert_eq!(report.kernel, name),
                report => missed.push(format!("{name} (seed {seed}): {marks:?}, got {report:#?}")),
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn no_clean_kernel_is_reported_under_twenty_schedules() {
    let mut reported = Vec::new();
    for (name, marks) in kernels(CLEAN) {
        assert!(marks.is_empty(), "{name} is clean");
        let (emulator, context) = context();
        for seed in 0..20 {
            emulator.configure_context(&format!(r#"{{"seed": {seed}, "reports": "keep"}}"#)).unwrap();
            if launch(&context, "clean", &name).is_err() {
                reported.push(format!("{name} (seed {seed}): {}", emulator.report_text().unwrap()));
            }
        }
    }
    assert!(reported.is_empty(), "{}", reported.join("\n"));
}

#[test]
fn every_bug_has_a_twin() {
    let clean: Vec<String> = kernels(CLEAN).into_iter().map(|(name, _)| name).collect();
    // These two are bugs of the host: the same kernels with other buffers are clean.
    let of_the_host = ["use_after_free", "null_pointer"];
    for (name, _) in kernels(BUGS) {
        assert!(clean.contains(&name) || of_the_host.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn a_fault_stays_with_its_context_as_a_drivers_does() {
    use sys::CUresult::*;
    for (name, status) in [
        ("off_by_one", CUDA_ERROR_ILLEGAL_ADDRESS),
        ("misaligned_vector", CUDA_ERROR_MISALIGNED_ADDRESS),
        ("asserts", CUDA_ERROR_ASSERT),
        ("gives_up", CUDA_ERROR_LAUNCH_FAILED),
        ("missing_barrier", CUDA_ERROR_LAUNCH_FAILED),
    ] {
        let (emulator, own) = context();
        emulator.configure_context(r#"{"reports": "keep"}"#).unwrap();
        assert_eq!(code(launch(&own, "bugs", name)), status, "{name}");
        let stream = own.default_stream();
        assert_eq!(code(own.synchronize()), status, "{name}");
        assert_eq!(code(stream.alloc_zeros::<u8>(1)), status, "{name}");
        assert_eq!(code(launch_clean(&own)), status, "{name}");
        let (_, fresh) = context();
        launch_clean(&fresh).unwrap();
    }
}

#[test]
fn a_fault_can_wait_for_the_next_call() {
    let (emulator, context) = context();
    emulator.configure_context(r#"{"reports": "keep", "faults": "fail_the_next_call"}"#).unwrap();
    let stream = context.default_stream();
    let y = stream.alloc_zeros::<f32>(COUNT).unwrap().leak();
    let function = kernel(&context, "bugs", "off_by_one");
    let count = COUNT as i32;
    unsafe { stream.launch_builder(&function).arg(&y).arg(&y).arg(&count).launch(shape("off_by_one")) }.unwrap();
    assert_eq!(code(stream.synchronize()), sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert!(emulator.report().unwrap().is_some());
}

fn launch_clean(context: &Arc<CudaContext>) -> Result<(), DriverError> {
    let stream = context.default_stream();
    stream.clone_htod(&[1.0f32])?;
    launch(context, "clean", "off_by_one")
}

#[test]
fn reports_say_who_where_and_by_how_much() {
    let (emulator, context) = context();
    emulator.configure_context(r#"{"reports": "keep"}"#).unwrap();
    launch(&context, "bugs", "off_by_one").unwrap_err();
    let text = emulator.report_text().unwrap();
    for part in
        ["off_by_one", "bugs.cu:17", "st.global", "block (4, 0, 0), thread (0, 0, 0)", "1024 bytes", "address 0x"]
    {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let report = emulator.report().unwrap().unwrap();
    assert_eq!((report.block, report.thread), (Some([4, 0, 0]), Some([0, 0, 0])));
    assert!(report.fault.what.contains("past the end"), "{}", report.fault.what);
}

#[test]
fn reports_do_not_depend_on_the_number_of_threads() {
    for (name, _) in kernels(BUGS) {
        let report = |threads: usize| {
            let (emulator, context) = context();
            let options = format!(r#"{{"seed": 3, "reports": "keep", "threads": {threads}}}"#);
            emulator.configure_context(&options).unwrap();
            launch(&context, "bugs", &name).unwrap_err();
            emulator.report_json().unwrap()
        };
        let alone = report(1);
        assert_eq!(alone, report(2), "{name}");
        assert_eq!(alone, report(5), "{name}");
    }
}

#[test]
fn what_is_not_to_be_checked_is_let_pass() {
    let (emulator, context) = context();
    emulator.configure_context(r#"{"checks": {"uninitialised": "ignore", "shared_races": "ignore"}}"#).unwrap();
    launch(&context, "bugs", "uninitialised_global").unwrap();
    launch(&context, "bugs", "missing_barrier").unwrap();
    assert!(emulator.report().unwrap().is_none());
}
