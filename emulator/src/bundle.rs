//! Launches written out and run again.
//!
//! A bundle is a folder that holds all that a launch depends on and all that it did: `kernel.ptx`, `launch.json` (a
//! [`Manifest`]), and each live allocation's bytes in `before/` and `after/` as plain files. Nothing else is needed
//! to run it: not the program, not its data.

mod replay;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::check::{Checks, Report};
use crate::device::DeviceSpec;
use crate::memory::{Memory, Region};
use crate::options::Options;
use crate::{Cooperation, Launch, Module};

pub use replay::{Alternative, Difference, Replay, replay};

const FORMAT: u32 = 1;
const MANIFEST: &str = "launch.json";
const PTX: &str = "kernel.ptx";

/// `launch.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's version: 1.
    pub format: u32,
    /// The kernel's name.
    pub kernel: String,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Dynamic shared bytes of a block.
    pub dynamic_shared: u32,
    /// Whether all blocks were resident at once.
    pub cooperative: bool,
    /// The bytes of the parameters, two hexadecimal digits each.
    pub params: String,
    /// The device.
    pub device: DeviceSpec,
    /// The schedule's seed.
    pub seed: u64,
    /// What was checked.
    pub checks: Checks,
    /// Where the module's variables were.
    pub globals: Vec<Global>,
    /// Every live allocation, the variables' included.
    pub allocations: Vec<Stored>,
    /// The report, if the launch had a fault. There is no `after` then.
    pub fault: Option<Report>,
}

/// A variable of the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Global {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// An allocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// Its first byte's address.
    pub address: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// The file of its bytes before the launch.
    pub before: String,
    /// The file of its bytes after the launch.
    pub after: String,
    /// Offset and length of each stretch that nobody had written before the launch; its bytes in the file are zero.
    pub unwritten: Vec<[u64; 2]>,
}

/// What a bundle is made of.
pub(crate) struct Source<'a> {
    /// The PTX as the program gave it.
    pub ptx: &'a str,
    /// What became of it.
    pub code: &'a Module,
    /// The launch.
    pub launch: &'a Launch<'a>,
    /// The memory it will find.
    pub memory: &'a Memory,
    /// Device, seed and checks.
    pub options: &'a Options,
}

/// A bundle whose launch is under way.
pub(crate) struct Recording {
    folder: PathBuf,
    manifest: Manifest,
}

impl Recording {
    /// Writes what there is before the launch. An existing bundle of that name is replaced, anything else is not.
    pub fn begin(folder: &Path, source: &Source) -> Result<Self> {
        if folder.exists() {
            let empty = fs::read_dir(folder)?.next().is_none();
            ensure!(empty || folder.join(MANIFEST).exists(), "the folder exists and is no bundle");
            fs::remove_dir_all(folder)?;
        }
        for part in ["before", "after"] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join(PTX), source.ptx)?;
        let regions = source.memory.view().regions;
        let allocations = regions.iter().enumerate().map(|(index, region)| store(folder, index, region));
        let manifest = Manifest {
            format: FORMAT,
            kernel: source.launch.kernel.name().into(),
            grid: source.launch.grid,
            block: source.launch.block,
            dynamic_shared: source.launch.dynamic_shared,
            cooperative: source.launch.cooperative == Cooperation::Grid,
            params: hexadecimal(source.launch.params),
            device: source.options.device.clone(),
            seed: source.options.seed,
            checks: source.options.checks,
            globals: globals(source.code),
            allocations: allocations.collect::<Result<_>>()?,
            fault: None,
        };
        Ok(Self { folder: folder.into(), manifest })
    }

    /// Writes what there is after the launch.
    pub fn finish(self, memory: &Memory) -> Result<()> {
        for stored in &self.manifest.allocations {
            let mut bytes = vec![0; stored.bytes as usize];
            memory.read(stored.address, &mut bytes)?;
            fs::write(self.folder.join(&stored.after), bytes)?;
        }
        self.close()
    }

    /// Writes what was wrong with the launch.
    pub fn fail(mut self, report: &Report) -> Result<()> {
        self.manifest.fault = Some(report.clone());
        self.close()
    }

    // Last of all, so that a folder with a manifest is a whole bundle.
    fn close(self) -> Result<()> {
        let json = serde_json::to_string_pretty(&self.manifest)?;
        fs::write(self.folder.join(MANIFEST), json + "\n").context("the manifest")
    }
}

fn globals(code: &Module) -> Vec<Global> {
    code.globals()
        .map(|global| Global { name: global.name.clone(), address: global.addr, bytes: global.bytes })
        .collect()
}

fn store(folder: &Path, index: usize, region: &Region) -> Result<Stored> {
    let mut bytes = vec![0; region.bytes as usize];
    region.read(0, &mut bytes);
    let unwritten = unwritten(region);
    for &[offset, length] in &unwritten {
        bytes[offset as usize..(offset + length) as usize].fill(0);
    }
    let file = |part: &str| format!("{part}/{index:04}.bin");
    let stored = Stored {
        address: region.address,
        bytes: region.bytes,
        before: file("before"),
        after: file("after"),
        unwritten,
    };
    fs::write(folder.join(&stored.before), bytes).context(stored.before.clone())?;
    Ok(stored)
}

fn unwritten(region: &Region) -> Vec<[u64; 2]> {
    let mut stretches = Vec::new();
    let mut at = 0;
    while at < region.bytes
        && let Some(start) = region.first_unwritten(at, region.bytes - at)
    {
        at = start + 1;
        while at < region.bytes && region.first_unwritten(at, 1).is_some() {
            at += 1;
        }
        stretches.push([start, at - start]);
    }
    stretches
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Manifest {
    /// Reads the manifest of a bundle.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| format!("{}: not a bundle", path.display()))?;
        let manifest: Self = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(manifest.format == FORMAT, "{}: format {}, known is {FORMAT}", path.display(), manifest.format);
        Ok(manifest)
    }

    /// The parameters' bytes.
    pub fn param_bytes(&self) -> Result<Vec<u8>> {
        let digits = self.params.as_bytes();
        ensure!(digits.len().is_multiple_of(2) && self.params.is_ascii(), "`params` are pairs of hexadecimal digits");
        let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
        digits.chunks(2).map(byte).collect()
    }
}
