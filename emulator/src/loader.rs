//! Loads the emulator as this process's CUDA driver.
//!
//! CUDA programs find their driver with `dlopen("libcuda.so")`, which answers with a library of that soname if one is
//! loaded already. [`open`] loads the shared library that cargo built beside the running program, and whoever looks
//! for the driver afterwards gets it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::DeserializeOwned;

use crate::check::Report;
use crate::driver::Launched;
use crate::options::Options;

/// The name that CUDA programs look for.
const SONAME: &CStr = c"libcuda.so";
/// The file that cargo makes of this crate.
const FILE: &str = "libglimmer_emulator.so";

type WithText = unsafe extern "C" fn(*const c_char) -> c_int;
type GivesText = unsafe extern "C" fn(*mut *mut c_char) -> c_int;
type Plain = unsafe extern "C" fn() -> c_int;
type FreesText = unsafe extern "C" fn(*mut c_char) -> c_int;

/// The loaded emulator. What it says of launches is about the calling thread's current context, which cudarc makes
/// current on its every call.
#[derive(Debug)]
pub struct Emulator {
    path: PathBuf,
    configure: WithText,
    configure_context: WithText,
    options: GivesText,
    counters: GivesText,
    report: GivesText,
    report_text: GivesText,
    last_failure: GivesText,
    forget: Plain,
    free: FreesText,
}

/// Loads the emulator as this process's CUDA driver, once; must come before the program's first call to CUDA.
///
/// ```
/// let emulator = glimmer_emulator::open().unwrap();
/// emulator.configure(r#"{"device": "h100", "seed": 3}"#).unwrap();
/// ```
pub fn open() -> Result<&'static Emulator> {
    static OPENED: OnceLock<Result<Emulator, String>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| load().map_err(|error| format!("{error:#}")));
    opened.as_ref().map_err(|error| anyhow!("{error}"))
}

#[cfg(not(target_os = "linux"))]
fn load() -> Result<Emulator> {
    bail!("the emulator poses as the driver on Linux alone: {FILE} and {SONAME:?} are names of its loader")
}

#[cfg(target_os = "linux")]
fn load() -> Result<Emulator> {
    if is_loaded() {
        bail!("a CUDA driver is loaded already: open the emulator before the first call to CUDA");
    }
    let mut tried = Vec::new();
    for path in candidates()? {
        match Library::open(&path) {
            Ok(library) => return bind(library, path),
            Err(error) => tried.push(error),
        }
    }
    bail!("{FILE} was not found beside this program; cargo builds it with the crate:\n  {}", tried.join("\n  "))
}

/// Where cargo puts the library: `deps`, and for packages named on the command line a copy in the folder above, which
/// may be an old one. A program that cargo did not place (a doc test) finds it by cargo's own library path.
fn candidates() -> Result<Vec<PathBuf>> {
    let program = std::env::current_exe().context("the path of this program")?;
    let folders = program.ancestors().skip(1).take(2);
    let beside = folders.flat_map(|folder| [folder.join("deps"), folder.to_path_buf()]);
    let mut paths: Vec<PathBuf> = beside.map(|folder| folder.join(FILE)).filter(|path| path.exists()).collect();
    paths.push(PathBuf::from(FILE));
    Ok(paths)
}

/// Whether the process has a driver.
#[cfg(target_os = "linux")]
fn is_loaded() -> bool {
    // SAFETY: the name is a string, and nothing is loaded that is not.
    !unsafe { libc::dlopen(SONAME.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) }.is_null()
}

#[cfg(target_os = "linux")]
struct Library(*mut c_void);

#[cfg(target_os = "linux")]
impl Library {
    /// Loads for good: the driver stays until the process ends.
    fn open(path: &Path) -> Result<Self, String> {
        let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: the library runs nothing when it is loaded.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if !library.is_null() {
            return Ok(Self(library));
        }
        // SAFETY: the loader's message is a string until its next call on this thread.
        let message = unsafe { libc::dlerror() };
        if message.is_null() {
            return Err(format!("{}: not loaded", path.display()));
        }
        // SAFETY: not null, as above.
        Err(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned())
    }

    /// # Safety
    /// `F` is the type of the function of that name.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F> {
        // SAFETY: the handle is a loaded library's, the name a string.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() {
            bail!("the library has no function {name:?}: it is another crate's, or an old one");
        }
        // SAFETY: function pointers are of a pointer's size, and the type is right by this function's contract.
        Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
    }
}

