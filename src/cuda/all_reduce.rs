//! Gradients of several devices, added up by NCCL: on a stream of its own, beside what the machine does meanwhile.

use std::ffi::c_int;
use std::fmt;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use cudarc::driver::{CudaStream, DriverError};
use cudarc::nccl::result::{self, NcclError};
use cudarc::nccl::sys;

use super::probe::Failed;
use super::queue::Queue;
use super::{Cuda, Float};
use crate::backend::{AllReduce, Grad, Member};

/// How often, and how many times, the end of the last sums is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOKS: usize = 200;

/// NCCL's communicator of this process, and the stream in which it works.
struct Nccl {
    communicator: sys::ncclComm_t,
    stream: Arc<CudaStream>,
    queue: Arc<Queue>,
}

// SAFETY: a communicator may be used from any thread, by one at a time.
unsafe impl Send for Nccl {}

/// Meets the other processes' devices.
pub(super) fn join<E: Float>(be: &Cuda<E>, member: Member<'_>) -> Result<Box<dyn AllReduce<Cuda<E>>>> {
    // Without the library, every call of the binding panics.
    // SAFETY: looks for the library and loads it.
    ensure!(
        unsafe { sys::is_culib_present() },
        "devices add up gradients by NCCL, and there is no libnccl.so: install NCCL 2 with its development files (or give \
         its libnccl.so.2 that name, where the dynamic linker looks), or let the hosts add up"
    );
    let Member { rank, size, share } = member;
    let own = if rank == 0 {
        let id = result::get_uniqueid().map_err(|error| anyhow!("NCCL cannot begin: {}", Refused(error)))?;
        id.internal.map(|byte| byte as u8).to_vec()
    } else {
        Vec::new()
    };
    let bytes: [u8; 128] = share(own)?.try_into().map_err(|_| anyhow!("process 0 has sent no id of NCCL's"))?;
    let id = sys::ncclUniqueId { internal: bytes.map(|byte| byte as _) };
    let stream = be.queue.another_stream().map_err(|error| anyhow!("cannot make a stream: {}", Failed(error)))?;
    let mut communicator = std::ptr::null_mut();
    // SAFETY: a place for the communicator; the device's context is current, since the stream was just made.
    let joined = unsafe { result::comm_init_rank(&mut communicator, size as c_int, id, rank as c_int) };
    let told = |error| anyhow!("process {rank} cannot join the other devices: {}", Refused(error));
    joined
        .map_err(told)
        .with_context(|| format!("on {}, with NCCL; every process needs a device of its own", be.device))?;
    Ok(Box::new(Nccl { communicator, stream, queue: be.queue.clone() }))
}

impl<E: Float> AllReduce<Cuda<E>> for Nccl {
    fn sum(&mut self, _be: &Cuda<E>, bucket: &[&mut Grad<Cuda<E>>]) -> Result<()> {
        if self.queue.has_failed() {
            // Others wait for this process's part, and have to see it go.
            return self.queue.report();
        }
        self.queue.let_wait(&self.stream).map_err(cannot_wait)?;
        let sums = || {
            result::group_start()?;
            for grad in bucket {
                let place = grad.buf.address();
                let (from, to) = (place as *const _, place as *mut _);
                let (float, sum) = (sys::ncclDataType_t::ncclFloat32, sys::ncclRedOp_t::ncclSum);
                let stream = self.stream.cu_stream().cast();
                // SAFETY: memory of so many numbers, which stays the gradient's and which nothing else in the machine's
                // stream touches until `join`.
                unsafe { result::all_reduce(from, to, grad.buf.len(), float, sum, self.communicator, stream) }?;
            }
            result::group_end()
        };
        sums().map(drop).map_err(|error| anyhow!("NCCL cannot add up gradients: {}", Refused(error)))
    }

    fn join(&mut self, _be: &Cuda<E>) -> Result<()> {
        self.queue.wait_for(&self.stream).map_err(cannot_wait)
    }
}

impl Drop for Nccl {
    /// The last sums end at once, unless a process has gone that others wait for: then this one goes, too.
    fn drop(&mut self) {
        let ended = (0..LOOKS).any(|_| {
            let is_idle = self.queue.is_idle(&self.stream);
            if !is_idle {
                sleep(LOOK_AGAIN);
            }
            is_idle
        });
        // SAFETY: made once, and not used any more. Who could be told of a failure is gone.
        let _ = unsafe {
            if ended { result::comm_destroy(self.communicator) } else { result::comm_abort(self.communicator) }
        };
    }
}

fn cannot_wait(error: DriverError) -> anyhow::Error {
    anyhow!("one stream cannot wait for the other: {}", Failed(error))
}

/// NCCL's error, for people.
struct Refused(NcclError);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.0)
    }
}
