//! Page-locked host memory, from which large uploads go to the device without the host waiting for the stream.

use std::ffi::c_void;
use std::ptr::null_mut;

use cudarc::driver::{DriverError, result, sys};

/// Memory that is used again for every upload, once the one before has left it.
pub(super) struct Staging {
    memory: *mut c_void,
    bytes: usize,
    /// When the last upload has left; none before the first.
    left: sys::CUevent,
}

// SAFETY: memory and event are the process's and the context's, not a thread's.
unsafe impl Send for Staging {}

impl Staging {
    pub(super) fn new() -> Self {
        Self { memory: null_mut(), bytes: 0, left: null_mut() }
    }

    /// Copies `bytes` bytes, which `write` writes, to the device's memory at `to`.
    ///
    /// # Safety
    /// There are as many bytes at `to`, and the context of `stream` is current.
    pub(super) unsafe fn upload(
        &mut self,
        stream: sys::CUstream,
        (to, bytes): (sys::CUdeviceptr, usize),
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), DriverError> {
        // SAFETY: the event is ours, and the context is current, as the caller warrants.
        unsafe { self.make_room(bytes) }?;
        // SAFETY: as long as that, nothing else refers to it, and what is not initialised is zero (below).
        let host = unsafe { std::slice::from_raw_parts_mut(self.memory.cast::<u8>(), bytes) };
        write(host);
        // SAFETY: the memory stays until the event has come, which every later use waits for.
        unsafe {
            result::memcpy_htod_async(to, host, stream)?;
            result::event::record(self.left, stream)
        }
    }

    /// Waits for the last upload, and sees to it that there are `bytes` bytes.
    ///
    /// # Safety
    /// The context is current.
    unsafe fn make_room(&mut self, bytes: usize) -> Result<(), DriverError> {
        // SAFETY: the event is created once and waited for before the memory is freed; the memory is freed once, and
        // new memory is written before it is a slice.
        unsafe {
            if self.left.is_null() {
                self.left = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
            } else {
                result::event::synchronize(self.left)?;
            }
            if bytes > self.bytes {
                let old = std::mem::replace(&mut self.memory, null_mut());
                self.bytes = 0;
                if !old.is_null() {
                    result::free_host(old)?;
                }
                let room = bytes.next_power_of_two();
                self.memory = result::malloc_host(room, 0)?;
                self.memory.cast::<u8>().write_bytes(0, room);
                self.bytes = room;
            }
        }
        Ok(())
    }

    /// Gives everything back, after the last upload.
    ///
    /// # Safety
    /// The context is current.
    pub(super) unsafe fn free(&mut self) -> Result<(), DriverError> {
        let Self { memory, left, .. } = std::mem::replace(self, Self::new());
        // SAFETY: both are ours, and freed once.
        unsafe {
            if !left.is_null() {
                result::event::synchronize(left)?;
                result::event::destroy(left)?;
            }
            if !memory.is_null() {
                result::free_host(memory)?;
            }
        }
        Ok(())
    }
}
