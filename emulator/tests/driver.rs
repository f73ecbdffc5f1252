//! The driver without kernels, through cudarc: contexts, memory, streams, events, capture, errors.

mod common;

use std::ffi::{CStr, c_void};

use common::{code, context};
use cudarc::driver::sys::CUresult::*;
use cudarc::driver::{CudaContext, result, sys};

#[test]
fn the_device_is_what_was_chosen() {
    let (emulator, context) = context();
    assert_eq!(context.compute_capability().unwrap(), (8, 0));
    assert_eq!(context.name().unwrap(), "NVIDIA A100-SXM4-80GB");
    assert_eq!(context.total_mem().unwrap(), 80 << 30);
    use sys::CUdevice_attribute::*;
    let attribute = |attribute| context.attribute(attribute).unwrap();
    assert_eq!(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 108);
    assert_eq!(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), 163 * 1024);
    assert_eq!(attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
    assert_eq!(emulator.options().unwrap().device.compute, [8, 0]);
    assert_eq!(CudaContext::device_count().unwrap(), 1);
    assert_eq!(code(CudaContext::new(1)), CUDA_ERROR_INVALID_DEVICE);
}

#[test]
fn a_context_keeps_its_device_and_not_its_other_options() {
    let (emulator, _context) = context();
    emulator.configure_context(r#"{"seed": 5}"#).unwrap();
    assert_eq!(emulator.options().unwrap().seed, 5);
    assert!(emulator.configure_context(r#"{"device": "h100"}"#).unwrap_err().to_string().contains("device"));
    assert!(emulator.configure_context(r#"{"sead": 5}"#).unwrap_err().to_string().contains("sead"));
}

#[test]
fn bytes_come_back_as_they_went() {
    let (_, context) = context();
    let stream = context.default_stream();
    let data: Vec<u32> = (0..1000).collect();
    let there = stream.clone_htod(&data).unwrap();
    let copy = stream.clone_dtod(&there).unwrap();
    assert_eq!(stream.clone_dtoh(&copy).unwrap(), data);
    let mut zeros = stream.alloc_zeros::<u32>(1000).unwrap();
    assert_eq!(stream.clone_dtoh(&zeros).unwrap(), [0; 1000]);
    stream.memcpy_dtod(&there.slice(10..20), &mut zeros.slice_mut(990..)).unwrap();
    assert_eq!(stream.clone_dtoh(&zeros.slice(989..)).unwrap(), [0, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    let mut pinned = unsafe { context.alloc_pinned::<u32>(1000) }.unwrap();
    stream.memcpy_dtoh(&there, &mut pinned).unwrap();
    assert_eq!(pinned.as_slice().unwrap(), data);
}

#[test]
fn memory_is_counted() {
    let (_, context) = context();
    let stream = context.default_stream();
    let (before, total) = context.mem_get_info().unwrap();
    let slice = stream.alloc_zeros::<u8>(1 << 20).unwrap();
    assert_eq!(context.mem_get_info().unwrap(), (before - (1 << 20), total));
    drop(slice);
    assert_eq!(context.mem_get_info().unwrap(), (before, total));
    assert_eq!(code(unsafe { result::malloc_sync(total + 1) }), CUDA_ERROR_OUT_OF_MEMORY);
    assert_eq!(code(unsafe { result::malloc_sync(0) }), CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn a_double_free_is_refused_and_reported() {
    let (emulator, context) = context();
    context.bind_to_thread().unwrap();
    let address = unsafe { result::malloc_sync(64) }.unwrap();
    unsafe { result::free_sync(address) }.unwrap();
    assert_eq!(code(unsafe { result::free_sync(address) }), CUDA_ERROR_INVALID_VALUE);
    let report = emulator.report().unwrap().expect("a report");
    assert_eq!(report.fault.kind, glimmer_emulator::check::Kind::InvalidFree);
    assert_eq!(report.fault.address, Some(address));
    assert!(emulator.last_failure().unwrap().contains("freed twice"));
    // A refusal is not a fault: the context goes on.
    context.synchronize().unwrap();
}

#[test]
fn copies_outside_of_an_allocation_are_refused() {
    let (emulator, context) = context();
    context.bind_to_thread().unwrap();
    let address = unsafe { result::malloc_sync(64) }.unwrap();
    assert_eq!(code(unsafe { result::memcpy_htod_sync(address + 32, &[0u8; 33]) }), CUDA_ERROR_INVALID_VALUE);
    assert!(emulator.last_failure().unwrap().contains("past the end"), "the failure says by how much");
    assert_eq!(code(unsafe { result::memset_d8_sync(address - 1, 0, 1) }), CUDA_ERROR_INVALID_VALUE);
    unsafe { result::memcpy_htod_sync(address + 32, &[0u8; 32]) }.unwrap();
    unsafe { result::free_sync(address) }.unwrap();
    assert_eq!(code(unsafe { result::memset_d8_sync(address, 0, 1) }), CUDA_ERROR_INVALID_VALUE);
    assert!(emulator.last_failure().unwrap().contains("freed"));
}

#[test]
fn contexts_share_no_memory() {
    let (_, first) = context();
    let here = first.default_stream().clone_htod(&[1u8; 16]).unwrap();
    let (_, second) = context();
    let there = second.default_stream().clone_htod(&[2u8; 16]).unwrap();
    assert_eq!(first.default_stream().clone_dtoh(&here).unwrap(), [1; 16]);
    assert_eq!(second.default_stream().clone_dtoh(&there).unwrap(), [2; 16]);
}

#[test]
fn the_primary_context_begins_anew_once_it_is_released() {
    glimmer_emulator::open().unwrap();
    let context = CudaContext::new(0).unwrap();
    let again = CudaContext::new(0).unwrap();
    assert_eq!(context.cu_ctx(), again.cu_ctx());
    let handle = context.cu_ctx() as usize;
    drop((context, again));
    assert_ne!(CudaContext::new(0).unwrap().cu_ctx() as usize, handle);
}

#[test]
fn handles_that_were_never_given_or_are_no_more_are_refused() {
    let (_, context) = context();
    context.bind_to_thread().unwrap();
    let stream = result::stream::create(result::stream::StreamKind::NonBlocking).unwrap();
    unsafe { result::stream::synchronize(stream) }.unwrap();
    unsafe { result::stream::destroy(stream) }.unwrap();
    assert_eq!(code(unsafe { result::stream::synchronize(stream) }), CUDA_ERROR_INVALID_HANDLE);
    assert_eq!(code(unsafe { result::event::query(0x1234 as _) }), CUDA_ERROR_INVALID_HANDLE);
    assert_eq!(code(unsafe { result::module::unload(stream as _) }), CUDA_ERROR_INVALID_HANDLE);
    let launch = unsafe { result::launch_kernel(8 as _, (1, 1, 1), (1, 1, 1), 0, result::stream::null(), &mut []) };
    assert_eq!(code(launch), CUDA_ERROR_INVALID_HANDLE);
}

#[test]
fn events_measure_this_machines_time() {
    let (_, context) = context();
    let stream = context.new_stream().unwrap();
    let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(timed).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    let end = stream.record_event(timed).unwrap();
    let elapsed = start.elapsed_ms(&end).unwrap();
    assert!((5.0..5000.0).contains(&elapsed), "{elapsed} ms");
    assert!(end.is_complete());
    let untimed = stream.record_event(None).unwrap();
    assert_eq!(code(start.elapsed_ms(&untimed)), CUDA_ERROR_INVALID_HANDLE);
    let never = context.new_event(timed).unwrap();
    assert_eq!(code(start.elapsed_ms(&never)), CUDA_ERROR_INVALID_HANDLE);
}

#[test]
fn host_functions_run_in_their_turn() {
    unsafe extern "C" fn increment(counter: *mut c_void) {
        unsafe { *counter.cast::<u32>() += 1 };
    }
    let (_, context) = context();
    let stream = context.new_stream().unwrap();
    let mut counter = 0u32;
    for _ in 0..3 {
        unsafe { result::stream::launch_host_function(stream.cu_stream(), increment, (&raw mut counter).cast()) }
            .unwrap();
    }
    stream.synchronize().unwrap();
    assert_eq!(counter, 3);
}

const RELAXED: sys::CUstreamCaptureMode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
const GLOBAL: sys::CUstreamCaptureMode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
const NO_FLAGS: sys::CUgraphInstantiate_flags = sys::CUgraphInstantiate_flags(0);

#[test]
fn what_is_captured_runs_when_the_graph_does() {
    let (_, context) = context();
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    let mut data = stream.clone_htod(&[1u32; 4]).unwrap();
    stream.begin_capture(GLOBAL).unwrap();
    assert_eq!(stream.capture_status().unwrap(), sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
    stream.memset_zeros(&mut data).unwrap();
    let graph = stream.end_capture(NO_FLAGS).unwrap().unwrap();
    assert_eq!(stream.clone_dtoh(&data).unwrap(), [1; 4]);
    for _ in 0..2 {
        graph.launch().unwrap();
        assert_eq!(stream.clone_dtoh(&data).unwrap(), [0; 4]);
        stream.memcpy_htod(&[2u32; 4], &mut data).unwrap();
    }
    graph.upload().unwrap();
}

#[test]
fn a_capture_reaches_other_streams_through_events_and_must_come_back() {
    let (_, context) = context();
    unsafe { context.disable_event_tracking() };
    let (stream, side) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let (mut one, mut two) = (stream.alloc_zeros::<u8>(4).unwrap(), stream.alloc_zeros::<u8>(4).unwrap());
    let fork = |joined: bool, one: &mut _, two: &mut _| {
        stream.begin_capture(GLOBAL).unwrap();
        stream.memcpy_htod(&[1u8; 4], one).unwrap();
        side.join(&stream).unwrap();
        side.memcpy_htod(&[2u8; 4], two).unwrap();
        if joined {
            stream.join(&side).unwrap();
        }
        stream.end_capture(NO_FLAGS)
    };
    assert_eq!(code(fork(false, &mut one, &mut two)), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    let graph = fork(true, &mut one, &mut two).unwrap().unwrap();
    assert_eq!(side.capture_status().unwrap(), sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE);
    assert_eq!(stream.clone_dtoh(&two).unwrap(), [0; 4]);
    graph.launch().unwrap();
    assert_eq!(stream.clone_dtoh(&one).unwrap(), [1; 4]);
    assert_eq!(stream.clone_dtoh(&two).unwrap(), [2; 4]);
}

#[test]
fn calls_that_a_capture_forbids_break_it() {
    let (_, context) = context();
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    stream.begin_capture(GLOBAL).unwrap();
    assert_eq!(code(stream.synchronize()), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_eq!(code(stream.end_capture(NO_FLAGS)), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

    stream.begin_capture(GLOBAL).unwrap();
    assert_eq!(code(unsafe { result::malloc_sync(8) }), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_eq!(code(stream.end_capture(NO_FLAGS)), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

    stream.begin_capture(RELAXED).unwrap();
    let address = unsafe { result::malloc_sync(8) }.unwrap();
    unsafe { result::free_sync(address) }.unwrap();
    assert!(stream.end_capture(NO_FLAGS).is_ok());

    let outside = context.default_stream().record_event(None).unwrap();
    stream.begin_capture(GLOBAL).unwrap();
    assert_eq!(code(stream.wait(&outside)), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    assert_eq!(code(stream.end_capture(NO_FLAGS)), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_eq!(code(context.default_stream().begin_capture(GLOBAL)), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_eq!(code(stream.end_capture(NO_FLAGS)), CUDA_ERROR_ILLEGAL_STATE);
}

#[test]
fn memory_allocated_in_a_capture_belongs_to_the_graph() {
    let (_, context) = context();
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    let mut out = stream.alloc_zeros::<u8>(64).unwrap();
    let outside = stream.alloc_zeros::<u8>(32).unwrap();
    let (before, _) = context.mem_get_info().unwrap();
    stream.begin_capture(GLOBAL).unwrap();
    let scratch = stream.clone_htod(&[7u8; 64]).unwrap();
    stream.memcpy_dtod(&scratch, &mut out).unwrap();
    drop(scratch);
    // Not the graph's, but freed by it.
    drop(outside);
    let graph = stream.end_capture(NO_FLAGS).unwrap().unwrap();
    graph.launch().unwrap();
    assert_eq!(stream.clone_dtoh(&out).unwrap(), [7; 64]);
    assert_eq!(context.mem_get_info().unwrap().0, before - 64 + 32);
    drop(graph);
    assert_eq!(context.mem_get_info().unwrap().0, before + 32);
}

#[test]
fn pools_keep_their_attributes() {
    let (_, context) = context();
    context.bind_to_thread().unwrap();
    let pool = unsafe { result::device::get_default_mem_pool(context.cu_device()) }.unwrap();
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let mut value = u64::MAX;
    unsafe { sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut value).cast()) }.result().unwrap();
    value = 0;
    unsafe { sys::cuMemPoolGetAttribute(pool, threshold, (&raw mut value).cast()) }.result().unwrap();
    assert_eq!(value, u64::MAX);
}

#[test]
fn errors_have_names() {
    let (_, context) = context();
    let error = context.load_module(cudarc::nvrtc::Ptx::from_file("/nowhere.ptx")).unwrap_err();
    assert_eq!(error.error_name().unwrap(), c"CUDA_ERROR_FILE_NOT_FOUND");
    assert!(error.to_string().contains("file not found"));
}

#[test]
fn a_function_that_is_not_implemented_fails_with_its_name() {
    let (emulator, context) = context();
    context.bind_to_thread().unwrap();
    let status = unsafe { sys::cuArrayDestroy(std::ptr::null_mut()) };
    assert_eq!(status, CUDA_ERROR_NOT_SUPPORTED);
    assert!(emulator.last_failure().unwrap().contains("cuArrayDestroy is not implemented"));
    let managed = unsafe { result::malloc_managed(8, sys::CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL) };
    assert_eq!(code(managed), CUDA_ERROR_NOT_SUPPORTED);
}

#[test]
fn functions_are_found_by_the_names_that_programs_use() {
    glimmer_emulator::open().unwrap();
    let find = |name: &CStr| {
        let (mut address, mut found) = (std::ptr::null_mut(), unsafe { std::mem::zeroed() });
        let status = unsafe { sys::cuGetProcAddress_v2(name.as_ptr(), &mut address, 13_000, 0, &mut found) };
        (status, address.is_null())
    };
    assert_eq!(find(c"cuMemAlloc"), (CUDA_SUCCESS, false));
    assert_eq!(find(c"cuLaunchKernel"), (CUDA_SUCCESS, false));
    assert_eq!(find(c"cuMakeCoffee"), (CUDA_ERROR_NOT_FOUND, true));
}

#[test]
fn contexts_can_copy_to_each_other() {
    let (_, first) = context();
    let here = first.default_stream().clone_htod(&[1u8, 2, 3]).unwrap().leak();
    let (_, second) = context();
    let stream = second.default_stream();
    let there = stream.alloc_zeros::<u8>(3).unwrap().leak();
    let (to, from) = (second.cu_ctx(), first.cu_ctx());
    unsafe { result::memcpy_peer_async(to, there, from, here, 3, stream.cu_stream()) }.unwrap();
    let mut back = [0u8; 3];
    unsafe { result::memcpy_dtoh_sync(&mut back, there) }.unwrap();
    assert_eq!(back, [1, 2, 3]);
}

#[test]
fn fills_repeat_patterns_of_each_width() {
    let (_, context) = context();
    let stream = context.default_stream();
    let words = stream.alloc_zeros::<u32>(4).unwrap().leak();
    unsafe {
        sys::cuMemsetD32Async(words, 0x0102_0304, 4, stream.cu_stream()).result().unwrap();
        sys::cuMemsetD16_v2(words + 4, 0xabcd, 3).result().unwrap();
        assert_eq!(sys::cuMemsetD32_v2(words + 2, 0, 1), CUDA_ERROR_INVALID_VALUE);
    }
    let mut back = [0u32; 4];
    unsafe { result::memcpy_dtoh_sync(&mut back, words) }.unwrap();
    assert_eq!(back, [0x0102_0304, 0xabcd_abcd, 0x0102_abcd, 0x0102_0304]);
}

#[test]
fn the_compilers_log_says_what_is_wrong_with_a_module() {
    let (_, context) = context();
    context.bind_to_thread().unwrap();
    let image = c".version 8.0\n.target sm_80\n.address_size 64\n.entry k()\n{\n\tfrobnicate.u32 7;\n}\n";
    let mut log = [1u8; 200];
    let mut options =
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast(), log.len() as *mut c_void];
    let mut module = std::ptr::null_mut();
    let (numbers, values) = (options.as_mut_ptr(), values.as_mut_ptr());
    let status = unsafe { sys::cuModuleLoadDataEx(&mut module, image.as_ptr().cast(), 2, numbers, values) };
    assert_eq!(status, CUDA_ERROR_INVALID_PTX);
    let log = CStr::from_bytes_until_nul(&log).unwrap().to_str().unwrap();
    assert!(log.contains("line 6") && log.contains("frobnicate"), "{log}");
}
