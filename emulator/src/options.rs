//! What can be chosen: the device, the schedule's seed, the checks, the threads, and what becomes of reports.

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::Checks;
use crate::device::DeviceSpec;

/// Everything that can be chosen. A context takes it over when it is made; all but the device can be changed
/// afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The device to pose as. JSON may give a name (`"h100"`) in the place of a description.
    pub device: DeviceSpec,
    /// Permutes the order of blocks and warps.
    pub seed: u64,
    /// What is checked.
    pub checks: Checks,
    /// Threads that run blocks; 0 is one for each core. No result depends on it.
    pub threads: usize,
    /// Whether reports of faults are printed.
    pub reports: Reports,
    /// Which call a fault fails first.
    pub faults: Faults,
    /// Launches whose counters are kept, the newest ones.
    pub kept_launches: usize,
    /// Launches to write out as bundles.
    pub record: Vec<Record>,
}

/// What becomes of the report of a fault, other than being kept for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reports {
    /// It is printed to the standard error.
    Print,
    /// Nothing.
    Keep,
}

/// Which call a fault fails first. Every later one in the context fails in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Faults {
    /// The launch, as with a driver under `CUDA_LAUNCH_BLOCKING=1`.
    FailTheLaunch,
    /// The call after it, as with a driver that is still busy when the launch returns.
    FailTheNextCall,
}

/// A launch to write out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The kernel's name.
    pub kernel: String,
    /// Which of its launches in the context, from 0.
    pub ordinal: u64,
    /// The folder to make.
    pub folder: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: DeviceSpec::default(),
            seed: 0,
            checks: Checks::default(),
            threads: 0,
            reports: Reports::Print,
            faults: Faults::FailTheLaunch,
            kept_launches: 4096,
            record: Vec::new(),
        }
    }
}

impl Options {
    /// These options with those that a JSON object names in the place of the present ones.
    pub fn updated(&self, json: &str) -> Result<Self> {
        let mut changes: Value = serde_json::from_str(json).context("options are a JSON object")?;
        let changes = changes.as_object_mut().ok_or_else(|| anyhow!("options are a JSON object, not {json}"))?;
        if let Some(Value::String(name)) = changes.get("device") {
            let device = DeviceSpec::named(name).ok_or_else(|| {
                anyhow!("no device is called `{name}`: there are a100, h100 and rtx4090, or describe one")
            })?;
            changes.insert("device".into(), serde_json::to_value(device)?);
        }
        let mut all = serde_json::to_value(self)?;
        for (name, value) in changes {
            all[name.as_str()] = value.take();
        }
        let options: Self = serde_json::from_value(all)?;
        ensure!(options.device.multiprocessors > 0, "a device needs multiprocessors");
        Ok(options)
    }

    /// A request from the environment: `kernel:ordinal:folder`.
    pub fn record_from(text: &str) -> Result<Record> {
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or_else(|| anyhow!("`{text}` is not `kernel:ordinal:folder`"));
        let (kernel, ordinal, folder) = (part()?.into(), part()?.parse()?, part()?.into());
        Ok(Record { kernel, ordinal, folder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_what_it_names() {
        let base = Options { seed: 7, ..Options::default() };
        let h100 = base.updated(r#"{"device": "H100", "threads": 2}"#).unwrap();
        assert_eq!((h100.seed, h100.threads, h100.device.compute), (7, 2, [9, 0]));
        let own = base.updated(r#"{"device": {"name": "tiny", "multiprocessors": 1, "memory_bytes": 1024}}"#).unwrap();
        assert_eq!((own.device.multiprocessors, own.device.memory_bytes, own.device.compute), (1, 1024, [8, 0]));
    }

    #[test]
    fn mistakes_in_options_are_named() {
        let message = |json| Options::default().updated(json).unwrap_err().to_string();
        assert!(message(r#"{"sed": 1}"#).contains("sed"));
        assert!(message(r#"{"device": "k80"}"#).contains("k80"));
        assert!(message("7").contains("object"));
    }

    #[test]
    fn a_record_request_may_name_a_folder_with_colons() {
        let record = Options::record_from("matmul:3:/tmp/a:b").unwrap();
        assert_eq!((record.kernel.as_str(), record.ordinal, record.folder.as_str()), ("matmul", 3, "/tmp/a:b"));
        assert!(Options::record_from("matmul").is_err());
    }
}
