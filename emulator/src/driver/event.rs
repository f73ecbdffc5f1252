//! Events: points in a stream. As work is done when it is submitted, a recorded event has always been reached.

use std::ffi::c_uint;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::capture::{self, Capture};
use super::context;
use super::guard::{exports, put};
use super::handle::{Handle, Table, fresh, lock};
use super::status::{Outcome, Status};
use super::stream::Stream;

const DISABLE_TIMING: c_uint = 2;
const FLAGS: c_uint = 7;

static EVENTS: Table<Event> = Table::new("event");

struct Event {
    context: Handle,
    flags: c_uint,
    point: Mutex<Point>,
}

#[derive(Clone)]
enum Point {
    Nowhere,
    Reached(Instant),
    Captured(Arc<Capture>, Vec<usize>),
}

impl Event {
    /// The host may not ask for an event that stands for work not yet run.
    fn forbid_captured(&self, call: &str) -> Outcome {
        match &*lock(&self.point) {
            Point::Captured(capture, _) => {
                let failure =
                    Status::CapturedEvent.because(format!("{call} on an event recorded in a capturing stream"));
                if !capture.has_ended() {
                    capture.invalidate(failure.clone());
                }
                Err(failure)
            }
            Point::Nowhere | Point::Reached(_) => Ok(()),
        }
    }

    fn reached(&self) -> Outcome<Instant> {
        if self.flags & DISABLE_TIMING != 0 {
            return Err(Status::InvalidHandle.because("the event was made with CU_EVENT_DISABLE_TIMING"));
        }
        self.forbid_captured("cuEventElapsedTime")?;
        match &*lock(&self.point) {
            Point::Reached(instant) => Ok(*instant),
            _ => Err(Status::InvalidHandle.because("the event was never recorded")),
        }
    }
}

fn find(handle: Handle) -> Outcome<Arc<Event>> {
    context::current()?;
    EVENTS.get(handle)
}

/// Ends the events of a context.
pub fn end_all_of(context: Handle) {
    EVENTS.remove_where(|event| event.context == context);
}

/// Makes a stream wait for an event.
pub fn wait(stream: &Arc<Stream>, event: Handle) -> Outcome {
    let point = lock(&find(event)?.point).clone();
    match point {
        Point::Nowhere => Ok(()),
        Point::Captured(capture, nodes) => capture::join(stream, &capture, &nodes),
        Point::Reached(_) => match lock(&stream.capture).as_ref() {
            None => Ok(()),
            Some(own) => {
                let reason = "the event was recorded outside of the capture: nothing in the graph can wait for it";
                Err(own.capture.invalidate(Status::CaptureIsolation.because(reason)))
            }
        },
    }
}

fn record(handle: Handle, stream: Handle) -> Outcome {
    let (context, stream) = context::stream(stream)?;
    let event = find(handle)?;
    if event.context != context.handle {
        return Err(Status::InvalidHandle.because("event and stream belong to different contexts"));
    }
    let point = match lock(&stream.capture).as_ref() {
        None => Point::Reached(Instant::now()),
        Some(own) => Point::Captured(own.capture.clone(), own.frontier.clone()),
    };
    *lock(&event.point) = point;
    Ok(())
}

fn elapsed(start: Handle, end: Handle) -> Outcome<f32> {
    let (start, end) = (find(start)?.reached()?, find(end)?.reached()?);
    let forward = end.saturating_duration_since(start).as_secs_f64();
    let backward = start.saturating_duration_since(end).as_secs_f64();
    Ok(((forward - backward) * 1e3) as f32)
}

exports! {
    fn cuEventCreate(place: *mut Handle, flags: c_uint) {
        let context = context::current()?.handle;
        if flags & !FLAGS != 0 {
            return Err(Status::InvalidValue.because(format!("unknown event flags {flags:#x}")));
        }
        let event = Event { context, flags, point: Mutex::new(Point::Nowhere) };
        // SAFETY: the C caller's promise.
        unsafe { put(place, EVENTS.insert(fresh(), Arc::new(event))) }
    }

    fn cuEventDestroy_v2(event: Handle) {
        EVENTS.remove(event)?;
        Ok(())
    }

    fn cuEventRecord(event: Handle, stream: Handle) {
        record(event, stream)
    }

    fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: c_uint) {
        if flags != 0 {
            return Err(Status::NotSupported.because("external event records"));
        }
        record(event, stream)
    }

    fn cuEventQuery(event: Handle) {
        find(event)?.forbid_captured("cuEventQuery")
    }

    fn cuEventSynchronize(event: Handle) {
        find(event)?.forbid_captured("cuEventSynchronize")
    }

    /// Milliseconds of this machine between the two records: how long the emulation took, nothing about a GPU.
    fn cuEventElapsedTime(place: *mut f32, start: Handle, end: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, elapsed(start, end)?) }
    }

    fn cuEventElapsedTime_v2(place: *mut f32, start: Handle, end: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, elapsed(start, end)?) }
    }
}
