//! Memory: of the device, at once or in stream order, from pools, and pinned memory of the host.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::{Arc, Mutex};

use super::capture;
use super::context::{self, Context};
use super::device;
use super::guard::{exports, put, put_if_wanted};
use super::handle::{Handle, Table, fresh, lock};
use super::operation::Operation;
use super::status::{Outcome, Status};

const PAGE: usize = 4096;

static POOLS: Table<Pool> = Table::new("memory pool");
static DEVICE_POOL: Mutex<Handle> = Mutex::new(0);
static HOST: Mutex<Option<HashMap<usize, Layout>>> = Mutex::new(None);

/// A pool. All of them draw on the context's memory; each keeps the attributes that it was given.
struct Pool {
    attributes: Mutex<HashMap<c_int, u64>>,
}

impl Pool {
    fn publish() -> Handle {
        // The three ways of reuse are allowed, and nothing is kept: what the driver sets at first.
        let attributes = Mutex::new(HashMap::from([(1, 1), (2, 1), (3, 1), (4, 0)]));
        POOLS.insert(fresh(), Arc::new(Self { attributes }))
    }
}

fn default_pool(ordinal: c_int) -> Outcome<Handle> {
    device::check(ordinal)?;
    let mut pool = lock(&DEVICE_POOL);
    if *pool == 0 {
        *pool = Pool::publish();
    }
    Ok(*pool)
}

fn allocate(context: &Context, bytes: usize) -> Outcome<u64> {
    if bytes == 0 {
        return Err(Status::InvalidValue.because("an allocation of no bytes"));
    }
    context.memory.alloc(bytes as u64).ok_or_else(|| {
        let free = context.device.memory_bytes.saturating_sub(context.memory.in_use());
        Status::OutOfMemory.because(format!("{bytes} bytes wanted, {free} of {} free", context.device.memory_bytes))
    })
}

/// Frees device memory; what is no allocation is refused, and reported.
pub fn free(context: &Context, address: u64) -> Outcome {
    if address == 0 {
        return Ok(());
    }
    context.memory.free(address).map_err(|fault| {
        context.history.note_host_fault("cuMemFree", &fault);
        super::operation::refusal(fault)
    })
}

fn allocate_in_order(bytes: usize, stream: Handle) -> Outcome<u64> {
    let (context, stream) = context::stream(stream)?;
    let address = allocate(&context, bytes)?;
    if let Some(own) = lock(&stream.capture).as_mut() {
        own.own(address);
        own.append(Operation::GraphMemory)?;
    }
    Ok(address)
}

fn free_in_order(address: u64, stream: Handle) -> Outcome {
    let (context, stream) = context::stream(stream)?;
    if let Some(own) = lock(&stream.capture).as_mut() {
        let operation = if own.owns(address) { Operation::GraphMemory } else { Operation::Free(address) };
        return own.append(operation);
    }
    free(&context, address)
}

fn allocate_host(bytes: usize) -> Outcome<usize> {
    context::current()?;
    let layout = Layout::from_size_align(bytes, PAGE).ok().filter(|layout| layout.size() > 0);
    let layout = layout.ok_or_else(|| Status::InvalidValue.because(format!("{bytes} bytes of host memory")))?;
    // SAFETY: the layout is not of size zero.
    let place = unsafe { alloc_zeroed(layout) } as usize;
    if place == 0 {
        return Err(Status::OutOfMemory.into());
    }
    lock(&HOST).get_or_insert_default().insert(place, layout);
    Ok(place)
}

