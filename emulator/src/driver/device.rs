//! Devices: there is one, and it is what the settings say.

use std::ffi::{c_char, c_int, c_uint};
use std::sync::atomic::{AtomicBool, Ordering};

use super::extension::default_options;
use super::guard::{exports, put};
use super::status::{Outcome, Status};
use crate::device::{BLOCK_LIMIT, DeviceSpec, GRID_LIMIT, SHARED_PER_BLOCK, SHARED_RESERVED, THREADS_PER_BLOCK, WARP};

/// The driver's version: that of CUDA 13.0.
pub const VERSION: c_int = 13_000;

// What tells one device from another; says plainly that no hardware is behind it.
const UUID: [u8; 16] = *b"glimmer-emulator";

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Fails before `cuInit`.
pub fn initialised() -> Outcome {
    if INITIALISED.load(Ordering::Acquire) { Ok(()) } else { Err(Status::NotInitialized.into()) }
}

/// Fails for every ordinal but that of the one device.
pub fn check(ordinal: c_int) -> Outcome {
    initialised()?;
    if ordinal == 0 { Ok(()) } else { Err(Status::InvalidDevice.because(format!("there is no device {ordinal}"))) }
}

/// The value of a device attribute, by its number in `cuda.h`.
fn attribute(device: &DeviceSpec, number: c_int) -> Outcome<i64> {
    Ok(match number {
        1 => THREADS_PER_BLOCK.into(),
        2..=4 => BLOCK_LIMIT[number as usize - 2].into(),
        5..=7 => GRID_LIMIT[number as usize - 5].into(),
        8 => SHARED_PER_BLOCK.into(),
        9 => 65_536,
        10 => WARP.into(),
        11 => i32::MAX.into(),
        12 | 82 => device.registers_per_multiprocessor.into(),
        13 => (device.clock_hz / 1000) as i64,
        14 => 512,
        16 => device.multiprocessors.into(),
        30 => 512,
        36 => 1_593_000,
        // Two transfers a clock: the width that gives the bandwidth at that clock.
        37 => ((device.memory_bytes_per_second * 8) as f64 / (2.0 * 1.593e9)) as i64,
        38 => device.l2_bytes as i64,
        39 => device.threads_per_multiprocessor.into(),
        40 => 3,
        51 => 32,
        75 => device.compute[0].into(),
        76 => device.compute[1].into(),
        81 => device.shared_per_multiprocessor.into(),
        87 => 2,
        97 => device.shared_per_block_optin.into(),
        106 => device.blocks_per_multiprocessor.into(),
        111 => SHARED_RESERVED.into(),
        // Concurrent copies, concurrent kernels, unified addresses, stream priorities, caches of global and local
        // memory, cooperative launches and memory pools: there.
        15 | 31 | 41 | 78 | 79 | 80 | 95 | 115 => 1,
        // Textures, surfaces, mapped and managed memory, peers, virtual memory, clusters and the rest: not there.
        0..=150 => 0,
        _ => return Err(Status::InvalidValue.because(format!("no device attribute has the number {number}"))),
    })
}

unsafe fn put_uuid(place: *mut [u8; 16], ordinal: c_int) -> Outcome {
    check(ordinal)?;
    // SAFETY: the C caller's promise.
    unsafe { put(place, UUID) }
}

/// Copies a string and its final zero, cut to what fits.
///
/// # Safety
/// `place` is valid for `room` bytes.
unsafe fn put_text(place: *mut c_char, room: c_int, text: &str) -> Outcome {
    let room = usize::try_from(room).unwrap_or(0);
    if place.is_null() || room == 0 {
        return Err(Status::InvalidValue.because("no room for the name"));
    }
    let bytes = &text.as_bytes()[..text.len().min(room - 1)];
    // SAFETY: `bytes` and the zero are at most `room` long.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast::<u8>(), bytes.len());
        place.add(bytes.len()).write(0);
    }
    Ok(())
}

exports! {
    fn cuInit(flags: c_uint) {
        if flags != 0 {
            return Err(Status::InvalidValue.because("the flags must be zero"));
        }
        INITIALISED.store(true, Ordering::Release);
        Ok(())
    }

    fn cuDriverGetVersion(place: *mut c_int) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, VERSION) }
    }

    fn cuDeviceGetCount(place: *mut c_int) {
        initialised()?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, 1) }
    }

    fn cuDeviceGet(place: *mut c_int, ordinal: c_int) {
        check(ordinal)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, ordinal) }
    }

    fn cuDeviceGetName(place: *mut c_char, room: c_int, ordinal: c_int) {
        check(ordinal)?;
        // SAFETY: the C caller's promise.
        unsafe { put_text(place, room, &default_options().device.name) }
    }

    fn cuDeviceGetUuid(place: *mut [u8; 16], ordinal: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { put_uuid(place, ordinal) }
    }

    fn cuDeviceGetUuid_v2(place: *mut [u8; 16], ordinal: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { put_uuid(place, ordinal) }
    }

    fn cuDeviceGetPCIBusId(place: *mut c_char, room: c_int, ordinal: c_int) {
        check(ordinal)?;
        // SAFETY: the C caller's promise.
        unsafe { put_text(place, room, "0000:00:00.0") }
    }

    fn cuDeviceTotalMem_v2(place: *mut usize, ordinal: c_int) {
        check(ordinal)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, default_options().device.memory_bytes as usize) }
    }

    fn cuDeviceGetAttribute(place: *mut c_int, number: c_int, ordinal: c_int) {
        check(ordinal)?;
        let value = attribute(&default_options().device, number)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, i32::try_from(value).unwrap_or(i32::MAX)) }
    }

    fn cuDeviceComputeCapability(major: *mut c_int, minor: *mut c_int, ordinal: c_int) {
        check(ordinal)?;
        let [high, low] = default_options().device.compute;
        // SAFETY: the C caller's promise.
        unsafe {
            put(major, high as c_int)?;
            put(minor, low as c_int)
        }
    }

    fn cuDeviceCanAccessPeer(place: *mut c_int, ordinal: c_int, peer: c_int) {
        check(ordinal)?;
        check(peer)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, 0) }
    }
}
