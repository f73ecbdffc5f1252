//! Modules: PTX, parsed and with its variables in device memory.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Arc, LazyLock, Mutex};

use super::context::{self, Context};
use super::function::{self, Function};
use super::guard::{exports, put, put_if_wanted, text};
use super::handle::{Handle, Table, fresh, lock};
use super::status::{Outcome, Status};

const ERROR_LOG: c_int = 5;
const ERROR_LOG_BYTES: c_int = 6;

// The newest PTX that the compiler of CUDA 13.0 writes: a driver refuses what is newer than itself.
const PTX_VERSION: (u32, u32) = (9, 0);

static MODULES: Table<Module> = Table::new("module");

/// Code without variables, by its PTX. It is the same in every context, and tests that make one each load it often.
static PARSED: LazyLock<Mutex<HashMap<String, crate::Module>>> = LazyLock::new(Mutex::default);

fn parse(ptx: &str) -> Outcome<crate::Module> {
    if let Some(known) = lock(&PARSED).get(ptx) {
        return Ok(known.clone());
    }
    let code = crate::Module::parse(ptx).map_err(|error| Status::InvalidPtx.because(error.to_string()))?;
    if code.globals().next().is_none() {
        lock(&PARSED).insert(ptx.into(), code.clone());
    }
    Ok(code)
}

/// A module of a context.
pub struct Module {
    /// What programs know it by.
    pub handle: Handle,
    /// The context whose it is.
    pub context: Handle,
    /// The PTX as it was given.
    pub ptx: String,
    /// What became of it.
    pub code: crate::Module,
    functions: Mutex<HashMap<String, Handle>>,
}

impl Module {
    /// Parses PTX and places its variables in a context's memory.
    pub fn load(context: &Context, ptx: &str) -> Outcome<Arc<Self>> {
        check_header(context, ptx)?;
        let mut code = parse(ptx)?;
        code.place_globals(&context.memory).map_err(|fault| Status::OutOfMemory.because(fault.to_string()))?;
        let handle = fresh();
        let module = Self { handle, context: context.handle, ptx: ptx.into(), code, functions: Mutex::default() };
        let module = Arc::new(module);
        MODULES.insert(handle, module.clone());
        Ok(module)
    }

    /// The function of a name; the same one however often it is asked for.
    pub fn function(self: &Arc<Self>, name: &str) -> Outcome<Handle> {
        let mut known = lock(&self.functions);
        if let Some(&handle) = known.get(name) {
            return Ok(handle);
        }
        let kernel = self.code.kernel(name).ok_or_else(|| {
            let others: Vec<_> = self.code.kernels().map(|kernel| kernel.name().to_string()).collect();
            Status::NotFound.because(format!("no kernel `{name}` among {}", others.join(", ")))
        })?;
        let handle = function::publish(Function::new(self, kernel));
        known.insert(name.into(), handle);
        Ok(handle)
    }

    /// Address and bytes of a variable.
    pub fn variable(&self, name: &str) -> Outcome<(u64, u64)> {
        let found = self.code.globals().find(|global| global.name == name);
        let found = found.ok_or_else(|| Status::NotFound.because(format!("no variable `{name}`")))?;
        Ok((found.addr, found.bytes))
    }
}

/// The module of a handle.
pub fn find(handle: Handle) -> Outcome<Arc<Module>> {
    context::current()?;
    MODULES.get(handle)
}

/// Ends the modules of a context, and their functions.
pub fn end_all_of(context: Handle) {
    MODULES.remove_where(|module| module.context == context);
    function::end_all_of(context);
}

/// Ends a module: its functions, and its variables' memory.
pub fn unload(handle: Handle) -> Outcome {
    let module = MODULES.remove(handle)?;
    function::end_all_in(handle);
    let context = context::find(module.context)?;
    for global in module.code.globals() {
        let _ = context.memory.free(global.addr);
    }
    Ok(())
}

/// What the header asks of driver and device must be there.
fn check_header(context: &Context, ptx: &str) -> Outcome {
    let word = |directive: &str| {
        let line = ptx.lines().find_map(|line| line.trim_start().strip_prefix(directive))?;
        line.split([' ', '\t', ',', ';']).find(|word| !word.is_empty())
    };
    if let Some((major, minor)) = word(".version").and_then(|version| version.split_once('.'))
        && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
        && (major, minor) > PTX_VERSION
    {
        return Err(Status::UnsupportedPtxVersion.because(format!("PTX {major}.{minor}: the newest known is 9.0")));
    }
    let [major, minor] = context.device.compute;
    let here = major * 10 + minor;
    let target = word(".target").and_then(|target| target.strip_prefix("sm_"));
    match target.map(|target| (target.trim_end_matches(['a', 'f']).parse::<u32>(), target.ends_with(['a', 'f']))) {
        Some((Ok(wanted), specific)) if wanted > here || (specific && wanted != here) => {
            let target = target.unwrap_or_default();
            Err(Status::NoBinaryForGpu.because(format!("the PTX is for sm_{target}, the device is sm_{here}")))
        }
        _ => Ok(()),
    }
}