exports! {
    fn cuMemAlloc_v2(place: *mut u64, bytes: usize) {
        let context = context::current()?;
        capture::forbid_unsafe_call(&context, "cuMemAlloc")?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, allocate(&context, bytes)?) }
    }

    fn cuMemFree_v2(address: u64) {
        let context = context::current()?;
        capture::forbid_unsafe_call(&context, "cuMemFree")?;
        free(&context, address)
    }

    fn cuMemAllocAsync(place: *mut u64, bytes: usize, stream: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, allocate_in_order(bytes, stream)?) }
    }

    fn cuMemAllocFromPoolAsync(place: *mut u64, bytes: usize, pool: Handle, stream: Handle) {
        POOLS.get(pool)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, allocate_in_order(bytes, stream)?) }
    }

    fn cuMemFreeAsync(address: u64, stream: Handle) {
        free_in_order(address, stream)
    }

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let context = context::current()?;
        let all = context.device.memory_bytes;
        // SAFETY: the C caller's promise.
        unsafe {
            put(free, all.saturating_sub(context.memory.in_use()) as usize)?;
            put(total, all as usize)
        }
    }

    fn cuMemGetAddressRange_v2(base: *mut u64, bytes: *mut usize, address: u64) {
        let all = context::current()?.memory.allocations();
        let found = all.iter().find(|one| (one.addr..one.addr + one.bytes).contains(&address));
        let found = found.ok_or_else(|| Status::NotFound.because(format!("nothing is allocated at {address:#x}")))?;
        // SAFETY: the C caller's promise.
        unsafe {
            put_if_wanted(base, found.addr);
            put_if_wanted(bytes, found.bytes as usize);
        }
        Ok(())
    }

    fn cuMemHostAlloc(place: *mut usize, bytes: usize, _flags: c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, allocate_host(bytes)?) }
    }

    fn cuMemAllocHost_v2(place: *mut usize, bytes: usize) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, allocate_host(bytes)?) }
    }

    fn cuMemFreeHost(place: usize) {
        context::current()?;
        let layout = lock(&HOST).get_or_insert_default().remove(&place);
        let unknown = || Status::InvalidValue.because(format!("{place:#x} is no pinned host memory"));
        let layout = layout.ok_or_else(unknown)?;
        // SAFETY: allocated with this layout, and out of the table: freed once.
        unsafe { dealloc(place as *mut u8, layout) };
        Ok(())
    }

    fn cuDeviceGetDefaultMemPool(place: *mut Handle, ordinal: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, default_pool(ordinal)?) }
    }

    fn cuDeviceGetMemPool(place: *mut Handle, ordinal: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, default_pool(ordinal)?) }
    }

    fn cuDeviceSetMemPool(ordinal: c_int, pool: Handle) {
        device::check(ordinal)?;
        POOLS.get(pool)?;
        *lock(&DEVICE_POOL) = pool;
        Ok(())
    }

    fn cuMemPoolCreate(place: *mut Handle, _properties: *const c_void) {
        device::initialised()?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, Pool::publish()) }
    }

    fn cuMemPoolDestroy(pool: Handle) {
        if *lock(&DEVICE_POOL) == pool {
            return Err(Status::InvalidValue.because("the device's own pool"));
        }
        POOLS.remove(pool)?;
        Ok(())
    }

    fn cuMemPoolTrimTo(pool: Handle, _bytes: usize) {
        POOLS.get(pool)?;
        Ok(())
    }

    fn cuMemPoolSetAttribute(pool: Handle, number: c_int, value: *const c_void) {
        let pool = POOLS.get(pool)?;
        if value.is_null() {
            return Err(Status::InvalidValue.into());
        }
        let value = match number {
            // SAFETY: the C caller's promise: an int for the first three.
            1..=3 => unsafe { value.cast::<c_int>().read() as u64 },
            // SAFETY: and a 64-bit number for the others.
            4 | 6 | 8 => unsafe { value.cast::<u64>().read() },
            _ => return Err(Status::InvalidValue.because(format!("pool attribute {number} cannot be set"))),
        };
        lock(&pool.attributes).insert(number, value);
        Ok(())
    }

    fn cuMemPoolGetAttribute(pool: Handle, number: c_int, value: *mut c_void) {
        let pool = POOLS.get(pool)?;
        let kept = |number| lock(&pool.attributes).get(&number).copied().unwrap_or(0);
        match number {
            // SAFETY: the C caller's promise: an int for the first three.
            1..=3 => unsafe { put(value.cast::<c_int>(), kept(number) as c_int) },
            4 => unsafe { put(value.cast::<u64>(), kept(4)) },
            5 | 7 => unsafe { put(value.cast::<u64>(), context::current()?.memory.in_use()) },
            6 | 8 => unsafe { put(value.cast::<u64>(), context::current()?.memory.peak()) },
            _ => Err(Status::InvalidValue.because(format!("no pool attribute has the number {number}"))),
        }
    }
}
