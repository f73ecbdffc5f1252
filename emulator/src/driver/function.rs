//! Functions: kernels of a module, and what may be asked and set of them.

use std::ffi::{CString, c_char, c_int, c_uint};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::context;
use super::guard::{exports, put, put_if_wanted};
use super::handle::{Handle, Table, fresh};
use super::library;
use super::module::Module;
use super::status::{Failure, Outcome, Status};
use crate::Kernel;
use crate::device::{DeviceSpec, Footprint, REGISTERS_PER_THREAD, SHARED_PER_BLOCK, THREADS_PER_BLOCK};

static FUNCTIONS: Table<Function> = Table::new("function");

/// A kernel as a program launches it.
pub struct Function {
    /// The module that has it.
    pub module: Arc<Module>,
    /// Its code.
    pub kernel: Arc<Kernel>,
    dynamic_shared_limit: AtomicU32,
    carveout: AtomicU32,
    name: OnceLock<CString>,
}

impl Function {
    /// The function of a kernel.
    pub fn new(module: &Arc<Module>, kernel: Arc<Kernel>) -> Self {
        Self {
            module: module.clone(),
            dynamic_shared_limit: AtomicU32::new(SHARED_PER_BLOCK.saturating_sub(kernel.shared_bytes())),
            carveout: AtomicU32::new(u32::MAX),
            kernel,
            name: OnceLock::new(),
        }
    }

    /// Dynamic shared bytes that a launch may ask for.
    pub fn dynamic_shared_limit(&self) -> u32 {
        self.dynamic_shared_limit.load(Ordering::Relaxed)
    }

    /// Threads that a block may have. Only what the kernel declares counts: how many registers it will have is the
    /// business of an assembler that does not run here.
    pub fn threads_limit(&self) -> u32 {
        self.kernel.max_threads().unwrap_or(THREADS_PER_BLOCK).min(THREADS_PER_BLOCK)
    }

    /// Registers of a thread. PTX has no end of them; what it declares, cut to what a thread can have, is a bound
    /// from above.
    pub fn registers(&self) -> u32 {
        self.kernel.registers().clamp(16, REGISTERS_PER_THREAD)
    }

    /// What a block takes of a multiprocessor.
    pub fn footprint(&self, threads: u32, dynamic_shared: u32) -> Footprint {
        Footprint { threads, registers: self.registers(), shared_bytes: self.kernel.shared_bytes() + dynamic_shared }
    }

    fn attribute(&self, number: c_int, device: &DeviceSpec) -> Outcome<u32> {
        Ok(match number {
            0 => self.threads_limit(),
            1 => self.kernel.shared_bytes(),
            2 => self.kernel.const_bytes(),
            3 => self.kernel.local_bytes(),
            4 => self.registers(),
            5 | 6 => device.compute[0] * 10 + device.compute[1],
            7 => 0,
            8 => self.dynamic_shared_limit(),
            9 => self.carveout.load(Ordering::Relaxed),
            10..=15 => 0,
            _ => return Err(Status::InvalidValue.because(format!("no function attribute has the number {number}"))),
        })
    }

    fn set_attribute(&self, number: c_int, value: c_int, device: &DeviceSpec) -> Outcome {
        match number {
            8 => {
                let most = device.shared_per_block_optin.saturating_sub(self.kernel.shared_bytes());
                let wanted = u32::try_from(value).ok().filter(|&bytes| bytes <= most);
                let wanted =
                    wanted.ok_or_else(|| self.refusal(format!("{value} dynamic shared bytes, at most {most} here")))?;
                self.dynamic_shared_limit.store(wanted, Ordering::Relaxed);
                Ok(())
            }
            9 if (-1..=100).contains(&value) => {
                self.carveout.store(value as u32, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(self.refusal(format!("attribute {number} cannot be set to {value}"))),
        }
    }

    /// A refusal that names the kernel.
    pub fn refusal(&self, reason: String) -> Failure {
        Status::InvalidValue.because(format!("kernel `{}`: {reason}", self.kernel.name()))
    }
}

/// Gives a function a handle.
pub fn publish(function: Function) -> Handle {
    FUNCTIONS.insert(fresh(), Arc::new(function))
}

/// The function of a handle, which may be a library's kernel.
pub fn find(handle: Handle) -> Outcome<Arc<Function>> {
    let context = context::current()?;
    let function = match FUNCTIONS.get(handle) {
        Ok(function) => function,
        Err(unknown) => FUNCTIONS.get(library::function_of_kernel(handle).map_err(|_| unknown)?)?,
    };
    if function.module.context != context.handle {
        return Err(Status::InvalidHandle.because("the function belongs to another context"));
    }
    Ok(function)
}

/// Ends the functions of a context.
pub fn end_all_of(context: Handle) {
    FUNCTIONS.remove_where(|function| function.module.context == context);
}

/// Ends the functions of a module.
pub fn end_all_in(module: Handle) {
    FUNCTIONS.remove_where(|function| function.module.handle == module);
}

/// Puts the name of a function where the caller wants it; it lives as long as the function.
///
/// # Safety
/// `place` is null or valid for a write.
pub unsafe fn put_name(place: *mut *const c_char, handle: Handle) -> Outcome {
    let function = find(handle)?;
    let name = function.name.get_or_init(|| CString::new(function.kernel.name()).unwrap_or_default());
    // SAFETY: this function's contract.
    unsafe { put(place, name.as_ptr()) }
}

/// Puts a parameter's offset and bytes where the caller wants them.
///
/// # Safety
/// The places are null or valid for a write.
pub unsafe fn put_parameter(handle: Handle, index: usize, offset: *mut usize, bytes: *mut usize) -> Outcome {
    let function = find(handle)?;
    let parameter = function.kernel.parameters().get(index).copied();
    let parameter = parameter.ok_or_else(|| function.refusal(format!("there is no parameter {index}")))?;
    // SAFETY: this function's contract.
    unsafe {
        put(offset, parameter.offset as usize)?;
        put_if_wanted(bytes, parameter.bytes as usize);
    }
    Ok(())
}

/// Puts an attribute where the caller wants it.
///
/// # Safety
/// `place` is null or valid for a write.
pub unsafe fn put_attribute(place: *mut c_int, number: c_int, handle: Handle) -> Outcome {
    let value = find(handle)?.attribute(number, &context::current()?.device)?;
    // SAFETY: this function's contract.
    unsafe { put(place, value as c_int) }
}

/// Sets an attribute.
pub fn set_attribute(handle: Handle, number: c_int, value: c_int) -> Outcome {
    find(handle)?.set_attribute(number, value, &context::current()?.device)
}

exports! {
    fn cuFuncGetAttribute(place: *mut c_int, number: c_int, function: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put_attribute(place, number, function) }
    }

    fn cuFuncSetAttribute(function: Handle, number: c_int, value: c_int) {
        set_attribute(function, number, value)
    }

    fn cuFuncSetCacheConfig(function: Handle, _preference: c_uint) {
        find(function)?;
        Ok(())
    }

    fn cuFuncGetName(place: *mut *const c_char, function: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put_name(place, function) }
    }

    fn cuFuncGetModule(place: *mut Handle, function: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, find(function)?.module.handle) }
    }

    fn cuFuncGetParamInfo(function: Handle, index: usize, offset: *mut usize, bytes: *mut usize) {
        // SAFETY: the C caller's promise.
        unsafe { put_parameter(function, index, offset, bytes) }
    }

    fn cuFuncIsLoaded(place: *mut c_int, function: Handle) {
        find(function)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, 1) }
    }

    fn cuFuncLoad(function: Handle) {
        find(function)?;
        Ok(())
    }
}
