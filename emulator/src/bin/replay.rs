//! Runs a recorded launch again and says whether it does what it did.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use glimmer_emulator::bundle::{Alternative, Manifest, replay};
use glimmer_emulator::device::DeviceSpec;

const USAGE: &str = "\
usage: replay BUNDLE [--ptx FILE] [--seed N] [--threads N] [--device NAME] [--json] [--show]

  BUNDLE         a folder that the emulator wrote (option `record`, or GLIMMER_EMULATOR_RECORD=kernel:ordinal:folder)
  --ptx FILE     another compilation of the same kernel
  --seed N       another order of blocks and warps
  --threads N    threads that run blocks (0: one for each core)
  --device NAME  occupancy and estimate for a100, h100 or rtx4090, where the bundle was recorded for another one
  --json         counters or report as JSON
  --show         what is in the bundle, without running it

Exits with 0 if the launch did what it did when it was recorded, 1 if not, 2 if the bundle cannot be run.";

struct Arguments {
    bundle: PathBuf,
    alternative: Alternative,
    device: Option<DeviceSpec>,
    output: Output,
}

enum Output {
    Text,
    Json,
    Show,
}

fn arguments() -> Result<Option<Arguments>> {
    let (mut bundle, mut alternative, mut device, mut output) = (None, Alternative::default(), None, Output::Text);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        match word.as_str() {
            "--ptx" => alternative.ptx = Some(value()?.into()),
            "--seed" => alternative.seed = Some(value()?.parse().context("--seed")?),
            "--threads" => alternative.threads = value()?.parse().context("--threads")?,
            "--device" => {
                let name = value()?;
                device = Some(DeviceSpec::named(&name).with_context(|| format!("no device is called `{name}`"))?);
            }
            "--json" => output = Output::Json,
            "--show" => output = Output::Show,
            "--help" | "-h" => return Ok(None),
            _ if word.starts_with('-') || bundle.is_some() => bail!("`{word}` is not understood\n\n{USAGE}"),
            _ => bundle = Some(word.into()),
        }
    }
    let Some(bundle) = bundle else { bail!("{USAGE}") };
    Ok(Some(Arguments { bundle, alternative, device, output }))
}

fn show(manifest: &Manifest) {
    println!("kernel {}, grid {:?}, block {:?}", manifest.kernel, manifest.grid, manifest.block);
    println!("dynamic shared bytes {}, parameters {}", manifest.dynamic_shared, manifest.params);
    println!("recorded on {}, seed {}", manifest.device.name, manifest.seed);
    for stored in &manifest.allocations {
        let unwritten: u64 = stored.unwritten.iter().map(|[_, length]| length).sum();
        println!("{:#x}  {:>12} bytes  {}  {unwritten} never written", stored.address, stored.bytes, stored.before);
    }
    if let Some(fault) = &manifest.fault {
        println!("{fault}");
    }
}

fn run() -> Result<ExitCode> {
    let Some(Arguments { bundle, alternative, device, output }) = arguments()? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    if let Output::Show = output {
        show(&Manifest::read(&bundle)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut replay = replay(&bundle, &alternative)?;
    if let (Some(device), Ok(counters)) = (&device, &mut replay.outcome) {
        *counters = counters.on(device);
    }
    match (&output, &replay.outcome) {
        (Output::Json, Ok(counters)) => println!("{}", serde_json::to_string_pretty(counters)?),
        (Output::Json, Err(report)) => println!("{}", serde_json::to_string_pretty(report)?),
        _ => println!("{replay}"),
    }
    Ok(if replay.agrees() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(2)
    })
}
