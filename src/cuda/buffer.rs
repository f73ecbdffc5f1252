//! Device memory, allocated and freed in the stream's order.

use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::{DriverError, result, sys};

use super::probe::Failed;
use super::queue::Queue;

/// An allocation. Freed in the stream's order: what was launched before may still use it.
struct Memory {
    queue: Arc<Queue>,
    /// 0 where nothing was asked for, or nothing was left.
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.address != 0 {
            // SAFETY: allocated by this queue, and freed once.
            unsafe { self.queue.free(self.address, self.bytes) };
        }
    }
}

/// How many rows a matrix has, where the device alone knows: a number in its memory.
#[derive(Clone)]
pub(super) struct Live {
    memory: Arc<Memory>,
    /// Place of the number, in 32-bit words.
    place: usize,
    /// Elements of a row.
    width: usize,
}

impl Live {
    /// As many rows, of another width.
    pub(super) fn of_width(&self, width: usize) -> Self {
        Self { width, ..self.clone() }
    }

    pub(super) fn address(&self) -> sys::CUdeviceptr {
        self.memory.address + (self.place * size_of::<u32>()) as sys::CUdeviceptr
    }

    /// The number of rows, after everything before it.
    fn rows(&self) -> Result<usize, DriverError> {
        let mut rows = [0u32];
        copy_to_host(&self.memory.queue, self.address(), &mut rows)?;
        Ok(rows[0] as usize)
    }
}

/// A run of values in the device's memory.
pub struct Buffer<T> {
    memory: Arc<Memory>,
    len: usize,
    live: Option<Live>,
    holds: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// `len` values that nobody has written. A failure is the queue's to report.
    pub(super) fn uninitialised(queue: &Arc<Queue>, len: usize) -> Self {
        let bytes = len * size_of::<T>();
        let address = if queue.has_failed() || bytes == 0 { 0 } else { queue.allocate(bytes) };
        Self { memory: Arc::new(Memory { queue: queue.clone(), address, bytes }), len, live: None, holds: PhantomData }
    }

    /// These values.
    pub(super) fn from_host(queue: &Arc<Queue>, host: &[T]) -> Self {
        let buffer = Self::uninitialised(queue, host.len());
        if host.is_empty() || queue.has_failed() {
            return buffer;
        }
        // SAFETY: into an allocation of this length. The driver has its own copy of pageable memory when it returns; of
        // up to 64 KiB it makes one without waiting for the stream.
        let copy = |stream| unsafe { result::memcpy_htod_async(buffer.address(), host, stream) };
        let copied = queue.stream().and_then(copy);
        buffer.uploaded(copied)
    }

    /// The values that `write` writes over whatever is there, without waiting for the stream, however many they are.
    pub(super) fn staged(queue: &Arc<Queue>, len: usize, write: impl FnOnce(&mut [T])) -> Self {
        let buffer = Self::uninitialised(queue, len);
        if len == 0 || queue.has_failed() {
            return buffer;
        }
        let bytes = len * size_of::<T>();
        // SAFETY: the allocation is of this size.
        let copied = unsafe { queue.upload((buffer.address(), bytes), |host| write(bytemuck::cast_slice_mut(host))) };
        buffer.uploaded(copied)
    }

    fn uploaded(self, outcome: Result<(), DriverError>) -> Self {
        if let Err(error) = outcome {
            let bytes = self.len * size_of::<T>();
            self.memory.queue.fail(|| format!("cannot copy {bytes} bytes to the device: {}", Failed(error)));
        }
        self
    }

    /// Sets all of it to zeros.
    pub(super) fn clear(&mut self) {
        let bytes = self.len * size_of::<T>();
        if bytes == 0 || self.is_missing() || self.memory.queue.has_failed() {
            return;
        }
        // SAFETY: the allocation is of this size, and zeros are values of every `Pod`.
        let clear = |stream| unsafe { result::memset_d8_async(self.address(), 0, bytes, stream) };
        if let Err(error) = self.memory.queue.stream().and_then(clear) {
            self.memory.queue.fail(|| format!("cannot clear {bytes} bytes of device memory: {}", Failed(error)));
        }
    }

    /// Makes it what `other` is, of the same length.
    pub(super) fn copy_from(&mut self, other: &Self) {
        assert_eq!(self.len, other.len, "a copy of another length");
        let bytes = self.len * size_of::<T>();
        if bytes == 0 || self.is_missing() || other.is_missing() || self.memory.queue.has_failed() {
            return;
        }
        // SAFETY: both allocations are of this size.
        let copy = |stream| unsafe { result::memcpy_dtod_async(self.address(), other.address(), bytes, stream) };
        if let Err(error) = self.memory.queue.stream().and_then(copy) {
            self.memory.queue.fail(|| format!("cannot copy {bytes} bytes on the device: {}", Failed(error)));
        }
    }

    /// The values that are there, after all work before, to the place of what `host` held.
    pub(super) fn to_host(&self, host: &mut Vec<T>) -> Result<(), DriverError> {
        let len = match &self.live {
            None => self.len,
            Some(live) => live.rows()? * live.width,
        };
        assert!(len <= self.len, "{len} values in a buffer of {}", self.len);
        host.clear();
        host.resize(len, T::zeroed());
        if len > 0 {
            copy_to_host(&self.memory.queue, self.memory.address, host)?;
        }
        Ok(())
    }
}

impl<T> Buffer<T> {
    /// Values, at most.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn address(&self) -> sys::CUdeviceptr {
        self.memory.address
    }

    /// Whether values were asked for that could not be had.
    pub(super) fn is_missing(&self) -> bool {
        self.len > 0 && self.memory.address == 0
    }

    /// What says how much of this buffer is there; none where all of it is.
    pub(super) fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// This buffer, of which as many rows are there as `live` says.
    pub(super) fn with_live(mut self, live: Option<Live>) -> Self {
        self.set_live(live);
        self
    }

    /// From here on, as many rows of this buffer are there as `live` says.
    pub(super) fn set_live(&mut self, live: Option<Live>) {
        self.live = live;
    }
}

impl Buffer<u32> {
    /// The number at `place`, as a number of rows of `width` elements each.
    pub(super) fn count_at(&self, place: usize, width: usize) -> Live {
        assert!(place < self.len, "element {place} of {}", self.len);
        Live { memory: self.memory.clone(), place, width }
    }
}

fn copy_to_host<T>(queue: &Queue, from: sys::CUdeviceptr, host: &mut [T]) -> Result<(), DriverError> {
    let stream = queue.stream()?;
    // SAFETY: the callers' allocations hold as much, and `host` is borrowed until the copy is done.
    unsafe { result::memcpy_dtoh_async(host, from, stream) }?;
    queue.wait()
}
