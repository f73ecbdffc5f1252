//! `store.json`, the names of the other files, and the writer's lock.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::disk;
use super::format::{Format, MAX_WIDTH, VERSION, check, hex};
use crate::io::Lock;

const HEADER: &str = "store.json";
const LOCK: &str = "store.lock";

/// The size at which a shard is closed unless a [`Spec`] says otherwise: 8 GiB.
pub const SHARD_BYTES: u64 = 8 << 30;

/// What a store holds and who writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Values per row: the model width `d`.
    pub width: usize,
    /// How a row's values are stored.
    pub format: Format,
    /// Names the memory encoder: equal if and only if the encoder would write the same rows.
    pub fingerprint: String,
    /// The size at which a shard is closed and the next one begun. A passage larger than this has a shard of its own.
    pub shard_bytes: u64,
}

impl Spec {
    /// A store with shards of [`SHARD_BYTES`].
    pub fn new(width: usize, format: Format, fingerprint: impl Into<String>) -> Self {
        Self { width, format, fingerprint: fingerprint.into(), shard_bytes: SHARD_BYTES }
    }

    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            (1..=MAX_WIDTH).contains(&self.width),
            "a memory store's rows have 1 to {MAX_WIDTH} values, not {}",
            self.width
        );
        ensure!(self.shard_bytes > 0, "a memory store's shards need a size above 0 bytes");
        ensure!(!self.fingerprint.is_empty(), "a memory store needs the fingerprint of its encoder: it is empty");
        Ok(())
    }
}

/// What `store.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub format: Format,
    pub width: usize,
    pub fingerprint: String,
    pub shard_bytes: u64,
    /// The number in the index's name.
    pub index: u32,
    /// What readers see; nothing before the first build is finished.
    pub published: Option<Published>,
}

/// The state that readers see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Published {
    pub index_bytes: u64,
    pub index_digest: String,
    pub passages: u64,
    pub tokens: u64,
    /// The shards with live passages.
    pub shards: Vec<Shard>,
}

/// One shard of the published state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shard {
    pub number: u32,
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    version: u32,
    check: String,
    store: Header,
}

/// Enough of any version's `store.json` to tell which one it is.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

impl Header {
    pub fn new(spec: &Spec) -> Self {
        Self {
            format: spec.format,
            width: spec.width,
            fingerprint: spec.fingerprint.clone(),
            shard_bytes: spec.shard_bytes,
            index: 0,
            published: None,
        }
    }

    pub fn spec(&self) -> Spec {
        Spec {
            width: self.width,
            format: self.format,
            fingerprint: self.fingerprint.clone(),
            shard_bytes: self.shard_bytes,
        }
    }

    /// Whether `folder` has a `store.json`.
    pub fn exists(folder: &Path) -> Result<bool> {
        let path = folder.join(HEADER);
        path.try_exists().with_context(|| format!("cannot look for {}", path.display()))
    }

    pub fn read(folder: &Path) -> Result<Self> {
        ensure!(
            Self::exists(folder)?,
            "no memory store in {}: it has no {HEADER}. Build one with Builder::open_or_resume",
            folder.display()
        );
        let path = folder.join(HEADER);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_json(&bytes).with_context(|| path.display().to_string())
    }

    fn from_json(bytes: &[u8]) -> Result<Self> {
        const DAMAGED: &str = "it is damaged: restore it from a copy, or delete the folder and build again";
        let AnyVersion { version } = serde_json::from_slice(bytes).context(DAMAGED)?;
        ensure!(
            version == VERSION,
            "it has version {version} of the format and this program reads version {VERSION}: use the program that wrote \
             it, or build the store again"
        );
        let sealed: Sealed = serde_json::from_slice(bytes).context(DAMAGED)?;
        ensure!(sealed.check == sealed.store.check()?, "its check does not match: {DAMAGED}");
        sealed.store.spec().check().context(DAMAGED)?;
        Ok(sealed.store)
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let sealed = Sealed { version: VERSION, check: self.check()?, store: self.clone() };
        let mut json = serde_json::to_vec_pretty(&sealed).context("cannot write the header as JSON")?;
        json.push(b'\n');
        disk::replace(&folder.join(HEADER), &json)
    }

