//! Launches through cudarc: what a driver checks, what functions can be asked, libraries, cooperation, parameters.

mod common;

use std::ffi::{CStr, c_int, c_void};

use common::{code, context, kernel, line, module};
use cudarc::driver::sys::CUfunction_attribute as Attribute;
use cudarc::driver::sys::CUresult::*;
use cudarc::driver::{DeviceRepr, DeviceSlice, LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::Ptx;

#[test]
fn sizes_that_no_device_takes_are_refused() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let function = kernel(&context, "launch", "turn_around");
    let mut data = stream.clone_htod(&[1, 2, 3, 4]).unwrap();
    let mut launch = |grid_dim, block_dim, shared_mem_bytes| {
        let config = LaunchConfig { grid_dim, block_dim, shared_mem_bytes };
        unsafe { stream.launch_builder(&function).arg(&mut data).arg(&4i32).launch(config) }.map(|_| ())
    };
    for (grid, block, shared, reason) in [
        ((0, 1, 1), (32, 1, 1), 16, "a grid of [0, 1, 1]"),
        ((1, 70_000, 1), (32, 1, 1), 16, "a grid of"),
        ((1, 1, 1), (1025, 1, 1), 16, "a block of [1025, 1, 1]"),
        ((1, 1, 1), (1, 1, 65), 16, "a block of [1, 1, 65]"),
        ((1, 1, 1), (64, 32, 1), 16, "a block of 2048 threads"),
        ((1, 1, 1), (32, 1, 1), 48 * 1024 + 1, "49153 dynamic shared bytes, 49152 allowed"),
    ] {
        assert_eq!(code(launch(grid, block, shared)), CUDA_ERROR_INVALID_VALUE);
        let failure = emulator.last_failure().unwrap();
        assert!(failure.contains(reason) && failure.contains("turn_around"), "{failure}");
    }
    // A refused launch is no fault.
    launch((1, 1, 1), (32, 1, 1), 16).unwrap();
    assert_eq!(stream.clone_dtoh(&data).unwrap(), [4, 3, 2, 1]);
}

#[test]
fn launch_bounds_are_kept() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let function = kernel(&context, "launch", "bounded");
    assert_eq!(function.get_attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK).unwrap(), 128);
    let mut y = stream.alloc_zeros::<f32>(256).unwrap();
    unsafe { stream.launch_builder(&function).arg(&mut y).launch(line(2, 128)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), [1.0; 256]);
    let beyond = unsafe { stream.launch_builder(&function).arg(&mut y).launch(line(1, 160)) };
    assert_eq!(code(beyond), CUDA_ERROR_INVALID_VALUE);
    assert!(emulator.last_failure().unwrap().contains("launch bounds allow 128"));
}

