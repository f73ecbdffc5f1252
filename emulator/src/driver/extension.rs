//! What the emulator has and no driver: functions by which tests choose a device and a schedule, and read counters
//! and reports.
//!
//! A program links a copy of this crate and loads another one as its driver. The two share no statics, so all of this
//! goes through C functions of the loaded one; [`crate::loader`] wraps them.

use std::ffi::{CString, c_char};
use std::sync::Mutex;

use serde::Serialize;

use super::context;
use super::guard::{exports, put, take_last_failure, text};
use super::handle::lock;
use super::status::{Outcome, Status};
use crate::options::Options;

/// Asks for a bundle without a change to the program: `kernel:ordinal:folder`.
const RECORD_VARIABLE: &str = "GLIMMER_EMULATOR_RECORD";

static DEFAULTS: Mutex<Option<Options>> = Mutex::new(None);

/// The options of contexts yet to be made.
pub fn default_options() -> Options {
    lock(&DEFAULTS).get_or_insert_with(first_options).clone()
}

fn first_options() -> Options {
    let mut options = Options::default();
    if let Ok(request) = std::env::var(RECORD_VARIABLE) {
        match Options::record_from(&request) {
            Ok(record) => options.record.push(record),
            Err(error) => eprintln!("glimmer-emulator: {RECORD_VARIABLE}: {error:#}"),
        }
    }
    options
}

fn updated(options: &Options, json: &str) -> Outcome<Options> {
    options.updated(json).map_err(|error| Status::InvalidValue.because(format!("{error:#}")))
}

/// # Safety
/// `place` is null or valid for a write.
unsafe fn put_text(place: *mut *mut c_char, text: String) -> Outcome {
    let text = CString::new(text).map_err(|_| Status::Unknown.because("a text with a zero byte"))?;
    // SAFETY: this function's contract.
    unsafe { put(place, text.into_raw()) }
}

/// # Safety
/// `place` is null or valid for a write.
unsafe fn put_json(place: *mut *mut c_char, value: &impl Serialize) -> Outcome {
    let json = serde_json::to_string(value).map_err(|error| Status::Unknown.because(error.to_string()))?;
    // SAFETY: this function's contract.
    unsafe { put_text(place, json) }
}

exports! {
    /// This crate's version.
    fn emulatorVersion(place: *mut *mut c_char) {
        // SAFETY: the C caller's promise.
        unsafe { put_text(place, env!("CARGO_PKG_VERSION").into()) }
    }

    /// Frees a text that one of these functions gave.
    fn emulatorFreeText(given: *mut c_char) {
        if !given.is_null() {
            // SAFETY: the C caller's promise: a text of ours, freed once.
            drop(unsafe { CString::from_raw(given) });
        }
        Ok(())
    }

    /// Sets the options that a JSON object names, for contexts made from now on.
    fn emulatorConfigure(json: *const c_char) {
        // SAFETY: the C caller's promise.
        let options = updated(&default_options(), unsafe { text(json) }?)?;
        *lock(&DEFAULTS) = Some(options);
        Ok(())
    }

    /// Sets the options that a JSON object names, for the current context alone.
    fn emulatorConfigureContext(json: *const c_char) {
        let context = context::current_unchecked()?;
        let mut options = lock(&context.options);
        // SAFETY: the C caller's promise.
        let changed = updated(&options, unsafe { text(json) }?)?;
        if changed.device != options.device {
            return Err(Status::IllegalState.because("a context keeps its device: choose one before it is made"));
        }
        *options = changed;
        Ok(())
    }

    /// The current context's options, or those of contexts yet to be made.
    fn emulatorOptionsJson(place: *mut *mut c_char) {
        let options = context::current_unchecked().map_or_else(|_| default_options(), |own| lock(&own.options).clone());
        // SAFETY: the C caller's promise.
        unsafe { put_json(place, &options) }
    }

    /// The launches of the current context, with counters.
    fn emulatorCountersJson(place: *mut *mut c_char) {
        // SAFETY: the C caller's promise.
        unsafe { put_json(place, &context::current_unchecked()?.history.launches()) }
    }

    /// The newest report of the current context, or null.
    fn emulatorReportJson(place: *mut *mut c_char) {
        // SAFETY: the C caller's promise.
        unsafe { put_json(place, &context::current_unchecked()?.history.report()) }
    }

    /// The newest report of the current context as text, or nothing.
    fn emulatorReportText(place: *mut *mut c_char) {
        let report = context::current_unchecked()?.history.report();
        // SAFETY: the C caller's promise.
        unsafe { put_text(place, report.map(|report| report.to_string()).unwrap_or_default()) }
    }

    /// Forgets the current context's launches and report.
    fn emulatorForget() {
        context::current_unchecked()?.history.forget();
        Ok(())
    }

    /// Why the calling thread's newest failing call failed, or nothing. Asking forgets it.
    fn emulatorLastFailure(place: *mut *mut c_char) {
        // SAFETY: the C caller's promise.
        unsafe { put_text(place, take_last_failure().unwrap_or_default()) }
    }
}
