//! Streams. Work is done when it is submitted, which is one of the orders that streams allow; what remains of a
//! stream is its identity, and whether it is being captured.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::{Arc, Mutex};

use super::capture::{self, Membership};
use super::context::{self, Context};
use super::guard::{exports, put, put_if_wanted};
use super::handle::{Handle, Table, fresh, lock};
use super::operation::{HostPointer, Operation};
use super::status::{Outcome, Status};

/// `CU_STREAM_LEGACY`.
pub const LEGACY: Handle = 1;
/// `CU_STREAM_PER_THREAD`.
pub const PER_THREAD: Handle = 2;
/// Streams have priorities from 0 down to this.
pub const HIGHEST_PRIORITY: c_int = -5;

const NON_BLOCKING: c_uint = 1;

static STREAMS: Table<Stream> = Table::new("stream");

/// A stream.
pub struct Stream {
    /// What programs know it by.
    pub handle: Handle,
    /// The context whose it is.
    pub context: Handle,
    /// `CU_STREAM_NON_BLOCKING` or nothing.
    pub flags: c_uint,
    /// What the program asked for; all work is done in order all the same.
    pub priority: c_int,
    /// The capture that it takes part in.
    pub capture: Mutex<Option<Membership>>,
}

impl Stream {
    /// A default stream, which no table knows.
    pub fn default_of(context: Handle) -> Self {
        Self { handle: fresh(), context, flags: 0, priority: 0, capture: Mutex::new(None) }
    }

    /// Whether the legacy stream waits for it, and it for the legacy stream.
    pub fn blocks(&self) -> bool {
        self.flags & NON_BLOCKING == 0
    }
}

/// The stream of a handle that was made by a program.
pub fn find(handle: Handle) -> Outcome<Arc<Stream>> {
    STREAMS.get(handle)
}

/// Ends the streams of a context.
pub fn end_all_of(context: Handle) {
    STREAMS.remove_where(|stream| stream.context == context);
}

/// Does the work, or notes it where the stream is being captured.
pub fn submit(context: &Context, stream: &Arc<Stream>, operation: Operation) -> Outcome {
    if let Some(membership) = lock(&stream.capture).as_mut() {
        return membership.append(operation);
    }
    if stream.handle == context.legacy.handle {
        capture::forbid_legacy(context)?;
    }
    operation.run(context)
}

unsafe fn create(place: *mut Handle, flags: c_uint, priority: c_int) -> Outcome {
    let context = context::current()?;
    if flags & !NON_BLOCKING != 0 {
        return Err(Status::InvalidValue.because(format!("unknown stream flags {flags:#x}")));
    }
    let priority = priority.clamp(HIGHEST_PRIORITY, 0);
    let stream = Stream { handle: fresh(), context: context.handle, flags, priority, capture: Mutex::new(None) };
    // SAFETY: the C caller's promise.
    unsafe { put(place, STREAMS.insert(stream.handle, Arc::new(stream))) }
}

/// What waits for a stream must not do so while it is being captured: nothing of it has run.
fn forbid_waiting(stream: &Stream, call: &str) -> Outcome {
    match lock(&stream.capture).as_ref() {
        None => Ok(()),
        Some(membership) => {
            let failure = Status::CaptureUnsupported.because(format!("{call} on a stream that is being captured"));
            Err(membership.capture.invalidate(failure))
        }
    }
}

exports! {
    fn cuStreamCreate(place: *mut Handle, flags: c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { create(place, flags, 0) }
    }

    fn cuStreamCreateWithPriority(place: *mut Handle, flags: c_uint, priority: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { create(place, flags, priority) }
    }

    fn cuStreamDestroy_v2(handle: Handle) {
        STREAMS.remove(handle)?;
        Ok(())
    }

    fn cuStreamSynchronize(handle: Handle) {
        let (_, stream) = context::stream(handle)?;
        forbid_waiting(&stream, "cuStreamSynchronize")
    }

    fn cuStreamQuery(handle: Handle) {
        let (_, stream) = context::stream(handle)?;
        forbid_waiting(&stream, "cuStreamQuery")
    }

    fn cuStreamGetFlags(handle: Handle, place: *mut c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, context::stream(handle)?.1.flags) }
    }

    fn cuStreamGetPriority(handle: Handle, place: *mut c_int) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, context::stream(handle)?.1.priority) }
    }

    fn cuStreamGetCtx(handle: Handle, place: *mut Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, context::stream(handle)?.1.context) }
    }

    fn cuStreamWaitEvent(handle: Handle, event: Handle, _flags: c_uint) {
        let (_, stream) = context::stream(handle)?;
        super::event::wait(&stream, event)
    }

    fn cuLaunchHostFunc(handle: Handle, function: Option<unsafe extern "C" fn(*mut c_void)>, argument: *mut c_void) {
        let (context, stream) = context::stream(handle)?;
        let function = function.ok_or_else(|| Status::InvalidValue.because("the host function is null"))?;
        submit(&context, &stream, Operation::Host { function, argument: HostPointer(argument as usize) })
    }

    fn cuStreamBeginCapture_v2(handle: Handle, mode: c_uint) {
        let (context, stream) = context::stream(handle)?;
        capture::begin(&context, &stream, capture::Mode::from_code(mode)?)
    }

    fn cuStreamEndCapture(handle: Handle, place: *mut Handle) {
        let (context, stream) = context::stream(handle)?;
        let graph = capture::end(&context, &stream)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, super::graph::publish(graph)) }
    }

    fn cuStreamIsCapturing(handle: Handle, place: *mut c_uint) {
        let (_, stream) = context::stream(handle)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, capture::status(&stream).0) }
    }

    fn cuStreamGetCaptureInfo_v2(handle: Handle, status: *mut c_uint, id: *mut u64, graph: *mut Handle,
                                 dependencies: *mut *const Handle, count: *mut usize) {
        let (_, stream) = context::stream(handle)?;
        let (state, number) = capture::status(&stream);
        // SAFETY: the C caller's promise.
        unsafe {
            put(status, state)?;
            put_if_wanted(id, number);
        }
        if graph.is_null() && dependencies.is_null() && count.is_null() {
            return Ok(());
        }
        Err(Status::NotSupported.because("the graph of a capture under way is not shown"))
    }

    fn cuThreadExchangeStreamCaptureMode(place: *mut c_uint) {
        if place.is_null() {
            return Err(Status::InvalidValue.into());
        }
        // SAFETY: not null, and the C caller's promise.
        unsafe { place.write(capture::exchange_thread_mode(capture::Mode::from_code(place.read())?) as c_uint) };
        Ok(())
    }
}
