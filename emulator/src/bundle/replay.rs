//! Bundles run again.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Manifest, PTX, Stored};
use crate::check::Report;
use crate::memory::Memory;
use crate::{Cooperation, Counters, Launch, Module, Settings};

/// What a replay does otherwise than the recording.
#[derive(Clone, Debug, Default)]
pub struct Alternative {
    /// Another compilation of the kernel.
    pub ptx: Option<PathBuf>,
    /// Another schedule.
    pub seed: Option<u64>,
    /// Threads that run blocks; 0 is one for each core.
    pub threads: usize,
}

/// What became of a bundle.
#[derive(Debug)]
pub struct Replay {
    /// The launch.
    pub manifest: Manifest,
    /// Its counters, or what was wrong with it.
    pub outcome: Result<Counters, Report>,
    /// Allocations that are not as the recording left them.
    pub differences: Vec<Difference>,
}

/// An allocation that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The allocation's file in the bundle.
    pub file: String,
    /// The allocation's address.
    pub address: u64,
    /// Bytes that differ.
    pub bytes: u64,
    /// Offset of the first of them.
    pub first: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, address, bytes, first } = self;
        write!(f, "{file} (allocation at {address:#x}): {bytes} bytes differ, the first at offset {first}")
    }
}

impl Replay {
    /// Whether the launch did what it did when it was recorded, a fault of the same kind at the same place included.
    pub fn agrees(&self) -> bool {
        let same_fault = match (&self.outcome, &self.manifest.fault) {
            (Ok(_), None) => true,
            (Err(now), Some(then)) => now.fault.kind == then.fault.kind && now.place == then.place,
            _ => false,
        };
        same_fault && self.differences.is_empty()
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(counters) => writeln!(f, "{counters}")?,
            Err(report) => writeln!(f, "{report}")?,
        }
        if let (Ok(_), Some(fault)) = (&self.outcome, &self.manifest.fault) {
            writeln!(f, "the recording had a fault: {fault}")?;
        }
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        write!(f, "{}", if self.agrees() { "as recorded" } else { "NOT as recorded" })
    }
}

/// Runs a bundle and compares what it leaves in memory with what the recording left there, byte for byte.
pub fn replay(folder: &Path, alternative: &Alternative) -> Result<Replay> {
    let manifest = Manifest::read(folder)?;
    let memory = Memory::new(manifest.device.memory_bytes);
    for stored in &manifest.allocations {
        restore(folder, stored, &memory).with_context(|| stored.before.clone())?;
    }
    let module = module(folder, alternative, &manifest)?;
    let kernel = module.kernel(&manifest.kernel);
    let kernel = kernel.ok_or_else(|| anyhow!("the PTX has no kernel `{}`", manifest.kernel))?;
    let params = manifest.param_bytes()?;
    let launch = Launch {
        kernel: &kernel,
        grid: manifest.grid,
        block: manifest.block,
        dynamic_shared: manifest.dynamic_shared,
        params: &params,
        cooperative: if manifest.cooperative { Cooperation::Grid } else { Cooperation::None },
    };
    let settings = Settings {
        seed: alternative.seed.unwrap_or(manifest.seed),
        checks: manifest.checks,
        threads: alternative.threads,
        device: manifest.device.clone(),
    };
    let outcome = crate::launch(&launch, &memory, &settings);
    let differences = match (&outcome, &manifest.fault) {
        (Ok(_), None) => compare(folder, &manifest, &memory)?,
        _ => Vec::new(),
    };
    Ok(Replay { manifest, outcome, differences })
}

fn module(folder: &Path, alternative: &Alternative, manifest: &Manifest) -> Result<Module> {
    let path = alternative.ptx.clone().unwrap_or_else(|| folder.join(PTX));
    let ptx = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut module = Module::parse(&ptx).with_context(|| path.display().to_string())?;
    let address_of =
        |name: &str| manifest.globals.iter().find(|global| global.name == name).map(|global| global.address);
    module.place_globals_at(&address_of).map_err(|name| anyhow!("the recording has no variable `{name}`"))?;
    Ok(module)
}

fn restore(folder: &Path, stored: &Stored, memory: &Memory) -> Result<()> {
    let bytes = fs::read(folder.join(&stored.before))?;
    ensure!(bytes.len() as u64 == stored.bytes, "{} bytes, the manifest has {}", bytes.len(), stored.bytes);
    let placed = memory.alloc_at(stored.address, stored.bytes);
    placed.ok_or_else(|| anyhow!("two allocations overlap at {:#x}", stored.address))?;
    memory.write(stored.address, &bytes)?;
    for &[offset, length] in &stored.unwritten {
        memory.forget(stored.address + offset, length)?;
    }
    Ok(())
}

fn compare(folder: &Path, manifest: &Manifest, memory: &Memory) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for stored in &manifest.allocations {
        let then = fs::read(folder.join(&stored.after)).with_context(|| stored.after.clone())?;
        let mut now = vec![0; stored.bytes as usize];
        memory.read(stored.address, &mut now)?;
        ensure!(then.len() == now.len(), "{}: {} bytes, the manifest has {}", stored.after, then.len(), now.len());
        let unequal = || then.iter().zip(&now).enumerate().filter(|(_, (then, now))| then != now);
        if let Some((first, _)) = unequal().next() {
            differences.push(Difference {
                file: stored.after.clone(),
                address: stored.address,
                bytes: unequal().count() as u64,
                first: first as u64,
            });
        }
    }
    Ok(differences)
}
