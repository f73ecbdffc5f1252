//! Which files of a folder hold its weights.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The weights of a folder.
#[derive(Debug)]
pub(super) enum Weights {
    /// All in one file.
    File(PathBuf),
    /// Each tensor's shard (a file name), by the tensor's name, as the file `index` says.
    Shards { index: PathBuf, tensors: BTreeMap<String, String> },
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Finds the weights of a folder.
pub(super) fn weights(folder: &Path) -> Result<Weights> {
    let whole = folder.join(WHOLE);
    if whole.is_file() {
        return Ok(Weights::File(whole));
    }
    let index = folder.join(INDEX);
    if index.is_file() {
        let tensors = shards(&index)?;
        return Ok(Weights::Shards { index, tensors });
    }
    let names = file_names(folder)?;
    let found: Vec<&String> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
    match found[..] {
        [only] => Ok(Weights::File(folder.join(only))),
        [] => bail!(nothing_there(folder, &names)),
        _ => bail!(
            "{} has {} safetensors files and neither {WHOLE} nor {INDEX} to say which ones count: {found:?}",
            folder.display(),
            found.len()
        ),
    }
}

fn shards(index: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read(index).with_context(|| format!("cannot read {}", index.display()))?;
    let parsed: Index = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not an index of shards (an object weight_map)", index.display()))?;
    for shard in parsed.weight_map.values() {
        let mut parts = Path::new(shard).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        ensure!(plain, "{} names the shard {shard:?}, which is not a file beside it", index.display());
    }
    Ok(parsed.weight_map)
}

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list the checkpoint folder {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn nothing_there(folder: &Path, names: &[String]) -> String {
    let folder = folder.display();
    match names.iter().find(|name| name.starts_with("pytorch_model") && name.contains(".bin")) {
        Some(pickle) => format!(
            "{folder} has its weights in {pickle} only, a format that runs code when read. Convert it once:\n    \
             python3 scripts/convert_t5.py {folder}"
        ),
        None => {
            format!("{folder} has no weights: looked for {WHOLE}, {INDEX}, any one *.safetensors and pytorch_model.bin")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        format!("{:#}", weights(folder.path()).unwrap_err())
    }

    #[test]
    fn a_pickle_gets_the_command_that_converts_it() {
        for name in ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"] {
            let said = complaint(&[(name, "")]);
            assert!(said.contains("python3 scripts/convert_t5.py /"), "{said}");
        }
    }

    #[test]
    fn an_empty_or_missing_folder_says_what_was_looked_for() {
        let said = complaint(&[("config.json", "{}")]);
        assert!(said.contains(WHOLE) && said.contains(INDEX), "{said}");
        let missing = weights(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(format!("{missing:#}").contains("/nowhere/at/all"));
    }

    #[test]
    fn two_files_without_an_index_are_not_guessed_at() {
        let said = complaint(&[("a.safetensors", ""), ("b.safetensors", "")]);
        assert!(said.contains("a.safetensors") && said.contains("b.safetensors"), "{said}");
    }

    #[test]
    fn a_damaged_index_is_named_and_stays_in_its_folder() {
        assert!(complaint(&[(INDEX, "{")]).contains(INDEX));
        assert!(complaint(&[(INDEX, "{\"weights\":{}}")]).contains("weight_map"));
        for shard in ["../elsewhere.safetensors", "/etc/passwd", "..", ""] {
            let said = complaint(&[(INDEX, &format!("{{\"weight_map\":{{\"w\":\"{shard}\"}}}}"))]);
            assert!(said.contains("not a file beside it"), "{said}");
        }
    }
}
