//! Errors' names, and functions by name.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::sync::OnceLock;

use super::guard::{exports, put, put_if_wanted, text};
use super::status::{CUresult, Outcome, Status};

const FOUND: c_uint = 0;
const NOT_FOUND: c_uint = 1;
const NEWEST_REVISION: usize = 4;

/// The functions that are implemented.
fn implemented() -> &'static HashMap<&'static str, usize> {
    static TABLE: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    TABLE.get_or_init(|| {
        [
            entries(),
            super::allocation::entries(),
            super::context::entries(),
            super::copy::entries(),
            super::device::entries(),
            super::event::entries(),
            super::extension::entries(),
            super::function::entries(),
            super::graph::entries(),
            super::launch::entries(),
            super::library::entries(),
            super::module::entries(),
            super::occupancy::entries(),
            super::stream::entries(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}

/// The newest revision of a function: programs ask for `cuMemAlloc` and mean `cuMemAlloc_v2`.
fn newest(name: &str) -> Option<usize> {
    let revised = (2..=NEWEST_REVISION).rev().map(|revision| format!("{name}_v{revision}"));
    revised.chain([name.to_string()]).find_map(|name| implemented().get(name.as_str()).copied())
}

fn status(code: CUresult) -> Outcome<Status> {
    Status::from_code(code).ok_or_else(|| Status::InvalidValue.because(format!("no error has the code {code}")))
}

unsafe fn look_up(symbol: *const c_char, place: *mut *mut c_void, found: *mut c_uint) -> Outcome {
    // SAFETY: the C caller's promise.
    let name = unsafe { text(symbol) }?;
    let address = newest(name);
    // SAFETY: the C caller's promise.
    unsafe {
        put_if_wanted(found, if address.is_some() { FOUND } else { NOT_FOUND });
        put(place, address.unwrap_or(0) as *mut c_void)?;
    }
    match address {
        Some(_) => Ok(()),
        None => {
            eprintln!("glimmer-emulator: {name} is not implemented");
            Err(Status::NotFound.because(format!("{name} is not implemented")))
        }
    }
}

exports! {
    fn cuGetErrorName(code: CUresult, place: *mut *const c_char) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, status(code)?.name().as_ptr()) }
    }

    fn cuGetErrorString(code: CUresult, place: *mut *const c_char) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, status(code)?.text().as_ptr()) }
    }

    fn cuGetProcAddress(symbol: *const c_char, place: *mut *mut c_void, _version: c_int, _flags: c_ulonglong) {
        // SAFETY: the C caller's promise.
        unsafe { look_up(symbol, place, std::ptr::null_mut()) }
    }

    fn cuGetProcAddress_v2(symbol: *const c_char, place: *mut *mut c_void, _version: c_int, _flags: c_ulonglong,
                           found: *mut c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { look_up(symbol, place, found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_under_the_name_that_programs_use() {
        assert_eq!(newest("cuMemAlloc"), newest("cuMemAlloc_v2"));
        assert!(newest("cuInit").is_some());
        assert!(newest("cuArrayCreate").is_none());
    }

    #[test]
    fn nothing_is_both_implemented_and_not() {
        for name in super::super::unsupported::names() {
            assert!(!implemented().contains_key(name), "{name}");
        }
    }
}