#[cfg(target_os = "linux")]
fn bind(library: Library, path: PathBuf) -> Result<Emulator> {
    // SAFETY: the types are those of the extension's declarations.
    let (emulator, version): (Emulator, GivesText) = unsafe {
        let emulator = Emulator {
            configure: library.function(c"emulatorConfigure")?,
            configure_context: library.function(c"emulatorConfigureContext")?,
            options: library.function(c"emulatorOptionsJson")?,
            counters: library.function(c"emulatorCountersJson")?,
            report: library.function(c"emulatorReportJson")?,
            report_text: library.function(c"emulatorReportText")?,
            last_failure: library.function(c"emulatorLastFailure")?,
            forget: library.function(c"emulatorForget")?,
            free: library.function(c"emulatorFreeText")?,
            path,
        };
        (emulator, library.function(c"emulatorVersion")?)
    };
    let (loaded, linked) = (emulator.text(version)?, env!("CARGO_PKG_VERSION"));
    if loaded != linked {
        bail!("{} is version {loaded}, the program was built with {linked}", emulator.path.display());
    }
    if !is_loaded() {
        bail!("{} is loaded, but not under the name {SONAME:?}", emulator.path.display());
    }
    Ok(emulator)
}

impl Emulator {
    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets options, as a JSON object with some of the fields of [`Options`], for contexts made from now on.
    pub fn configure(&self, json: &str) -> Result<()> {
        self.give(self.configure, json)
    }

    /// Sets options for the current context; its device cannot be changed any more.
    pub fn configure_context(&self, json: &str) -> Result<()> {
        self.give(self.configure_context, json)
    }

    /// The current context's options, or those of contexts yet to be made.
    pub fn options(&self) -> Result<Options> {
        self.json(self.options)
    }

    /// The current context's launches that came to their end, oldest first.
    pub fn launches(&self) -> Result<Vec<Launched>> {
        self.json(self.counters)
    }

    /// The same as JSON: a list of objects.
    pub fn launches_json(&self) -> Result<String> {
        self.text(self.counters)
    }

    /// The current context's newest report.
    pub fn report(&self) -> Result<Option<Report>> {
        self.json(self.report)
    }

    /// The same as JSON; `null` if there is none.
    pub fn report_json(&self) -> Result<String> {
        self.text(self.report)
    }

    /// The same as text; empty if there is none.
    pub fn report_text(&self) -> Result<String> {
        self.text(self.report_text)
    }

    /// Why this thread's newest failing driver call failed, in words; empty if none did since the last time.
    pub fn last_failure(&self) -> Result<String> {
        self.text(self.last_failure)
    }

    /// Forgets the current context's launches and report.
    pub fn forget(&self) -> Result<()> {
        // SAFETY: takes nothing.
        self.check(unsafe { (self.forget)() })
    }

    fn give(&self, function: WithText, json: &str) -> Result<()> {
        let json = CString::new(json).context("options with a zero byte")?;
        // SAFETY: a string, which the function only reads.
        self.check(unsafe { function(json.as_ptr()) })
    }

    fn text(&self, function: GivesText) -> Result<String> {
        self.raw_text(function).map_err(|code| self.reason(code))
    }

    fn raw_text(&self, function: GivesText) -> Result<String, c_int> {
        let mut text = std::ptr::null_mut();
        // SAFETY: a place for one pointer.
        match unsafe { function(&mut text) } {
            0 => {}
            code => return Err(code),
        }
        // SAFETY: the function gave a string, which is ours until it is freed.
        let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: freed once.
        unsafe { (self.free)(text) };
        Ok(copy)
    }

    fn json<T: DeserializeOwned>(&self, function: GivesText) -> Result<T> {
        let text = self.text(function)?;
        serde_json::from_str(&text).with_context(|| format!("what the emulator said: {text}"))
    }

    fn check(&self, code: c_int) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(self.reason(code)) }
    }

    fn reason(&self, code: c_int) -> anyhow::Error {
        match self.raw_text(self.last_failure) {
            Ok(reason) if !reason.is_empty() => anyhow!("{reason}"),
            _ => anyhow!("error {code}"),
        }
    }
}
