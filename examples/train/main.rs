//! Trains a reader: from settings to checkpoints.

mod args;
#[path = "../common/machine.rs"]
mod machine;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use glimmer::backend::{Backend, Backward};
use glimmer::experiment::{Ended, Plan, Trainer};
use glimmer::io::{Processes, interrupted, stop_on_interrupt};
use glimmer::model::Reader;
use glimmer::nn::Tree;
use glimmer::train::Together;

use args::{Args, Sums};
use machine::Work;

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let done = run(&Args::parse());
    if let Err(error) = &done {
        say(&format!("Error: {error:?}"));
    }
    match done {
        _ if interrupted() => INTERRUPTED.into(),
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(args: &Args) -> Result<()> {
    let plan = args.plan()?;
    if args.show {
        let mut out = std::io::stdout().lock();
        let shown = serde_json::to_writer_pretty(&mut out, &plan.settings).map_err(std::io::Error::from);
        return shown.and_then(|()| writeln!(out)).context("cannot write the settings to standard output");
    }
    stop_on_interrupt()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.map_or(0, usize::from))
        .build_global()
        .context("cannot start the threads")?;
    if let Some(address) = &args.rendezvous {
        say(&format!("meeting the other processes at {address}"));
    }
    args.machine.run(Train { plan, processes: args.processes()?, sums: args.sums })
}

struct Train {
    plan: Plan,
    /// None where this is the only one.
    processes: Option<Processes>,
    sums: Option<Sums>,
}

impl Work for Train {
    fn on<B: Backward + Clone>(self, machine: B, name: &str) -> Result<()> {
        let Self { plan, processes, sums } = self;
        match &processes {
            Some(processes) => say(&format!("machine of process {}: {name}", processes.rank())),
            None => say(&format!("machine: {name}")),
        }
        let together = match processes {
            None => Together::alone(),
            Some(processes) if sums == Some(Sums::Hosts) => Together::by_hosts(processes),
            Some(processes) => Together::by_devices(&machine, processes).context("--sums hosts does without")?,
        };
        ensure!(
            sums != Some(Sums::Nccl) || together.adds_up_on_devices(),
            "--sums nccl is of CUDA's devices alone: --sums hosts"
        );
        if !together.is_first() {
            return Trainer::open_together(machine, plan, together)?.run().map(drop);
        }
        train(machine, plan, together)
    }

    fn needs_gradients(&self) -> bool {
        true
    }
}

fn train<B: Backward>(machine: B, plan: Plan, together: Together<B>) -> Result<()> {
    let output = plan.output.clone();
    let steps = plan.settings.steps;
    let mut trainer = Trainer::open_together(machine, plan, together)?;
    trainer.notes().iter().for_each(|note| say(note));
    say(&describe(trainer.reader()));
    match trainer.state().step {
        0 => say(&format!("{steps} steps, into {}", output.display())),
        done => say(&format!("going on at step {done} of {steps}, in {}", output.display())),
    }
    match trainer.run()? {
        Ended::Stopped => {
            say(&format!("stopped after step {} of {steps}; the same command goes on from there", trainer.state().step))
        }
        Ended::Finished => match &trainer.state().best {
            Some(best) => say(&format!("best at step {}: {}", best.step, output.join("best").display())),
            None => say(&format!("the last step's checkpoint: {}", output.join("best").display())),
        },
    }
    Ok(())
}

fn describe<B: Backend>(reader: &Reader<B>) -> String {
    let parameters: usize = reader.weights.leaves().iter().map(|w| w.rows * w.cols).sum();
    let (config, glimmer) = (&reader.config, &reader.glimmer);
    format!(
        "reader: {:.1} million parameters; {} of {} encoder layers live, {} rerank, {} passages read",
        parameters as f64 / 1e6,
        glimmer.live_layers,
        config.num_layers,
        glimmer.rerank_layers,
        glimmer.selected
    )
}

/// A line on standard error, where progress goes too. Nobody may be there to read it.
fn say(line: &str) {
    let start = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let _ = writeln!(std::io::stderr(), "{start}{line}");
}

/// The folder that holds the data of the repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