/// The PTX text of an image.
///
/// # Safety
/// `image` is null or points to PTX that ends in a zero byte, or to a binary image with its header.
pub unsafe fn image_text<'a>(image: *const c_void) -> Outcome<&'a str> {
    if image.is_null() {
        return Err(Status::InvalidValue.because("the image is null"));
    }
    // SAFETY: either is at least this long: PTX begins with its `.version`, a binary with its magic number.
    let magic = unsafe { image.cast::<[u8; 4]>().read_unaligned() };
    if magic == *b"\x7fELF" || magic == [0x50, 0xed, 0x55, 0xba] {
        return Err(Status::NoBinaryForGpu.because("the image is a cubin or fatbin: the emulator runs PTX alone"));
    }
    // SAFETY: text ends in a zero byte.
    let ptx = unsafe { CStr::from_ptr(image.cast()) };
    ptx.to_str().map_err(|_| Status::InvalidImage.because("the image is neither a binary nor text"))
}

/// Options of the just-in-time compiler, of which the log for errors means something here.
struct JitOptions {
    count: c_uint,
    numbers: *const c_int,
    values: *const *mut c_void,
}

impl JitOptions {
    /// # Safety
    /// `numbers` and `values` hold `count` options, as the driver's interface has them.
    unsafe fn value(&self, number: c_int) -> Option<*mut c_void> {
        if self.numbers.is_null() || self.values.is_null() {
            return None;
        }
        // SAFETY: this function's contract.
        (0..self.count as usize)
            .find_map(|i| unsafe { (self.numbers.add(i).read() == number).then(|| self.values.add(i).read()) })
    }

    /// # Safety
    /// As above, and the log buffer is as long as its option says.
    unsafe fn log(&self, message: &str) {
        // SAFETY: this function's contract.
        let (buffer, room) = unsafe { (self.value(ERROR_LOG), self.value(ERROR_LOG_BYTES)) };
        if let (Some(buffer), Some(room)) = (buffer, room)
            && !buffer.is_null()
            && room as usize > 0
        {
            let bytes = &message.as_bytes()[..message.len().min(room as usize - 1)];
            // SAFETY: at most `room` bytes, which is what the buffer has.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len());
                buffer.cast::<u8>().add(bytes.len()).write(0);
            }
        }
    }
}

fn load_logged(ptx: &str, options: &JitOptions) -> Outcome<Handle> {
    Module::load(&*context::current()?, ptx).map(|module| module.handle).inspect_err(|failure| {
        // SAFETY: the C caller's promise.
        unsafe { options.log(&failure.to_string()) };
    })
}

const NO_OPTIONS: JitOptions = JitOptions { count: 0, numbers: std::ptr::null(), values: std::ptr::null() };

exports! {
    fn cuModuleLoad(place: *mut Handle, path: *const c_char) {
        // SAFETY: the C caller's promise.
        let path = unsafe { text(path) }?;
        let bytes = std::fs::read(path).map_err(|error| Status::FileNotFound.because(format!("{path}: {error}")))?;
        let binary = |_| Status::NoBinaryForGpu.because(format!("{path} is not PTX"));
        let ptx = std::str::from_utf8(&bytes).map_err(binary)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, load_logged(ptx, &NO_OPTIONS)?) }
    }

    fn cuModuleLoadData(place: *mut Handle, image: *const c_void) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, load_logged(image_text(image)?, &NO_OPTIONS)?) }
    }

    fn cuModuleLoadDataEx(place: *mut Handle, image: *const c_void, count: c_uint, numbers: *const c_int,
                          values: *const *mut c_void) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, load_logged(image_text(image)?, &JitOptions { count, numbers, values })?) }
    }

    fn cuModuleUnload(module: Handle) {
        find(module)?;
        unload(module)
    }

    fn cuModuleGetFunction(place: *mut Handle, module: Handle, name: *const c_char) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, find(module)?.function(text(name)?)?) }
    }

    fn cuModuleGetFunctionCount(place: *mut c_uint, module: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, find(module)?.code.kernels().count() as c_uint) }
    }

    fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: Handle, name: *const c_char) {
        // SAFETY: the C caller's promise.
        let (at, size) = find(module)?.variable(unsafe { text(name) }?)?;
        // SAFETY: the C caller's promise.
        unsafe {
            put_if_wanted(address, at);
            put_if_wanted(bytes, size as usize);
        }
        Ok(())
    }
}
