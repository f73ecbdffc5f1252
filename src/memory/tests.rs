//! Tests of the store as a whole.

use std::path::Path;

use super::*;
use crate::io::Progress;

mod build;
mod crash;
mod damage;
mod edit;
mod process;

const WIDTH: usize = 4;
const ENCODER: &str = "encoder";

/// Shards of three or four passages.
fn spec(format: Format) -> Spec {
    Spec { shard_bytes: 256, ..Spec::new(WIDTH, format, ENCODER) }
}

/// A folder in memory where the system has one: these tests flush files by the thousand.
fn new_folder() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    let folder = if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
    folder.unwrap()
}

fn id(n: usize) -> String {
    format!("{}:{n}", n * 7)
}

/// The encoding of passage `n`: one to twelve tokens.
fn rows(n: usize) -> Vec<f32> {
    let tokens = 1 + n * 5 % 12;
    (0..tokens * WIDTH).map(|at| ((at * 37 + n * 101) % 255) as f32 - 127.0).collect()
}

/// Adds the passages that are missing.
fn add_missing(builder: &mut Builder, passages: impl IntoIterator<Item = usize>) -> anyhow::Result<()> {
    for n in passages {
        if !builder.contains(&id(n)) {
            builder.add(&id(n), &rows(n))?;
        }
    }
    Ok(())
}

fn build(folder: &Path, format: Format, passages: impl IntoIterator<Item = usize>) {
    let mut builder = Builder::open_or_resume(folder, spec(format)).unwrap();
    add_missing(&mut builder, passages).unwrap();
    builder.finish().unwrap();
}

/// Every passage's bytes as they lie on disk, by id.
fn contents(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let store = Store::open(folder, ENCODER).unwrap();
    assert!(store.verify(&Progress::hidden()).unwrap().is_sound());
    let entries = store.catalog.entries(&store.index);
    let contents: std::collections::BTreeMap<_, _> =
        entries.map(|(_, entry)| (entry.id.to_string(), store.bytes_of(&entry).unwrap().to_vec())).collect();
    assert_eq!(contents.len(), store.len());
    contents
}

/// What [`contents`] is for a store of these passages, however it came about.
fn expected(format: Format, passages: impl IntoIterator<Item = usize>) -> std::collections::BTreeMap<String, Vec<u8>> {
    let encoded = passages.into_iter().map(|n| {
        let mut bytes = Vec::new();
        super::rows::encode(&rows(n), WIDTH, format, &mut bytes).unwrap();
        (id(n), bytes)
    });
    encoded.collect()
}

fn copy_folder(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The names and contents of all files.
fn snapshot(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let read = |file: std::fs::DirEntry| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap());
    files.map(read).collect()
}

fn message<T>(result: anyhow::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => format!("{error:#}"),
    }
}
