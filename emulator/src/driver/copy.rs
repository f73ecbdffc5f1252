//! Copies and fills, at once (which is on the legacy stream) or on a stream.

use std::ffi::c_void;

use super::capture;
use super::context;
use super::guard::exports;
use super::handle::Handle;
use super::operation::{HostPointer, Operation};
use super::status::{Outcome, Status};
use super::stream::{LEGACY, submit};

/// Whether a call comes back only when its work is done.
#[derive(Clone, Copy)]
enum Return {
    WhenDone(&'static str),
    AtOnce(Handle),
}

fn perform(returns: Return, operation: Operation) -> Outcome {
    let handle = match returns {
        Return::AtOnce(stream) => stream,
        Return::WhenDone(call) => {
            capture::forbid_unsafe_call(&*context::current()?, call)?;
            LEGACY
        }
    };
    let (context, stream) = context::stream(handle)?;
    submit(&context, &stream, operation)
}

fn upload(returns: Return, to: u64, from: *const c_void, bytes: usize) -> Outcome {
    match (bytes, from.is_null()) {
        (0, _) => Ok(()),
        (_, true) => Err(Status::InvalidValue.because("the host's end of the copy is null")),
        _ => perform(returns, Operation::Upload { to, from: HostPointer(from as usize), bytes }),
    }
}

fn download(returns: Return, to: *mut c_void, from: u64, bytes: usize) -> Outcome {
    match (bytes, to.is_null()) {
        (0, _) => Ok(()),
        (_, true) => Err(Status::InvalidValue.because("the host's end of the copy is null")),
        _ => perform(returns, Operation::Download { to: HostPointer(to as usize), from, bytes }),
    }
}

fn copy(returns: Return, to: u64, from: u64, bytes: usize) -> Outcome {
    if bytes == 0 {
        return Ok(());
    }
    perform(returns, Operation::Copy { to, from, bytes: bytes as u64 })
}

fn fill(returns: Return, to: u64, pattern: &[u8], count: usize) -> Outcome {
    if !to.is_multiple_of(pattern.len() as u64) {
        return Err(
            Status::InvalidValue.because(format!("{to:#x} is no multiple of the {} bytes to repeat", pattern.len()))
        );
    }
    if count == 0 {
        return Ok(());
    }
    perform(returns, Operation::Fill { to, pattern: pattern.to_vec(), count: count as u64 })
}

exports! {
    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) {
        upload(Return::WhenDone("cuMemcpyHtoD"), to, from, bytes)
    }

    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) {
        upload(Return::AtOnce(stream), to, from, bytes)
    }

    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) {
        download(Return::WhenDone("cuMemcpyDtoH"), to, from, bytes)
    }

    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) {
        download(Return::AtOnce(stream), to, from, bytes)
    }

    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        copy(Return::WhenDone("cuMemcpyDtoD"), to, from, bytes)
    }

    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        copy(Return::AtOnce(stream), to, from, bytes)
    }

    fn cuMemcpyPeerAsync(to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize, stream: Handle) {
        let (to, from) = ((context::find(to_context)?, to), (context::find(from_context)?, from));
        perform(Return::AtOnce(stream), Operation::PeerCopy { to, from, bytes })
    }

    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        fill(Return::WhenDone("cuMemsetD8"), to, &[value], count)
    }

    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) {
        fill(Return::AtOnce(stream), to, &[value], count)
    }

    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        fill(Return::WhenDone("cuMemsetD16"), to, &value.to_le_bytes(), count)
    }

    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) {
        fill(Return::AtOnce(stream), to, &value.to_le_bytes(), count)
    }

    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        fill(Return::WhenDone("cuMemsetD32"), to, &value.to_le_bytes(), count)
    }

    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle) {
        fill(Return::AtOnce(stream), to, &value.to_le_bytes(), count)
    }
}
