//! A run's folders: `last`, from which it goes on bit for bit, and `best`, the checkpoint to use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::settings::Settings;
use super::state::State;
use crate::backend::Backend;
use crate::io::{Lock, Stored, Tokenizer, settle_folder, write_atomic, write_folder, write_tensors};
use crate::model::{Reader, Spec, Weights};
use crate::nn::Tree;
use crate::train::{Exact, Optimiser};

const SETTINGS: &str = "experiment.json";
const STATE: &str = "state.json";
const OPTIMISER: &str = "optimiser.safetensors";
const WEIGHTS: &str = "model.safetensors";

/// The folder of a run, in which one process at a time works; others may read there what it was saved with.
pub struct Output {
    folder: PathBuf,
    /// Held by the one that works there.
    _lock: Option<Lock>,
}

/// All that is saved of a run.
pub struct Saved<'a, B: Backend> {
    /// The weights.
    pub reader: &'a Reader<B>,
    /// Their names.
    pub specs: &'a Weights<Spec>,
    /// The optimiser and its state.
    pub optimiser: &'a Optimiser<B>,
    /// The rest.
    pub state: &'a State,
    /// The experiment.
    pub settings: &'a Settings,
    /// Folder with the tokenizer.
    pub tokenizer: &'a Path,
}

/// What the checkpoint in a folder was trained with; none where it does not say.
///
/// # Errors
/// A file of that name that is no experiment.
pub fn trained_with(checkpoint: &Path) -> Result<Option<Settings>> {
    let path = checkpoint.join(SETTINGS);
    if path.exists() { Settings::read(&path).map(Some) } else { Ok(None) }
}

impl Output {
    /// Opens or creates the folder of a run, and puts right what a kill left there.
    ///
    /// # Errors
    /// A folder of something else, or of a run with other settings; a run that works there now; those of the file
    /// system.
    pub fn open(folder: &Path, settings: &Settings) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let echo = folder.join(SETTINGS);
        let begun = echo.exists();
        if begun {
            settings
                .check_continues(&Settings::read(&echo)?)
                .with_context(|| format!("cannot go on in {}", folder.display()))?;
        } else {
            let mut entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
            let foreign = |entry: &std::fs::DirEntry| entry.file_name() != ".lock" && !is_partial(entry);
            let foreign = entries.find_map(|entry| entry.ok().filter(foreign));
            ensure!(
                foreign.is_none(),
                "{} holds something else ({}): name a folder of the run's own",
                folder.display(),
                foreign.map_or_else(String::new, |entry| entry.file_name().to_string_lossy().into_owned())
            );
        }
        let lock = Lock::try_take(&folder.join(".lock"))?;
        let lock = lock.with_context(|| format!("another run works in {} now: wait for it", folder.display()))?;
        settings.write(&echo)?;
        remove_partial_files(folder);
        let output = Self { folder: folder.to_path_buf(), _lock: Some(lock) };
        settle_folder(&output.last())?;
        settle_folder(&output.best())?;
        Ok(output)
    }

    /// The folder of a run that another process works in.
    pub fn of_another(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), _lock: None }
    }

    /// A file or folder of the run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder from which the run goes on.
    pub fn last(&self) -> PathBuf {
        self.path("last")
    }

    /// The folder of the best checkpoint.
    pub fn best(&self) -> PathBuf {
        self.path("best")
    }

    /// Where the run is, if it has been saved.
    ///
    /// # Errors
    /// A damaged file.
    pub fn state(&self) -> Result<Option<State>> {
        if !self.last().exists() {
            return Ok(None);
        }
        let path = self.last().join(STATE);
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let state = serde_json::from_slice(&text);
        let damaged = || format!("{} is damaged: delete {} to begin anew", path.display(), self.folder.display());
        Ok(Some(state.with_context(damaged)?))
    }

    /// Gives an optimiser the state that it was saved with.
    ///
    /// # Errors
    /// A damaged file.
    pub fn restore<B: Backend>(&self, be: &B, specs: &Weights<Spec>, optimiser: &mut Optimiser<B>) -> Result<()> {
        optimiser.restore(be, specs, &self.last().join(OPTIMISER))
    }

    /// Saves everything that the run goes on from. The weights are as exact as the machine has them; the folder is a
    /// checkpoint too.
    ///
    /// # Errors
    /// Those of the machine and of the file system.
    pub fn save_last<B: Backend>(&self, saved: &Saved<'_, B>) -> Result<()> {
        let Saved { reader, specs, optimiser, state, settings, tokenizer } = *saved;
        write_folder(&self.last(), |folder| {
            save_exact(reader, specs, &folder.join(WEIGHTS))?;
            reader.config.write(folder)?;
            optimiser.save(&reader.be, specs, &folder.join(OPTIMISER))?;
            Tokenizer::copy(tokenizer, folder)?;
            settings.write(&folder.join(SETTINGS))?;
            write_atomic(&folder.join(STATE), |file| Ok(serde_json::to_writer_pretty(file, state)?))
        })
    }

    /// Saves a checkpoint to be used, in bf16.
    ///
    /// # Errors
    /// Those of the machine and of the file system.
    pub fn save_best<B: Backend>(&self, saved: &Saved<'_, B>) -> Result<()> {
        write_folder(&self.best(), |folder| {
            saved.reader.save(folder)?;
            Tokenizer::copy(saved.tokenizer, folder)?;
            saved.settings.write(&folder.join(SETTINGS))
        })
    }
}

/// Whether it is a file that a kill kept from its place.
fn is_partial(entry: &std::fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(".partial-") && entry.path().is_file()
}

/// Clears away what kills left; what cannot be removed does no harm.
fn remove_partial_files(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(is_partial).for_each(|entry| _ = std::fs::remove_file(entry.path()));
}

/// Writes weights without loss.
fn save_exact<B: Backend>(reader: &Reader<B>, specs: &Weights<Spec>, path: &Path) -> Result<()> {
    let leaves = specs.leaves().into_iter().zip(reader.weights.leaves());
    let tensors = leaves.map(|(spec, w)| Ok((spec.name.clone(), spec.stored_shape(), Exact::mat(&reader.be, w)?)));
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    let stored: Vec<(String, Vec<usize>, Stored<'_>)> =
        tensors.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), values.stored())).collect();
    write_tensors(path, &BTreeMap::new(), &stored)
}
