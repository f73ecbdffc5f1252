//! Libraries: PTX that no context has yet. A kernel of one becomes a function in whatever context it is first used.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::{Arc, Mutex};

use super::context;
use super::function;
use super::guard::{exports, put, put_if_wanted, text};
use super::handle::{Handle, Table, fresh, lock};
use super::module::{self, Module};
use super::status::{Outcome, Status};

static LIBRARIES: Table<Library> = Table::new("library");
static KERNELS: Table<LibraryKernel> = Table::new("kernel");

struct Library {
    handle: Handle,
    ptx: String,
    names: Vec<String>,
    modules: Mutex<HashMap<Handle, Arc<Module>>>,
    kernels: Mutex<HashMap<String, Handle>>,
}

struct LibraryKernel {
    library: Arc<Library>,
    name: String,
}

impl Library {
    /// The library's module in the current context.
    fn module(&self) -> Outcome<Arc<Module>> {
        let context = context::current()?;
        let mut modules = lock(&self.modules);
        if let Some(module) = modules.get(&context.handle) {
            return Ok(module.clone());
        }
        let module = Module::load(&context, &self.ptx)?;
        modules.insert(context.handle, module.clone());
        Ok(module)
    }
}

fn load(ptx: &str) -> Outcome<Handle> {
    super::device::initialised()?;
    let code = crate::Module::parse(ptx).map_err(|error| Status::InvalidPtx.because(error.to_string()))?;
    let names = code.kernels().map(|kernel| kernel.name().to_string()).collect();
    let handle = fresh();
    let (modules, kernels) = (Mutex::default(), Mutex::default());
    Ok(LIBRARIES.insert(handle, Arc::new(Library { handle, ptx: ptx.into(), names, modules, kernels })))
}

fn kernel(library: &Arc<Library>, name: &str) -> Outcome<Handle> {
    if !library.names.iter().any(|known| known == name) {
        return Err(Status::NotFound.because(format!("no kernel `{name}` among {}", library.names.join(", "))));
    }
    let publish = || KERNELS.insert(fresh(), Arc::new(LibraryKernel { library: library.clone(), name: name.into() }));
    Ok(*lock(&library.kernels).entry(name.into()).or_insert_with(publish))
}

/// The function that a library's kernel is in the current context.
pub fn function_of_kernel(handle: Handle) -> Outcome<Handle> {
    let kernel = KERNELS.get(handle)?;
    kernel.library.module()?.function(&kernel.name)
}

exports! {
    fn cuLibraryLoadData(place: *mut Handle, image: *const c_void, _jit: *mut c_int, _jit_values: *mut *mut c_void,
                         _jit_count: c_uint, _options: *mut c_int, _values: *mut *mut c_void, _count: c_uint) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, load(module::image_text(image)?)?) }
    }

    fn cuLibraryLoadFromFile(place: *mut Handle, path: *const c_char, _jit: *mut c_int, _jit_values: *mut *mut c_void,
                             _jit_count: c_uint, _options: *mut c_int, _values: *mut *mut c_void, _count: c_uint) {
        // SAFETY: the C caller's promise.
        let path = unsafe { text(path) }?;
        let missing = |error| Status::FileNotFound.because(format!("{path}: {error}"));
        let ptx = std::fs::read_to_string(path).map_err(missing)?;
        // SAFETY: the C caller's promise.
        unsafe { put(place, load(&ptx)?) }
    }

    fn cuLibraryUnload(library: Handle) {
        let library = LIBRARIES.remove(library)?;
        KERNELS.remove_where(|kernel| kernel.library.handle == library.handle);
        for module in lock(&library.modules).values() {
            // The context may have gone before, and taken the module along.
            let _ = module::unload(module.handle);
        }
        Ok(())
    }

    fn cuLibraryGetKernel(place: *mut Handle, library: Handle, name: *const c_char) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, kernel(&LIBRARIES.get(library)?, text(name)?)?) }
    }

    fn cuLibraryGetKernelCount(place: *mut c_uint, library: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, LIBRARIES.get(library)?.names.len() as c_uint) }
    }

    fn cuLibraryGetModule(place: *mut Handle, library: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, LIBRARIES.get(library)?.module()?.handle) }
    }

    fn cuLibraryGetGlobal(address: *mut u64, bytes: *mut usize, library: Handle, name: *const c_char) {
        // SAFETY: the C caller's promise.
        let (at, size) = LIBRARIES.get(library)?.module()?.variable(unsafe { text(name) }?)?;
        // SAFETY: the C caller's promise.
        unsafe {
            put_if_wanted(address, at);
            put_if_wanted(bytes, size as usize);
        }
        Ok(())
    }

    fn cuKernelGetFunction(place: *mut Handle, kernel: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, function_of_kernel(kernel)?) }
    }

    fn cuKernelGetLibrary(place: *mut Handle, kernel: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, KERNELS.get(kernel)?.library.handle) }
    }

    fn cuKernelGetName(place: *mut *const c_char, kernel: Handle) {
        // SAFETY: the C caller's promise.
        unsafe { function::put_name(place, kernel) }
    }

    fn cuKernelGetParamInfo(kernel: Handle, index: usize, offset: *mut usize, bytes: *mut usize) {
        // SAFETY: the C caller's promise.
        unsafe { function::put_parameter(kernel, index, offset, bytes) }
    }

    fn cuKernelGetAttribute(place: *mut c_int, number: c_int, kernel: Handle, _device: c_int) {
        // SAFETY: the C caller's promise.
        unsafe { function::put_attribute(place, number, kernel) }
    }

    fn cuKernelSetAttribute(number: c_int, value: c_int, kernel: Handle, _device: c_int) {
        function::set_attribute(kernel, number, value)
    }

    fn cuKernelSetCacheConfig(kernel: Handle, _preference: c_uint, _device: c_int) {
        KERNELS.get(kernel)?;
        Ok(())
    }
}