#[test]
fn more_than_48_kib_of_shared_memory_must_be_asked_for() {
    let (_, context) = context();
    let stream = context.default_stream();
    let function = kernel(&context, "launch", "turn_around");
    let count = 40_000i32;
    let data: Vec<i32> = (0..count).collect();
    let mut there = stream.clone_htod(&data).unwrap();
    let config = LaunchConfig { shared_mem_bytes: 160_000, ..line(1, 256) };
    let mut launch = || unsafe { stream.launch_builder(&function).arg(&mut there).arg(&count).launch(config) };
    assert_eq!(code(launch()), CUDA_ERROR_INVALID_VALUE);
    let dynamic = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert_eq!(code(function.set_attribute(dynamic, 164 * 1024)), CUDA_ERROR_INVALID_VALUE);
    function.set_attribute(dynamic, 160_000).unwrap();
    launch().unwrap();
    assert_eq!(stream.clone_dtoh(&there).unwrap(), data.into_iter().rev().collect::<Vec<_>>());
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Argument {
    letter: i8,
    number: f64,
    list: [i16; 3],
}
unsafe impl DeviceRepr for Argument {}

#[test]
fn parameters_arrive_whatever_their_size() {
    let (_, context) = context();
    let stream = context.default_stream();
    let function = kernel(&context, "launch", "arguments");
    let mut y = stream.alloc_zeros::<f64>(9).unwrap();
    let argument = Argument { letter: -7, number: 0.125, list: [100, 200, -1] };
    let mut builder = stream.launch_builder(&function);
    builder.arg(&-3i8).arg(&-300i16).arg(&70_000i32).arg(&(-1i64 << 40)).arg(&1.5f32).arg(&2.25f64);
    unsafe { builder.arg(&argument).arg(&mut y).launch(line(1, 1)) }.unwrap();
    let wanted = [-3.0, -300.0, 70_000.0, -((1i64 << 40) as f64), 1.5, 2.25, -7.0, 0.125, 299.0];
    assert_eq!(stream.clone_dtoh(&y).unwrap(), wanted);
}

#[test]
fn packed_parameters_are_the_same_as_separate_ones() {
    let (_, context) = context();
    let stream = context.default_stream();
    let functions = library_function(c"turn_around");
    let data = stream.clone_htod(&[1, 2, 3, 4]).unwrap().leak();
    let mut packed = data.to_le_bytes().to_vec();
    packed.extend(4i32.to_le_bytes());
    let mut bytes = packed.len();
    let mut extra: [*mut c_void; 5] =
        [1 as _, packed.as_mut_ptr().cast(), 2 as _, (&raw mut bytes).cast(), std::ptr::null_mut()];
    let none = std::ptr::null_mut();
    let status =
        unsafe { sys::cuLaunchKernel(functions, 1, 1, 1, 32, 1, 1, 16, none, none.cast(), extra.as_mut_ptr()) };
    assert_eq!(status, CUDA_SUCCESS);
    let mut back = [0; 4];
    unsafe { cudarc::driver::result::memcpy_dtoh_sync(&mut back, data) }.unwrap();
    assert_eq!(back, [4, 3, 2, 1]);
}

/// The kernel of a library, used in a function's place as the driver allows.
fn library_function(name: &CStr) -> sys::CUfunction {
    let image = std::ffi::CString::new(include_str!("ptx/launch.ptx")).unwrap();
    let (mut library, mut kernel) = (std::ptr::null_mut(), std::ptr::null_mut());
    let none = std::ptr::null_mut::<c_void>;
    let image = image.as_ptr().cast();
    unsafe {
        sys::cuLibraryLoadData(&mut library, image, none().cast(), none().cast(), 0, none().cast(), none().cast(), 0)
            .result()
            .unwrap();
        sys::cuLibraryGetKernel(&mut kernel, library, name.as_ptr()).result().unwrap();
    }
    kernel.cast()
}

#[test]
fn libraries_give_kernels_to_any_context() {
    let (_, first) = context();
    let shared = library_function(c"count");
    let run = || unsafe {
        sys::cuLaunchKernel(
            shared,
            1,
            1,
            1,
            3,
            1,
            1,
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    assert_eq!(run(), CUDA_SUCCESS);
    let (_, _second) = context();
    assert_eq!(run(), CUDA_SUCCESS);
    first.bind_to_thread().unwrap();
    let mut registers: c_int = 0;
    unsafe { sys::cuKernelGetAttribute(&mut registers, Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS, shared.cast(), 0) }
        .result()
        .unwrap();
    assert!(registers > 0);
}

#[test]
fn variables_have_addresses_and_first_values() {
    let (_, context) = context();
    let stream = context.default_stream();
    let module = module(&context, "launch");
    let mut counter = module.get_global("counter", &stream).unwrap();
    assert_eq!(counter.num_bytes(), 4);
    let count = module.load_function("count").unwrap();
    unsafe { stream.launch_builder(&count).launch(line(4, 32)) }.unwrap();
    let mut back = [0u8; 4];
    stream.memcpy_dtoh(&counter, &mut back).unwrap();
    assert_eq!(i32::from_le_bytes(back), 5 + 4 * 32);
    stream.memcpy_htod(&7i32.to_le_bytes(), &mut counter).unwrap();
    unsafe { stream.launch_builder(&count).launch(line(1, 1)) }.unwrap();
    stream.memcpy_dtoh(&counter, &mut back).unwrap();
    assert_eq!(i32::from_le_bytes(back), 8);
    let mut y = stream.alloc_zeros::<f32>(6).unwrap();
    let weighted = module.load_function("weighted").unwrap();
    unsafe { stream.launch_builder(&weighted).arg(&mut y).launch(line(1, 6)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), [0.0, 2.0, 6.0, 12.0, 4.0, 10.0]);
}

#[test]
fn cooperative_blocks_wait_for_each_other() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let function = kernel(&context, "launch", "rounds");
    let (blocks, rounds) = (16, 5);
    for seed in 0..4 {
        emulator.configure_context(&format!(r#"{{"seed": {seed}}}"#)).unwrap();
        let mut arrived = stream.alloc_zeros::<u32>(1).unwrap();
        let mut y = stream.alloc_zeros::<i32>((rounds + 1) * blocks).unwrap();
        let rounds = rounds as i32;
        let mut builder = stream.launch_builder(&function);
        builder.arg(&mut arrived).arg(&mut y).arg(&rounds);
        unsafe { builder.launch_cooperative(line(blocks as u32, 64)) }.unwrap();
        let back = stream.clone_dtoh(&y).unwrap();
        assert_eq!(back[5 * blocks..], [5; 16]);
    }
    let mut builder = stream.launch_builder(&function);
    let beyond = unsafe { builder.launch_cooperative(line(108 * 32 + 1, 64)) };
    assert_eq!(code(beyond), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    assert!(emulator.last_failure().unwrap().contains("3456 can be resident"));
}

#[test]
fn cooperative_groups_synchronise_the_grid() {
    let (emulator, context) = context();
    let stream = context.default_stream();
    let function = kernel(&context, "cooperative", "neighbours");
    let first: Vec<i32> = (0..8 * 64).map(|i| i * i % 17).collect();
    let round = |x: Vec<i32>| (0..x.len()).map(|i| x[(i + 1) % x.len()] + x[(i + x.len() - 1) % x.len()]).collect();
    let wanted: Vec<i32> = (0..3).fold(first.clone(), |x, _| round(x));
    for seed in 0..3 {
        emulator.configure_context(&format!(r#"{{"seed": {seed}}}"#)).unwrap();
        let mut from = stream.clone_htod(&first).unwrap();
        let mut to = stream.alloc_zeros::<i32>(first.len()).unwrap();
        let mut builder = stream.launch_builder(&function);
        builder.arg(&mut from).arg(&mut to).arg(&3i32);
        unsafe { builder.launch_cooperative(line(8, 64)) }.unwrap();
        assert_eq!(stream.clone_dtoh(&to).unwrap(), wanted, "seed {seed}");
    }
    // A grid that was not launched for it has no means to wait: CUDA's code traps.
    emulator.configure_context(r#"{"reports": "keep"}"#).unwrap();
    let mut from = stream.clone_htod(&first).unwrap();
    let mut to = stream.alloc_zeros::<i32>(first.len()).unwrap();
    let mut builder = stream.launch_builder(&function);
    builder.arg(&mut from).arg(&mut to).arg(&3i32);
    assert_eq!(code(unsafe { builder.launch(line(8, 64)) }), CUDA_ERROR_LAUNCH_FAILED);
    assert_eq!(emulator.report().unwrap().unwrap().fault.kind, glimmer_emulator::Kind::Trap);
}

#[test]
fn launches_with_attributes_are_launches() {
    let (_, context) = context();
    let stream = context.default_stream();
    let function = library_function(c"count");
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: 1, y: 1, z: 1 };
    let mut config: sys::CUlaunchConfig = unsafe { std::mem::zeroed() };
    (config.gridDimX, config.gridDimY, config.gridDimZ) = (2, 1, 1);
    (config.blockDimX, config.blockDimY, config.blockDimZ) = (8, 1, 1);
    (config.attrs, config.numAttrs, config.hStream) = (&mut attribute, 1, stream.cu_stream());
    let none = std::ptr::null_mut();
    assert_eq!(unsafe { sys::cuLaunchKernelEx(&config, function, none, none) }, CUDA_SUCCESS);
    attribute.value.clusterDim.x = 2;
    config.attrs = &mut attribute;
    assert_eq!(unsafe { sys::cuLaunchKernelEx(&config, function, none, none) }, CUDA_ERROR_NOT_SUPPORTED);
}

#[test]
fn occupancy_is_that_of_the_device() {
    let (_, context) = context();
    let function = kernel(&context, "launch", "turn_around");
    let resident =
        |threads, shared| function.occupancy_max_active_blocks_per_multiprocessor(threads, shared, None).unwrap();
    assert_eq!(resident(256, 0), 8);
    assert_eq!(resident(1024, 0), 2);
    assert_eq!(resident(128, 48 * 1024), 3);
    assert_eq!(function.occupancy_max_potential_block_size(no_shared, 0, 0, None).unwrap(), (2 * 108, 1024));
    assert_eq!(function.occupancy_available_dynamic_smem_per_block(2, 128).unwrap(), 81 * 1024);
}

extern "C" fn no_shared(_: c_int) -> usize {
    0
}

#[test]
fn modules_that_cannot_be_run_are_refused_with_a_reason() {
    let (emulator, context) = context();
    let refused = |ptx: &str| (code(context.load_module(Ptx::from_src(ptx))), emulator.last_failure().unwrap());
    let (status, failure) = refused(".version 8.0\n.target sm_90a\n.address_size 64\n");
    assert_eq!(status, CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert!(failure.contains("sm_90a") && failure.contains("sm_80"), "{failure}");
    let (status, _) = refused(".version 9.9\n.target sm_80\n.address_size 64\n");
    assert_eq!(status, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    let broken =
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n\tfrobnicate.u32 7;\n\tret;\n}\n";
    let (status, failure) = refused(broken);
    assert_eq!(status, CUDA_ERROR_INVALID_PTX);
    assert!(failure.contains('6') && failure.contains("frobnicate"), "the line and the instruction: {failure}");
    let status = code(context.load_module(Ptx::from_binary(b"\x7fELF\x02\x01\x01\x00".to_vec())));
    assert_eq!(status, CUDA_ERROR_NO_BINARY_FOR_GPU);
    let module = module(&context, "launch");
    assert_eq!(code(module.load_function("nowhere")), CUDA_ERROR_NOT_FOUND);
    assert!(emulator.last_failure().unwrap().contains("turn_around"), "the failure lists what there is");
}
