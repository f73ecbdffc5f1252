//! Occupancy queries, from the device's limits and what the kernel declares.

use std::ffi::{c_int, c_uint};

use super::context;
use super::function::{self, Function};
use super::guard::{exports, put};
use super::handle::Handle;
use super::status::{Outcome, Status};
use crate::device::{DeviceSpec, SHARED_RESERVED, WARP};

type SharedOfBlock = Option<unsafe extern "C" fn(c_int) -> usize>;

fn resident_blocks(handle: Handle, threads: c_int, dynamic_shared: usize) -> Outcome<c_int> {
    let (context, function) = (context::current()?, function::find(handle)?);
    let threads = u32::try_from(threads).ok().filter(|&threads| threads > 0);
    let threads = threads.ok_or_else(|| Status::InvalidValue.because("a block needs threads"))?;
    Ok(blocks(&context.device, &function, threads, dynamic_shared) as c_int)
}

fn blocks(device: &DeviceSpec, function: &Function, threads: u32, dynamic_shared: usize) -> u32 {
    let shared = function.kernel.shared_bytes() as usize + dynamic_shared;
    if threads > function.threads_limit() || shared > device.shared_per_block_optin as usize {
        return 0;
    }
    device.occupancy(function.footprint(threads, dynamic_shared as u32)).blocks
}

/// What a search for the best block size may choose from.
struct Search {
    function: Handle,
    shared_of_block: SharedOfBlock,
    dynamic_shared: usize,
    limit: c_int,
}

/// The block size that keeps most threads resident, the largest of those that do; and the blocks that fill the device.
fn best_block(search: Search) -> Outcome<(c_int, c_int)> {
    let (context, function) = (context::current()?, function::find(search.function)?);
    let most = match u32::try_from(search.limit) {
        Ok(limit) if limit > 0 => limit.min(function.threads_limit()),
        _ => function.threads_limit(),
    };
    let mut best = (0, 0, 0);
    let sizes = (1..=most / WARP).rev().map(|warps| warps * WARP).chain((most < WARP).then_some(most));
    for threads in sizes {
        let shared = match search.shared_of_block {
            // SAFETY: the C caller's promise: a function of the block size alone.
            Some(shared) => unsafe { shared(threads as c_int) },
            None => search.dynamic_shared,
        };
        let resident = blocks(&context.device, &function, threads, shared);
        if resident * threads > best.0 {
            best = (resident * threads, threads, resident);
        }
    }
    match best {
        (0, ..) => Err(function.refusal("no block size fits".into())),
        (_, threads, resident) => Ok(((resident * context.device.multiprocessors) as c_int, threads as c_int)),
    }
}

unsafe fn put_best(grid: *mut c_int, block: *mut c_int, search: Search) -> Outcome {
    let (blocks, threads) = best_block(search)?;
    // SAFETY: the C caller's promise.
    unsafe {
        put(grid, blocks)?;
        put(block, threads)
    }
}

fn room_for_dynamic_shared(handle: Handle, blocks: c_int, threads: c_int) -> Outcome<usize> {
    let (context, function) = (context::current()?, function::find(handle)?);
    let blocks = u32::try_from(blocks).ok().filter(|&blocks| blocks > 0);
    let blocks = blocks.ok_or_else(|| Status::InvalidValue.because("room for no blocks"))?;
    if resident_blocks(handle, threads, 0)? < blocks as c_int {
        return Err(function.refusal(format!("{blocks} blocks of {threads} threads are never resident")));
    }
    let each = context.device.shared_per_multiprocessor / blocks / 128 * 128;
    let each = each.saturating_sub(SHARED_RESERVED).min(context.device.shared_per_block_optin);
    Ok(each.saturating_sub(function.kernel.shared_bytes()) as usize)
}

exports! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(place: *mut c_int, function: Handle, threads: c_int, shared: usize) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, resident_blocks(function, threads, shared)?) }
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(place: *mut c_int, function: Handle, threads: c_int,
                                                            shared: usize, _flags: c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, resident_blocks(function, threads, shared)?) }
    }

    fn cuOccupancyMaxPotentialBlockSize(grid: *mut c_int, block: *mut c_int, function: Handle,
                                        shared_of_block: SharedOfBlock, dynamic_shared: usize, limit: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { put_best(grid, block, Search { function, shared_of_block, dynamic_shared, limit }) }
    }

    fn cuOccupancyMaxPotentialBlockSizeWithFlags(grid: *mut c_int, block: *mut c_int, function: Handle,
                                                 shared_of_block: SharedOfBlock, dynamic_shared: usize, limit: c_int,
                                                 _flags: c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { put_best(grid, block, Search { function, shared_of_block, dynamic_shared, limit }) }
    }

    fn cuOccupancyAvailableDynamicSMemPerBlock(place: *mut usize, function: Handle, blocks: c_int, threads: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, room_for_dynamic_shared(function, blocks, threads)?) }
    }
}
