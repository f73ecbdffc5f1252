//! Stream capture: work submitted to a capturing stream becomes nodes of a graph, with the order that streams and
//! events gave it.

use std::cell::Cell;
use std::ffi::c_uint;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use super::context::Context;
use super::graph::{Graph, Node};
use super::handle::{Handle, lock};
use super::operation::Operation;
use super::status::{Failure, Outcome, Status};
use super::stream::Stream;

/// What a capture forbids other calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// No thread may make a call that could break it.
    Global = 0,
    /// Its own thread may not.
    ThreadLocal = 1,
    /// Anything goes.
    Relaxed = 2,
}

impl Mode {
    /// The mode of `CUstreamCaptureMode`.
    pub fn from_code(code: c_uint) -> Outcome<Self> {
        match code {
            0 => Ok(Self::Global),
            1 => Ok(Self::ThreadLocal),
            2 => Ok(Self::Relaxed),
            _ => Err(Status::InvalidValue.because(format!("no capture mode has the number {code}"))),
        }
    }
}

/// A capture under way.
pub struct Capture {
    id: u64,
    context: Handle,
    origin: Arc<Stream>,
    mode: Mode,
    thread: ThreadId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    memory: Vec<u64>,
    joined: Vec<Arc<Stream>>,
    invalid: Option<Failure>,
    ended: bool,
}

/// A stream's part in a capture: its next node follows these.
pub struct Membership {
    /// The capture.
    pub capture: Arc<Capture>,
    /// The nodes that its next one depends on.
    pub frontier: Vec<usize>,
}

static UNDER_WAY: Mutex<Vec<Arc<Capture>>> = Mutex::new(Vec::new());
static IDS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static THREAD_MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
}

impl Capture {
    /// Makes the capture fail at its end, and hands the failure back for the call that caused it.
    pub fn invalidate(&self, failure: Failure) -> Failure {
        lock(&self.state).invalid.get_or_insert_with(|| failure.clone());
        failure
    }

    /// Whether its graph has been made, or given up.
    pub fn has_ended(&self) -> bool {
        lock(&self.state).ended
    }

    fn check(&self) -> Outcome {
        match &lock(&self.state).invalid {
            None => Ok(()),
            Some(first) => Err(Status::CaptureInvalidated.because(first.to_string())),
        }
    }
}

impl Membership {
    /// Adds a node after the frontier.
    pub fn append(&mut self, operation: Operation) -> Outcome {
        self.capture.check()?;
        let mut state = lock(&self.capture.state);
        state.nodes.push(Node { operation, after: std::mem::take(&mut self.frontier) });
        self.frontier.push(state.nodes.len() - 1);
        Ok(())
    }

    /// Notes memory that the graph allocates.
    pub fn own(&self, address: u64) {
        lock(&self.capture.state).memory.push(address);
    }

    /// Whether memory is the graph's.
    pub fn owns(&self, address: u64) -> bool {
        lock(&self.capture.state).memory.contains(&address)
    }

    /// Makes the next node follow these too.
    pub fn follow(&mut self, nodes: &[usize]) {
        for &node in nodes {
            if !self.frontier.contains(&node) {
                self.frontier.push(node);
            }
        }
    }
}

/// A stream that waits for a captured event takes part in its capture from then on.
pub fn join(stream: &Arc<Stream>, capture: &Arc<Capture>, nodes: &[usize]) -> Outcome {
    let mut membership = lock(&stream.capture);
    match membership.as_mut() {
        Some(own) if Arc::ptr_eq(&own.capture, capture) => own.follow(nodes),
        Some(own) => {
            let failure = Status::CaptureMerge.because("the event was captured in another sequence");
            return Err(own.capture.invalidate(failure));
        }
        None if capture.has_ended() => {
            return Err(Status::CapturedEvent.because("the event's capture has ended: record it again"));
        }
        None => {
            lock(&capture.state).joined.push(stream.clone());
            *membership = Some(Membership { capture: capture.clone(), frontier: nodes.to_vec() });
        }
    }
    Ok(())
}