    fn check(&self) -> Result<String> {
        let json = serde_json::to_vec(&(VERSION, self)).context("cannot write the header as JSON")?;
        Ok(hex(&check(&json)))
    }
}

/// The index's file of the given number.
pub(super) fn index_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("index-{number:05}.bin"))
}

/// The shard's file of the given number.
pub(super) fn shard_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("rows-{number:05}.bin"))
}

/// What a file in the folder is, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `store.json` and the lock.
    Header,
    Index(u32),
    Shard(u32),
    /// What a writer left that was killed while it wrote `store.json` or an index.
    Partial,
    /// Not ours.
    Foreign,
}

impl Role {
    pub fn of(name: &str) -> Self {
        let number = |prefix: &str| {
            let digits = name.strip_prefix(prefix)?.strip_suffix(".bin")?;
            // `parse` takes a sign, which no file of ours has.
            let plain = digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        match name {
            HEADER | LOCK => Self::Header,
            _ if name.starts_with(".partial-") => Self::Partial,
            _ => number("index-").map(Self::Index).or(number("rows-").map(Self::Shard)).unwrap_or(Self::Foreign),
        }
    }
}

/// Every file in the folder.
pub(super) fn files(folder: &Path) -> Result<Vec<(Role, PathBuf)>> {
    let list = || -> std::io::Result<Vec<_>> {
        std::fs::read_dir(folder)?
            .map(|file| file.map(|file| (Role::of(&file.file_name().to_string_lossy()), file.path())))
            .collect()
    };
    list().with_context(|| format!("cannot list {}", folder.display()))
}

/// The right to write.
///
/// # Errors
/// A folder that cannot be written, or another writer at work in it.
pub(super) fn lock(folder: &Path) -> Result<Lock> {
    let lock = Lock::try_take(&folder.join(LOCK)).with_context(|| {
        format!("cannot write in {}: adding to a memory store needs a folder that can be written", folder.display())
    })?;
    lock.with_context(|| {
        format!("another writer is at work in {}: wait for it, or end it. Reading needs no waiting", folder.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_name() {
        assert_eq!(Role::of("rows-00012.bin"), Role::Shard(12));
        assert_eq!(Role::of("rows-123456.bin"), Role::Shard(123_456));
        assert_eq!(Role::of("index-00001.bin"), Role::Index(1));
        assert_eq!(Role::of(".partial-x"), Role::Partial);
        for foreign in ["rows-+0001.bin", "rows-1.bin", "rows-00001.bin.bak", "notes.txt", "rows-99999999999.bin"] {
            assert_eq!(Role::of(foreign), Role::Foreign, "{foreign}");
        }
    }

    #[test]
    fn any_damage_to_the_header_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let header = Header::new(&Spec::new(64, Format::Int8, "encoder"));
        header.write(folder.path()).unwrap();
        assert_eq!(Header::read(folder.path()).unwrap(), header);
        let bytes = std::fs::read(folder.path().join(HEADER)).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                // A changed blank between two words changes nothing that is said.
                if let Ok(read) = Header::from_json(&damaged) {
                    assert_eq!(read, header, "byte {at}");
                }
            }
            assert!(Header::from_json(&bytes[..at]).is_err() || at + 1 == bytes.len(), "cut at {at}");
        }
    }

    #[test]
    fn another_version_says_so_before_anything_else() {
        let error = Header::from_json(br#"{"version": 2, "anything": []}"#).unwrap_err();
        assert!(format!("{error:#}").contains("version 2"), "{error:#}");
    }

    #[test]
    fn specs_that_make_no_store_are_refused() {
        let spec = Spec::new(64, Format::Bf16, "encoder");
        assert!(Spec { width: 0, ..spec.clone() }.check().is_err());
        assert!(Spec { width: MAX_WIDTH + 1, ..spec.clone() }.check().is_err());
        assert!(Spec { shard_bytes: 0, ..spec.clone() }.check().is_err());
        assert!(Spec { fingerprint: String::new(), ..spec }.check().is_err());
    }
}
