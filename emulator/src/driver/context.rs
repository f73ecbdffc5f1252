//! Contexts: a device's memory, its settings, and what became of the work done in it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use super::guard::{exports, put, put_if_wanted};
use super::handle::{Handle, Table, fresh, lock};
use super::history::History;
use super::status::{Failure, Outcome, Status};
use super::stream::{LEGACY, Stream};
use super::{device, event, graph, module};
use crate::device::DeviceSpec;
use crate::memory::Memory;
use crate::options::Options;

/// A context. Memory, modules, streams and faults of one are no business of another's.
pub struct Context {
    /// What programs know it by.
    pub handle: Handle,
    /// The device, as it was when the context was made.
    pub device: DeviceSpec,
    /// Device memory.
    pub memory: Memory,
    /// Seed, checks, threads.
    pub options: Mutex<Options>,
    /// Counters, reports and recordings of its launches.
    pub history: History,
    /// Held while a kernel runs: threads that launch at once take turns, as on one stream.
    pub launching: Mutex<()>,
    /// The stream that is meant where none is named.
    pub legacy: Arc<Stream>,
    per_thread: Mutex<HashMap<ThreadId, Arc<Stream>>>,
    fault: Mutex<Option<Failure>>,
    flags: AtomicU32,
    cache: AtomicU32,
    limits: Mutex<HashMap<c_int, usize>>,
}

static CONTEXTS: Table<Context> = Table::new("context");
static PRIMARY: Mutex<Primary> = Mutex::new(Primary { context: None, retained: 0, flags: 0 });

struct Primary {
    context: Option<Arc<Context>>,
    retained: usize,
    flags: c_uint,
}