/// Begins a capture.
pub fn begin(context: &Context, stream: &Arc<Stream>, mode: Mode) -> Outcome {
    if stream.handle == context.legacy.handle {
        return Err(
            Status::CaptureUnsupported.because("the legacy stream cannot be captured: make one with cuStreamCreate")
        );
    }
    let mut membership = lock(&stream.capture);
    if membership.is_some() {
        return Err(Status::IllegalState.because("the stream is being captured already"));
    }
    let capture = Arc::new(Capture {
        id: IDS.fetch_add(1, Ordering::Relaxed),
        context: context.handle,
        origin: stream.clone(),
        mode,
        thread: std::thread::current().id(),
        state: Mutex::default(),
    });
    lock(&UNDER_WAY).push(capture.clone());
    *membership = Some(Membership { capture, frontier: Vec::new() });
    Ok(())
}

/// Ends a capture with its graph, if nothing broke it and every stream that joined has been joined back.
pub fn end(context: &Context, stream: &Arc<Stream>) -> Outcome<Graph> {
    let (capture, frontier) = {
        let mut membership = lock(&stream.capture);
        let Some(own) = membership.as_ref() else {
            return Err(Status::IllegalState.because("the stream is not being captured"));
        };
        if own.capture.origin.handle != stream.handle {
            return Err(Status::CaptureUnmatched.because("the capture began on another stream"));
        }
        if own.capture.mode != Mode::Relaxed && own.capture.thread != std::thread::current().id() {
            return Err(Status::CaptureWrongThread.because("the capture began on another thread"));
        }
        let own = membership.take().expect("it was there a line ago");
        (own.capture, own.frontier)
    };
    lock(&UNDER_WAY).retain(|other| other.id != capture.id);
    let state = {
        let mut state = lock(&capture.state);
        state.ended = true;
        std::mem::replace(&mut *state, State { ended: true, ..State::default() })
    };
    for joined in &state.joined {
        lock(&joined.capture).take_if(|other| other.capture.id == capture.id);
    }
    let outcome = match &state.invalid {
        Some(first) => Err(Status::CaptureInvalidated.because(first.to_string())),
        None => unjoined(&state.nodes, &frontier),
    };
    let graph = Graph::new(context, state.nodes, state.memory);
    outcome.map(|()| graph)
}

fn unjoined(nodes: &[Node], frontier: &[usize]) -> Outcome {
    let followed = |index: usize| nodes.iter().any(|node| node.after.contains(&index));
    match (0..nodes.len()).find(|&index| !followed(index) && !frontier.contains(&index)) {
        None => Ok(()),
        Some(index) => Err(Status::CaptureUnjoined.because(format!(
            "node {index} ({}) of another stream: wait for that stream's event before the end",
            nodes[index].operation.name()
        ))),
    }
}

/// `CUstreamCaptureStatus` of a stream, and the capture's number.
pub fn status(stream: &Stream) -> (c_uint, u64) {
    match lock(&stream.capture).as_ref() {
        None => (0, 0),
        Some(own) if own.capture.check().is_ok() => (1, own.capture.id),
        Some(own) => (2, own.capture.id),
    }
}

/// What the legacy stream is given may not run while a stream that it waits for is being captured.
pub fn forbid_legacy(context: &Context) -> Outcome {
    let captures = lock(&UNDER_WAY).clone();
    let waits = |capture: &&Arc<Capture>| capture.context == context.handle && capture.origin.blocks();
    match captures.iter().find(waits) {
        None => Ok(()),
        Some(capture) => Err(capture.invalidate(Status::CaptureImplicit.because(
            "work for the legacy stream while a blocking stream is being captured: make it CU_STREAM_NON_BLOCKING",
        ))),
    }
}

/// Calls that wait for the device, or allocate outside of stream order, may not be made while a capture forbids them.
pub fn forbid_unsafe_call(context: &Context, call: &str) -> Outcome {
    let thread = std::thread::current().id();
    let captures = lock(&UNDER_WAY).clone();
    let forbids = |capture: &&Arc<Capture>| {
        let own = capture.thread == thread;
        capture.context == context.handle
            && match (THREAD_MODE.get(), capture.mode) {
                (Mode::Relaxed, _) | (_, Mode::Relaxed) => false,
                (Mode::ThreadLocal, _) | (_, Mode::ThreadLocal) => own,
                (Mode::Global, Mode::Global) => true,
            }
    };
    match captures.iter().find(forbids) {
        None => Ok(()),
        Some(capture) => {
            let failure = Status::CaptureUnsupported.because(format!("{call} while a stream is being captured"));
            Err(capture.invalidate(failure))
        }
    }
}

/// Sets the thread's own mode and gives the one before.
pub fn exchange_thread_mode(mode: Mode) -> Mode {
    THREAD_MODE.replace(mode)
}
