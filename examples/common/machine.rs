//! The machine that an example computes on: what the command line says of it, and the choice that follows.
#![allow(dead_code, reason = "every example compiles all of this and uses its part")]

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use glimmer::backend::{Backend, Backward};
use glimmer::cpu::{Cpu, Packing};
use glimmer::cuda::{Absent, Cuda, Device, Float, devices};
use half::bf16;

/// Which machine, and which numbers.
#[derive(Args, Clone, Copy)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// Machine to compute on; "auto" is a CUDA device where there is one, else the CPU; "emulated" runs the CUDA
    /// kernels on the CPU, checked and slow
    #[arg(long, value_enum, value_name = "NAME", default_value = "auto")]
    pub backend: Machine,
    /// Type of the numbers: the CPU computes in f32 and f64, CUDA in f32 and bf16. For reading alone, the CPU also has
    /// int8 (products of 8-bit integers, the rest in f32) and bf16 (f32 with weights stored in bf16)
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    pub precision: Precision,
    /// Number of the CUDA device, as the driver counts them [default: the first that will do]
    #[arg(long, value_name = "N")]
    pub device: Option<usize>,
}

/// What `--backend` may be.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Machine {
    Auto,
    Cuda,
    Emulated,
    Cpu,
}

/// What `--precision` may be.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    F32,
    F64,
    Bf16,
    Int8,
}

/// What an example does on any machine. `name` is how to show it.
pub trait Work: Sized {
    fn on<B: Backward + Clone>(self, machine: B, name: &str) -> Result<()>;

    /// Whether it takes gradients of weights.
    fn needs_gradients(&self) -> bool {
        false
    }
}

impl MachineArgs {
    /// Does the work on the machine that was chosen.
    ///
    /// # Errors
    /// A machine that is not there, or has no such numbers; what the work reports.
    pub fn run(self, work: impl Work) -> Result<()> {
        match self.backend {
            Machine::Cpu => self.on_cpu(work, ""),
            Machine::Cuda => {
                let device = self.found().context("--backend cuda: there is no device to compute on")?;
                self.on_cuda(&device, work, "", "")
            }
            Machine::Emulated => {
                glimmer_emulator::open().context("--backend emulated")?;
                self.on_cuda(&self.found()?, work, "emulated ", "")
            }
            Machine::Auto if self.device.is_some() => {
                let device = self.found().context("--device: there is none")?;
                self.on_cuda(&device, work, "", " (auto: --device is given)")
            }
            Machine::Auto => self.on_best(devices().map(|mut all| all.swap_remove(0)), work),
        }
    }

    /// The device that was asked for.
    fn found(self) -> Result<Device> {
        let mut all = devices()?;
        let place = self.device.map_or(Some(0), |number| all.iter().position(|device| device.ordinal == number));
        let place = place.with_context(|| {
            let there: Vec<String> = all.iter().map(|device| format!("{} ({device})", device.ordinal)).collect();
            format!("no device has that number and will do; those that will: {}", there.join(", "))
        })?;
        Ok(all.swap_remove(place))
    }

    fn on_best(self, found: Result<Device, Absent>, work: impl Work) -> Result<()> {
        match found {
            Ok(_) if self.precision == Precision::F64 => self.on_cpu(work, " (auto: of the machines, it has f64)"),
            Ok(_) if self.precision == Precision::Int8 => self.on_cpu(work, " (auto: of the machines, it has int8)"),
            Ok(device) => self.on_cuda(&device, work, "", " (auto: there is a device)"),
            Err(why) if self.precision == Precision::Bf16 && work.needs_gradients() => bail!(
                "--precision bf16: gradients in it are of CUDA alone, and there is no device: {why}; --backend emulated \
                 needs none"
            ),
            Err(why) => self.on_cpu(work, &format!(" (auto: {why})")),
        }
    }

    fn on_cpu(self, work: impl Work, why: &str) -> Result<()> {
        fn run<B: Backward + Clone>(machine: B, work: impl Work, why: &str) -> Result<()> {
            let name = format!("{}{why}", machine.describe());
            work.on(machine, &name)
        }
        let packing = match self.precision {
            Precision::F32 if work.needs_gradients() => return run(Cpu::<f32>::default(), work, why),
            Precision::F32 => Packing::F32,
            Precision::F64 => return run(Cpu::<f64>::default(), work, why),
            Precision::Bf16 => Packing::Bf16,
            Precision::Int8 => Packing::Int8,
        };
        if work.needs_gradients() {
            let name = if packing == Packing::Bf16 { "bf16" } else { "int8" };
            bail!("--precision {name}: on the CPU that is for reading; it takes gradients in f32 or f64");
        }
        run(Cpu::packing(packing), work, why)
    }

    fn on_cuda(self, device: &Device, work: impl Work, emulated: &str, why: &str) -> Result<()> {
        fn run<E: Float>(device: &Device, work: impl Work, emulated: &str, why: &str) -> Result<()> {
            let machine = Cuda::<E>::new(device)?;
            let name = format!("{emulated}{}{why}", machine.describe());
            work.on(machine, &name)
        }
        match self.precision {
            Precision::F32 => run::<f32>(device, work, emulated, why),
            Precision::Bf16 => run::<bf16>(device, work, emulated, why),
            Precision::F64 => bail!("--precision f64: the CUDA kernels are for f32 and bf16; the CPU has f64"),
            Precision::Int8 => bail!("--precision int8: the CUDA kernels are for f32 and bf16; the CPU has int8"),
        }
    }
}
