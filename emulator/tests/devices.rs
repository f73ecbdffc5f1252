//! The device can be chosen. One test alone: the choice is the process's.

mod common;

use common::{code, kernel, line};
use cudarc::driver::sys::CUdevice_attribute::*;
use cudarc::driver::sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
use cudarc::driver::sys::CUresult::*;
use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};

#[test]
fn it_poses_as_what_it_is_told() {
    let emulator = glimmer_emulator::open().unwrap();
    emulator.configure(r#"{"device": "h100"}"#).unwrap();
    let hopper = CudaContext::new_non_primary(0, 0).unwrap();
    assert_eq!(hopper.compute_capability().unwrap(), (9, 0));
    assert_eq!(hopper.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).unwrap(), 132);

    emulator.configure(r#"{"device": "rtx4090"}"#).unwrap();
    let ada = CudaContext::new_non_primary(0, 0).unwrap();
    assert_eq!(ada.name().unwrap(), "NVIDIA GeForce RTX 4090");
    let function = kernel(&ada, "launch", "turn_around");
    let dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert_eq!(code(function.set_attribute(dynamic, 100 * 1024)), CUDA_ERROR_INVALID_VALUE);
    function.set_attribute(dynamic, 99 * 1024).unwrap();

    let tiny = r#"{"device": {"name": "tiny", "compute": [8, 0], "multiprocessors": 1, "memory_bytes": 4096}}"#;
    emulator.configure(tiny).unwrap();
    let tiny = CudaContext::new_non_primary(0, 0).unwrap();
    let stream = tiny.default_stream();
    assert_eq!(tiny.total_mem().unwrap(), 4096);
    let kept = stream.alloc_zeros::<u8>(3000).unwrap();
    assert_eq!(code(stream.alloc_zeros::<u8>(3000)), CUDA_ERROR_OUT_OF_MEMORY);
    drop(kept);
    stream.alloc_zeros::<u8>(3000).unwrap();
    assert!(emulator.configure(r#"{"device": "gtx"}"#).unwrap_err().to_string().contains("gtx"));

    // The earlier contexts go on as they were.
    let stream = ada.default_stream();
    let mut data = stream.clone_htod(&[1, 2, 3]).unwrap();
    let config = LaunchConfig { shared_mem_bytes: 12, ..line(1, 32) };
    unsafe { stream.launch_builder(&function).arg(&mut data).arg(&3i32).launch(config) }.unwrap();
    assert_eq!(stream.clone_dtoh(&data).unwrap(), [3, 2, 1]);
}
