//! The one stream of a machine, in which everything happens in order, and what went wrong in it first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Result, anyhow};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use super::probe::{Device, Failed};
use super::staging::Staging;

/// Whose context a machine works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// The process's, as other libraries do.
    Shared,
    /// One of its own, which no other machine's fault corrupts.
    Own,
}

/// A stream, and the first failure in it since somebody asked.
pub(super) struct Queue {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
    staging: Mutex<Staging>,
}

impl Queue {
    pub(super) fn open(device: &Device, sharing: Sharing) -> Result<Self> {
        let open = || {
            let context = match sharing {
                Sharing::Shared => CudaContext::new(device.ordinal)?,
                Sharing::Own => CudaContext::new_non_primary(device.ordinal, 0)?,
            };
            let stream = context.new_stream()?;
            keep_freed_memory(&context)?;
            Ok(Self {
                context,
                stream,
                failed: AtomicBool::new(false),
                failure: Mutex::new(None),
                staging: Mutex::new(Staging::new()),
            })
        };
        open().map_err(|error| anyhow!("cannot work on {device}: {}", Failed(error)))
    }

    /// The stream, on a thread for which the context is current.
    pub(super) fn stream(&self) -> Result<sys::CUstream, DriverError> {
        self.context.bind_to_thread()?;
        Ok(self.stream.cu_stream())
    }

    /// Waits for everything so far.
    pub(super) fn wait(&self) -> Result<(), DriverError> {
        let stream = self.stream()?;
        // SAFETY: the stream is open as long as `self`.
        unsafe { result::stream::synchronize(stream) }
    }

    /// The most memory that was in use at once since the process began, in bytes.
    pub(super) fn peak_bytes(&self) -> Result<u64, DriverError> {
        self.wait()?;
        let mut bytes = 0u64;
        let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the context's device, its pool, and a 64-bit number, which this attribute is.
        unsafe {
            let pool = result::device::get_mem_pool(self.context.cu_device())?;
            result::mem_pool::get_attribute(pool, which, (&raw mut bytes).cast())?;
        }
        Ok(bytes)
    }

    /// Copies `bytes` bytes, which `write` writes, to the device's memory at `to`, without waiting for the stream.
    ///
    /// # Safety
    /// There are as many bytes at `to`.
    pub(super) unsafe fn upload(
        &self,
        (to, bytes): (sys::CUdeviceptr, usize),
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), DriverError> {
        let mut staging = unpoisoned(&self.staging);
        let stream = self.stream()?;
        // SAFETY: the caller's; the context has just been made current.
        unsafe { staging.upload(stream, (to, bytes), write) }
    }

    /// Remembers a failure, unless there was one before: what comes after it is its consequence.
    pub(super) fn fail(&self, why: impl FnOnce() -> String) {
        let mut failure = self.failure();
        if failure.is_none() {
            *failure = Some(why());
        }
        self.failed.store(true, Ordering::Release);
    }

    /// Whether there is a failure that nobody has asked for yet.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The first failure, to one who asks; it is then forgotten.
    pub(super) fn report(&self) -> Result<()> {
        let mut failure = self.failure();
        self.failed.store(false, Ordering::Release);
        failure.take().map_or(Ok(()), |why| Err(anyhow!(why)))
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        unpoisoned(&self.failure)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the context is current. Who could be told of a failure is gone.
            let _ = unsafe { unpoisoned(&self.staging).free() };
        }
    }
}

/// What a thread that panicked has left is as good as any: nothing here is ever half done.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Memory that is freed stays with the process: the next operation wants it back.
fn keep_freed_memory(context: &CudaContext) -> Result<(), DriverError> {
    let mut threshold = u64::MAX;
    let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the context's device, its pool, and a 64-bit number, which this attribute is.
    unsafe {
        let pool = result::device::get_mem_pool(context.cu_device())?;
        result::mem_pool::set_attribute(pool, which, (&raw mut threshold).cast())
    }
}
