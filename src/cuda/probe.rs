//! Whether there is a device that the kernels run on: a value, and never a panic.

use std::ffi::c_int;
use std::fmt;

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{DriverError, result};

/// The oldest driver that takes the kernels' PTX, as CUDA writes versions.
const DRIVER: c_int = 12_000;
/// The oldest devices that have the kernels' instructions.
const CAPABILITY: (c_int, c_int) = (8, 0);

/// A device that the kernels run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The driver's number for it.
    pub ordinal: usize,
    /// What its maker calls it.
    pub name: String,
    /// Its compute capability, major and minor.
    pub capability: (i32, i32),
    /// Its multiprocessors.
    pub multiprocessors: usize,
    /// Shared memory that a block may have.
    pub shared_bytes: usize,
    /// Its memory.
    pub bytes: usize,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, capability: (major, minor), bytes, .. } = self;
        write!(f, "{name} (compute capability {major}.{minor}, {:.0} GB)", *bytes as f64 / 1e9)
    }
}

/// Why there is no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent(String);

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Absent {}

/// The first device that the kernels run on.
///
/// # Errors
/// Why there is none: no driver, an old one, no device, only old ones.
pub fn probe() -> Result<Device, Absent> {
    devices().map(|mut all| all.swap_remove(0))
}

/// All devices that the kernels run on, at least one.
///
/// # Errors
/// As those of [`probe`].
pub fn devices() -> Result<Vec<Device>, Absent> {
    // Without the library, every other call of the binding panics.
    // SAFETY: looks for the library and loads it.
    if !unsafe { sys::is_culib_present() } {
        return Err(Absent("no CUDA driver is installed (no libcuda.so)".into()));
    }
    let asked = |what: &str, error| Absent(format!("the CUDA driver cannot {what}: {}", Failed(error)));
    result::init().map_err(|error| asked("start", error))?;
    let version = driver_version().map_err(|error| asked("say its version", error))?;
    if version < DRIVER {
        let [found, wanted] = [version, DRIVER].map(|v| format!("{}.{}", v / 1000, v % 1000 / 10));
        return Err(Absent(format!("the driver is for CUDA {found}, and {wanted} is the oldest that will do")));
    }
    let count = result::device::get_count().map_err(|error| asked("count its devices", error))?;
    let (mut all, mut old) = (Vec::new(), Vec::new());
    for ordinal in 0..count {
        let device = describe(ordinal).map_err(|error| asked(&format!("describe device {ordinal}"), error))?;
        if device.capability >= CAPABILITY {
            all.push(device);
        } else {
            old.push(device.to_string());
        }
    }
    if !all.is_empty() {
        return Ok(all);
    }
    if old.is_empty() {
        return Err(Absent("the CUDA driver has no device".into()));
    }
    let (major, minor) = CAPABILITY;
    Err(Absent(format!("the kernels need compute capability {major}.{minor}, which {} lacks", old.join(" and "))))
}

fn driver_version() -> Result<c_int, DriverError> {
    let mut version = 0;
    // SAFETY: a place for the number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(version)
}

fn describe(ordinal: c_int) -> Result<Device, DriverError> {
    let device = result::device::get(ordinal)?;
    // SAFETY: the driver gave this device.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(Device {
        ordinal: ordinal as usize,
        name: result::device::get_name(device)?,
        capability: (major, minor),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize,
        shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
        // SAFETY: as above.
        bytes: unsafe { result::device::total_mem(device) }?,
    })
}

/// A driver's error, for people. The binding's own formatting asks the driver for words, and panics if it has none.
pub(super) struct Failed(pub(super) DriverError);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        match (error.error_name(), error.error_string()) {
            (Ok(name), Ok(words)) => write!(f, "{} ({})", words.to_string_lossy(), name.to_string_lossy()),
            _ => write!(f, "error {}", error.0 as u32),
        }
    }
}
