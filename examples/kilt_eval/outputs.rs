//! Where results go: checked before the work begins, written after it.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use glimmer::eval::{Report, SCORE_AXIS, plot, plot_panels};
use glimmer::io::write_atomic;

use crate::args::Args;
use crate::plan::{panels, planned};
use crate::{notes, say};

/// Tries every place that results are to go to, so that hours of reading do not end in an error.
///
/// # Errors
/// The option, the place, and why nothing can be written there.
pub fn check(args: &Args) -> Result<()> {
    for (option, path) in [("--json", &args.json), ("--plot", &args.plot)] {
        if let Some(path) = path {
            check_file(path).with_context(|| format!("{option} {} cannot be written", path.display()))?;
        }
    }
    ensure!(args.json.is_none() || args.json != args.plot, "--json and --plot name the same file");
    if let Some(folder) = &args.predictions {
        for planned in planned(args) {
            let folder = folder.join(planned.label);
            check_folder(&folder)
                .with_context(|| format!("--predictions cannot be written into {}", folder.display()))?;
        }
    }
    Ok(())
}

/// A result is renamed into its place, which would put a plain file where a device or a folder is.
fn check_file(path: &Path) -> Result<()> {
    if let Ok(there) = path.metadata() {
        ensure!(there.is_file(), "something that is no plain file is there already");
    }
    ensure!(path.file_name().is_some(), "it names no file");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    try_folder(folder)
}

fn check_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot create the folder")?;
    try_folder(folder)
}

fn try_folder(folder: &Path) -> Result<()> {
    tempfile::tempfile_in(folder).with_context(|| format!("cannot create a file in {}", folder.display()))?;
    Ok(())
}

/// Writes the files first: they are safe then, whatever becomes of standard output.
///
/// # Errors
/// Those of the file system.
pub fn write(args: &Args, report: &Report) -> Result<()> {
    if let Some(path) = &args.json {
        write_atomic(path, |file| Ok(serde_json::to_writer_pretty(file, report)?))?;
        say(&format!("numbers: {}", path.display()));
    }
    if let Some(path) = &args.plot {
        // Only a run that was cut short comes here without a score.
        if report.readers.iter().any(|reader| reader.mean.score.is_some()) {
            match args.curves {
                true => plot_panels(&panels(|label| report.score(label)), SCORE_AXIS, path)?,
                false => plot(report, path)?,
            }
            say(&format!("plot: {}", path.display()));
        } else {
            say("no plot: nothing that has a score was read");
        }
    }
    let mut out = std::io::stdout().lock();
    match write!(out, "{}\n{}", report.tables(), notes(args, report)).and_then(|()| out.flush()) {
        // Whoever closed the pipe, as `head` does, has seen enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the tables to standard output"),
    }
}
