//! The one stream of a machine, in which everything happens in order, and what went wrong in it first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, ThreadId};

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
    /// To record in: nothing ever runs there.
    recorder: Arc<CudaStream>,
    workspace: Mutex<Option<Workspace>>,
}

/// What a thread that repeats a step works with. A graph has addresses in it, so that memory has to stay where it is:
/// what the thread frees is kept, and taken before any other. The second step then finds whatever the first took, and,
/// being recorded, allocates nothing. From then on the memory is the graph's.
struct Workspace {
    owner: ThreadId,
    /// By size in bytes.
    freed: HashMap<usize, Vec<sys::CUdeviceptr>>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Launched,
    Recorded,
    Replayed,
}

impl Workspace {
    fn take(&mut self, bytes: usize) -> Option<sys::CUdeviceptr> {
        self.freed.get_mut(&bytes)?.pop()
    }
}

impl Queue {
    pub(super) fn open(device: &Device, sharing: Sharing) -> Result<Self> {
        let open = || {
            let context = match sharing {
                Sharing::Shared => CudaContext::new(device.ordinal)?,
                Sharing::Own => CudaContext::new_non_primary(device.ordinal, 0)?,
            };
            let (stream, recorder) = (context.new_stream()?, context.new_stream()?);
            keep_freed_memory(&context)?;
            Ok(Self {
                context,
                stream,
                failed: AtomicBool::new(false),
                failure: Mutex::new(None),
                staging: Mutex::new(Staging::new()),
                recorder,
                workspace: Mutex::new(None),
            })
        };
        open().map_err(|error| anyhow!("cannot work on {device}: {}", Failed(error)))
    }

    /// The stream, on a thread for which the context is current; to a thread that records, that in which it does.
    pub(super) fn stream(&self) -> Result<sys::CUstream, DriverError> {
        self.context.bind_to_thread()?;
        let is_recorded = self.with_workspace(|workspace| workspace.phase) == Some(Phase::Recorded);
        Ok(if is_recorded { &self.recorder } else { &self.stream }.cu_stream())
    }

    /// Memory of some bytes, at least one; 0 is a failure.
    pub(super) fn allocate(&self, bytes: usize) -> sys::CUdeviceptr {
        let take = |workspace: &mut Workspace| match workspace.phase {
            Phase::Replayed => None,
            // None would be an allocation that the graph makes.
            Phase::Recorded => Some(workspace.take(bytes).unwrap_or(0)),
            Phase::Launched => workspace.take(bytes),
        };
        match self.with_workspace(take).flatten() {
            None => self.allocate_fresh(bytes),
            Some(0) => {
                self.fail(|| format!("a step that is recorded takes {bytes} bytes more than the one before it"));
                0
            }
            Some(kept) => kept,
        }
    }

    fn allocate_fresh(&self, bytes: usize) -> sys::CUdeviceptr {
        // SAFETY: written before it is read, as every operation does with what it returns.
        let allocate = |stream| unsafe { result::malloc_async(stream, bytes) };
        self.stream().and_then(allocate).unwrap_or_else(|error| {
            self.fail(|| format!("cannot allocate {bytes} bytes of device memory: {}", Failed(error)));
            0
        })
    }

    /// Gives memory back, in the stream's order.
    ///
    /// # Safety
    /// It was allocated here, and is given back once.
    pub(super) unsafe fn free(&self, address: sys::CUdeviceptr, bytes: usize) {
        let keep = |workspace: &mut Workspace| workspace.freed.entry(bytes).or_default().push(address);
        if self.with_workspace(keep).is_some() {
            return;
        }
        // SAFETY: the caller's.
        let free = |stream| unsafe { result::free_async(address, stream) };
        if let Err(error) = self.stream().and_then(free) {
            self.fail(|| format!("cannot free device memory: {}", Failed(error)));
        }
    }

    /// Does something with the calling thread's workspace, if it has one.
    fn with_workspace<R>(&self, act: impl FnOnce(&mut Workspace) -> R) -> Option<R> {
        let mut workspace = unpoisoned(&self.workspace);
        workspace.as_mut().filter(|workspace| workspace.owner == thread::current().id()).map(act)
    }

    /// Keeps memory where it is, for the calling thread; nothing while any thread does.
    pub(super) fn begin_repeating(&self) -> Option<Repeating<'_>> {
        let mut workspace = unpoisoned(&self.workspace);
        if workspace.is_some() {
            return None;
        }
        *workspace = Some(Workspace { owner: thread::current().id(), freed: HashMap::new(), phase: Phase::Launched });
        Some(Repeating(self))
    }

    /// A stream beside this one, on a thread for which the context is current.
    pub(super) fn another_stream(&self) -> Result<Arc<CudaStream>, DriverError> {
        self.context.bind_to_thread()?;
        self.context.new_stream()
    }

    /// Lets what is done in `other` from here on come after everything so far.
    pub(super) fn let_wait(&self, other: &CudaStream) -> Result<(), DriverError> {
        other.join(&self.stream)
    }

    /// Lets what is done from here on come after everything in `other` so far.
    pub(super) fn wait_for(&self, other: &CudaStream) -> Result<(), DriverError> {
        self.stream.join(other)
    }

    /// Whether all that was to be done in `other` is done.
    pub(super) fn is_idle(&self, other: &CudaStream) -> bool {
        // SAFETY: the stream is open as long as it is borrowed.
        self.context.bind_to_thread().is_ok() && unsafe { sys::cuStreamQuery(other.cu_stream()) }.result().is_ok()
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

/// While there is this, the calling thread repeats a step.
pub(super) struct Repeating<'a>(&'a Queue);

impl<'a> Repeating<'a> {
    pub(super) fn queue(&self) -> &'a Queue {
        self.0
    }

    /// From here on, the thread's launches are recorded in place of being done.
    pub(super) fn record(&self) -> Result<Recording<'a>, DriverError> {
        let Self(queue) = self;
        queue.context.bind_to_thread()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is open as long as the queue.
        unsafe { result::stream::begin_capture(queue.recorder.cu_stream(), mode) }?;
        queue.with_workspace(|workspace| workspace.phase = Phase::Recorded);
        Ok(Recording { queue, is_over: false })
    }
}

impl Drop for Repeating<'_> {
    fn drop(&mut self) {
        let workspace = unpoisoned(&self.0.workspace).take();
        let freed = workspace.into_iter().flat_map(|workspace| workspace.freed);
        for (bytes, addresses) in freed {
            for address in addresses {
                // SAFETY: it was kept when it was given back, and is in nobody's hands.
                unsafe { self.0.free(address, bytes) };
            }
        }
    }
}

/// While there is this, what the calling thread launches is recorded.
pub(super) struct Recording<'a> {
    queue: &'a Queue,
    is_over: bool,
}

impl Recording<'_> {
    /// What was recorded.
    pub(super) fn end(mut self) -> Result<sys::CUgraph, DriverError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<sys::CUgraph, DriverError> {
        self.is_over = true;
        self.queue.with_workspace(|workspace| workspace.phase = Phase::Replayed);
        self.queue.context.bind_to_thread()?;
        // SAFETY: it is being captured, by this thread.
        unsafe { result::stream::end_capture(self.queue.recorder.cu_stream()) }
    }
}

/// Where a step panicked.
impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Ok(graph) = self.stop() {
            // SAFETY: it has just been made. Who could be told of a failure is gone.
            let _ = unsafe { result::graph::destroy(graph) };
        }
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
