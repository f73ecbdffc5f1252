//! Progress of long jobs, and a first Ctrl-C that stops them between two steps.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes the first Ctrl-C (or SIGTERM) raise the flag that [`interrupted`] reads; a second one ends the process.
///
/// # Errors
/// When the process already has a handler.
pub fn stop_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; what is done stays usable (Ctrl-C again to stop at once)");
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether the user asked for a stop. Long jobs ask between two steps and then end with what they have.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// A progress line on standard error: done, total, rate and time left. Silent in a pipe.
pub struct Progress(ProgressBar);

impl Progress {
    /// A line for `total` steps of a job, shown if standard error is a terminal.
    pub fn new(label: &str, total: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let style =
            ProgressStyle::with_template("{prefix:>14} {bar:32} {human_pos}/{human_len} · {per_sec} · {eta} left{msg}")
                .expect("a constant template");
        let bar = ProgressBar::new(total).with_style(style);
        bar.set_prefix(label.to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// A line for a job of unknown length.
    pub fn counting(label: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let style = ProgressStyle::with_template("{prefix:>14} {human_pos} · {per_sec}").expect("a constant template");
        let bar = ProgressBar::no_length().with_style(style);
        bar.set_prefix(label.to_string());
        Self(bar)
    }

    /// A line that nobody sees.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Counts `steps` more steps done.
    pub fn add(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// Counts steps that an earlier run did: they say nothing of how fast this one is.
    pub fn skip(&self, steps: u64) {
        self.0.set_position(self.0.position() + steps);
        self.0.reset_eta();
    }

    /// What the line says behind the time left.
    pub fn note(&self, text: &str) {
        self.0.set_message(format!(" · {text}"));
    }

    /// Prints a line above the progress line.
    pub fn say(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