thread_local! {
    static CURRENT: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

impl Context {
    fn make(flags: c_uint) -> Arc<Self> {
        let options = super::extension::default_options();
        let handle = fresh();
        let context = Arc::new(Self {
            handle,
            memory: Memory::new(options.device.memory_bytes),
            device: options.device.clone(),
            options: Mutex::new(options),
            history: History::default(),
            launching: Mutex::new(()),
            legacy: Arc::new(Stream::default_of(handle)),
            per_thread: Mutex::default(),
            fault: Mutex::new(None),
            flags: AtomicU32::new(flags),
            cache: AtomicU32::new(0),
            limits: Mutex::new(HashMap::from([(0, 1024), (1, 1 << 20), (2, 8 << 20), (5, 128), (6, 0)])),
        });
        CONTEXTS.insert(handle, context.clone());
        context
    }

    fn end(&self) {
        module::end_all_of(self.handle);
        super::stream::end_all_of(self.handle);
        event::end_all_of(self.handle);
        graph::end_all_of(self.handle);
        // Frees what the program left behind even where an object of it is still held somewhere.
        for allocation in self.memory.allocations() {
            let _ = self.memory.free(allocation.addr);
        }
    }

    /// This thread's own default stream.
    pub fn per_thread_stream(&self) -> Arc<Stream> {
        let thread = std::thread::current().id();
        lock(&self.per_thread).entry(thread).or_insert_with(|| Arc::new(Stream::default_of(self.handle))).clone()
    }

    /// A fault corrupts the context: every later call fails with it, as on hardware.
    pub fn corrupt(&self, failure: &Failure) {
        lock(&self.fault).get_or_insert_with(|| failure.clone());
    }

    /// Fails where an earlier launch faulted.
    pub fn check(&self) -> Outcome {
        match &*lock(&self.fault) {
            None => Ok(()),
            Some(first) => Err(first.status.because(format!("the context's first fault, still: {}", first.reason))),
        }
    }
}

/// The context of a handle.
pub fn find(handle: Handle) -> Outcome<Arc<Context>> {
    CONTEXTS.get(handle).map_err(|failure| Status::InvalidContext.because(failure.reason))
}

/// The calling thread's context, whatever its state.
pub fn current_unchecked() -> Outcome<Arc<Context>> {
    device::initialised()?;
    let handle = CURRENT.with_borrow(|stack| stack.last().copied()).unwrap_or(0);
    if handle == 0 {
        return Err(Status::InvalidContext.because("no context is current to this thread"));
    }
    CONTEXTS.get(handle).map_err(|_| Status::ContextIsDestroyed.because("the current context was destroyed"))
}

/// The calling thread's context, if no fault has corrupted it.
pub fn current() -> Outcome<Arc<Context>> {
    let context = current_unchecked()?;
    context.check()?;
    Ok(context)
}

fn set_current(handle: Handle) {
    CURRENT.with_borrow_mut(|stack| {
        stack.pop();
        if handle != 0 {
            stack.push(handle);
        }
    });
}

unsafe fn create(place: *mut Handle, flags: c_uint, ordinal: c_int) -> Outcome {
    device::check(ordinal)?;
    let context = Context::make(flags);
    CURRENT.with_borrow_mut(|stack| stack.push(context.handle));
    // SAFETY: the C caller's promise.
    unsafe { put(place, context.handle) }
}

fn destroy(context: &Context) -> Outcome {
    CONTEXTS.remove(context.handle)?;
    context.end();
    CURRENT.with_borrow_mut(|stack| stack.retain(|&handle| handle != context.handle));
    Ok(())
}

fn release_primary(primary: &mut Primary) -> Outcome {
    primary.retained = 0;
    match primary.context.take() {
        Some(context) => destroy(&context),
        None => Ok(()),
    }
}

exports! {
    fn cuCtxCreate_v2(place: *mut Handle, flags: c_uint, ordinal: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { create(place, flags, ordinal) }
    }

    fn cuCtxCreate_v3(place: *mut Handle, _affinity: *mut c_void, _count: c_int, flags: c_uint, ordinal: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { create(place, flags, ordinal) }
    }

    fn cuCtxCreate_v4(place: *mut Handle, _parameters: *mut c_void, flags: c_uint, ordinal: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { create(place, flags, ordinal) }
    }

    fn cuCtxDestroy_v2(handle: Handle) {
        let context = find(handle)?;
        if lock(&PRIMARY).context.as_ref().is_some_and(|primary| primary.handle == handle) {
            return Err(Status::InvalidContext.because("the primary context is released, not destroyed"));
        }
        destroy(&context)
    }

    fn cuCtxGetCurrent(place: *mut Handle) {
        device::initialised()?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, CURRENT.with_borrow(|stack| stack.last().copied()).unwrap_or(0)) }
    }

    fn cuCtxSetCurrent(handle: Handle) {
        device::initialised()?;
        if handle != 0 {
            find(handle)?;
        }
        set_current(handle);
        Ok(())
    }

    fn cuCtxPushCurrent_v2(handle: Handle) {
        find(handle)?;
        CURRENT.with_borrow_mut(|stack| stack.push(handle));
        Ok(())
    }

    fn cuCtxPopCurrent_v2(place: *mut Handle) {
        let handle = CURRENT.with_borrow_mut(Vec::pop).ok_or(Status::InvalidContext)?;
        // SAFETY: the C caller's promise.
        unsafe { put_if_wanted(place, handle) };
        Ok(())
    }

    fn cuCtxGetDevice(place: *mut c_int) {
        current_unchecked()?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, 0) }
    }

    fn cuCtxGetId(handle: Handle, place: *mut u64) {
        let context = if handle == 0 { current()? } else { find(handle)? };
        // SAFETY: the C caller's promise.
        unsafe { put(place, context.handle as u64) }
    }

    fn cuCtxGetApiVersion(handle: Handle, place: *mut c_uint) {
        if handle != 0 {
            find(handle)?;
        }
        // SAFETY: the C caller's promise.
        unsafe { put(place, 3020) }
    }

    fn cuCtxSynchronize() {
        // Work is done when it is submitted: there is nothing to wait for, but a fault to tell of.
        let context = current()?;
        super::capture::forbid_unsafe_call(&context, "cuCtxSynchronize")
    }

    fn cuCtxGetFlags(place: *mut c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, current()?.flags.load(Ordering::Relaxed)) }
    }

    fn cuCtxSetFlags(flags: c_uint) {
        current()?.flags.store(flags, Ordering::Relaxed);
        Ok(())
    }

    fn cuCtxGetLimit(place: *mut usize, limit: c_int) {
        let context = current()?;
        let value = lock(&context.limits).get(&limit).copied().ok_or(Status::UnsupportedLimit)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, value) }
    }

    fn cuCtxSetLimit(limit: c_int, value: usize) {
        let context = current()?;
        *lock(&context.limits).get_mut(&limit).ok_or(Status::UnsupportedLimit)? = value;
        Ok(())
    }

    fn cuCtxGetCacheConfig(place: *mut c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, current()?.cache.load(Ordering::Relaxed)) }
    }

    fn cuCtxSetCacheConfig(preference: c_uint) {
        current()?.cache.store(preference, Ordering::Relaxed);
        Ok(())
    }

    fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) {
        current()?;
        // SAFETY: the C caller's promise.
        unsafe {
            put_if_wanted(least, 0);
            put_if_wanted(greatest, super::stream::HIGHEST_PRIORITY);
        }
        Ok(())
    }

    fn cuDevicePrimaryCtxRetain(place: *mut Handle, ordinal: c_int) {
        device::check(ordinal)?;
        let mut primary = lock(&PRIMARY);
        let flags = primary.flags;
        let handle = primary.context.get_or_insert_with(|| Context::make(flags)).handle;
        primary.retained += 1;
        // SAFETY: the C caller's promise.
        unsafe { put(place, handle) }
    }

    fn cuDevicePrimaryCtxRelease_v2(ordinal: c_int) {
        device::check(ordinal)?;
        let mut primary = lock(&PRIMARY);
        match primary.retained {
            0 => Err(Status::InvalidContext.because("released more often than retained")),
            1 => release_primary(&mut primary),
            _ => {
                primary.retained -= 1;
                Ok(())
            }
        }
    }

    fn cuDevicePrimaryCtxReset_v2(ordinal: c_int) {
        device::check(ordinal)?;
        release_primary(&mut lock(&PRIMARY))
    }

    fn cuDevicePrimaryCtxSetFlags_v2(ordinal: c_int, flags: c_uint) {
        device::check(ordinal)?;
        lock(&PRIMARY).flags = flags;
        Ok(())
    }

    fn cuDevicePrimaryCtxGetState(ordinal: c_int, flags: *mut c_uint, active: *mut c_int) {
        device::check(ordinal)?;
        let primary = lock(&PRIMARY);
        // SAFETY: the C caller's promise.
        unsafe {
            put_if_wanted(flags, primary.flags);
            put_if_wanted(active, c_int::from(primary.context.is_some()));
        }
        Ok(())
    }
}

/// The stream of a handle, which may be one of the two that need not be made.
pub fn stream(handle: Handle) -> Outcome<(Arc<Context>, Arc<Stream>)> {
    let context = current()?;
    let stream = match handle {
        0 | LEGACY => context.legacy.clone(),
        super::stream::PER_THREAD => context.per_thread_stream(),
        _ => super::stream::find(handle)?,
    };
    if stream.context != context.handle {
        return Err(Status::InvalidHandle.because("the stream belongs to another context"));
    }
    Ok((context, stream))
}
