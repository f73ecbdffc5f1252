//! The border between C and Rust: every exported function is declared through [`exports!`], which keeps panics on
//! this side, turns outcomes into codes and remembers the reason of the last failure.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::{CUresult, Failure, Outcome, Status};

thread_local! {
    /// The thread's newest failure: what function, and why.
    static LAST_FAILURE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs the body of an exported function.
pub fn guard(name: &'static str, body: impl FnOnce() -> Outcome) -> CUresult {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let reason = format!("the emulator itself failed: {}", text.unwrap_or("no message"));
        eprintln!("{name}: {reason}");
        Err(Status::Unknown.because(reason))
    });
    match outcome {
        Ok(()) => Status::Success as CUresult,
        Err(failure) => {
            remember(name, &failure);
            failure.status as CUresult
        }
    }
}

fn remember(name: &str, failure: &Failure) {
    // A query that finds work unfinished is an answer, not a failure.
    if failure.status != Status::NotReady {
        LAST_FAILURE.set(Some(format!("{name}: {failure}")));
    }
}

/// The calling thread's newest failure; forgets it.
pub fn take_last_failure() -> Option<String> {
    LAST_FAILURE.take()
}

/// Where a C caller wants a value.
///
/// # Safety
/// `place` is null or valid for a write of `T`.
pub unsafe fn put<T>(place: *mut T, value: T) -> Outcome {
    if place.is_null() {
        return Err(Status::InvalidValue.because("a pointer for a result is null"));
    }
    // SAFETY: not null, and valid by this function's contract.
    unsafe { place.write(value) };
    Ok(())
}

/// As [`put`], for results that the caller may leave out.
///
/// # Safety
/// `place` is null or valid for a write of `T`.
pub unsafe fn put_if_wanted<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: not null, and valid by this function's contract.
        unsafe { place.write(value) };
    }
}

/// A C string as UTF-8.
///
/// # Safety
/// `text` is null or points to a string that ends in a zero byte.
pub unsafe fn text<'a>(text: *const std::ffi::c_char) -> Outcome<&'a str> {
    if text.is_null() {
        return Err(Status::InvalidValue.because("a string is null"));
    }
    // SAFETY: not null, and terminated by this function's contract.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    text.to_str().map_err(|_| Status::InvalidValue.because("a string is not UTF-8"))
}

/// Declares functions of the driver's C interface. The body is an [`Outcome`]; `entries()` lists them for
/// `cuGetProcAddress`.
macro_rules! exports {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            #[allow(non_snake_case, clippy::too_many_arguments)] // Names and argument lists are CUDA's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $kind),*) -> $crate::driver::status::CUresult {
                $crate::driver::guard::guard(stringify!($name), || $body)
            }
        )*

        /// Name and address of each function above.
        pub(super) fn entries() -> Vec<(&'static str, usize)> {
            vec![$((stringify!($name), $name as *const () as usize)),*]
        }
    };
}
pub(super) use exports;
