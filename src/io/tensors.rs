//! The tensors of a checkpoint folder in Hugging Face's layout, and of single safetensors files.
//!
//! Opening reads headers only. A tensor goes through one bounded chunk into its final place, so that weights are
//! resident once and a file's pages do not stay behind.

mod header;
mod locate;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use safetensors::Dtype;

use crate::backend::Element;
use header::Header;
pub use write::{Stored, write_tensors};

/// Bytes of a file in memory at a time while a tensor is read. A multiple of every element's size.
const CHUNK_BYTES: usize = 4 << 20;
/// Element types that reals are read from.
const FLOATS: &str = "F32, F64, F16 or BF16";

/// The tensors of a checkpoint: names, shapes and where each one lies. Safe to read from many threads at once.
///
/// Files stay open from the moment their headers were read: a checkpoint that is replaced meanwhile is still read whole.
#[derive(Debug)]
pub struct Checkpoint {
    source: PathBuf,
    files: Vec<OpenFile>,
    tensors: BTreeMap<String, Place>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// Where a tensor lies: `bytes` bytes at `offset` of `files[file]`, which the header's check found inside the file.
#[derive(Debug, Clone)]
struct Place {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    offset: u64,
    bytes: usize,
}

impl Checkpoint {
    /// Opens the tensors of a folder: `model.safetensors`, else `model.safetensors.index.json` and its shards, else
    /// the one `*.safetensors` file that is there.
    ///
    /// # Errors
    /// No such file (with what was looked for, or how to convert a `pytorch_model.bin`), a damaged header, an index
    /// that names a missing shard or a tensor that its shard lacks.
    pub fn open(folder: &Path) -> Result<Self> {
        match locate::weights(folder)? {
            locate::Weights::File(path) => Self::open_file(&path),
            locate::Weights::Shards { index, tensors } => Self::open_shards(folder, &index, tensors),
        }
    }

    /// Opens the tensors of one safetensors file.
    ///
    /// # Errors
    /// An unreadable file or a damaged header.
    pub fn open_file(path: &Path) -> Result<Self> {
        let (file, header) = header::open(path)?;
        let mut checkpoint = Self::empty(path);
        checkpoint.metadata.extend(header.metadata.clone());
        checkpoint.tensors = header.tensors.into_iter().collect();
        checkpoint.files.push(file);
        Ok(checkpoint)
    }

    /// `tensors` pairs each name with its shard's file name, as the index has them.
    fn open_shards(folder: &Path, index: &Path, tensors: BTreeMap<String, String>) -> Result<Self> {
        let mut checkpoint = Self::empty(folder);
        let mut headers: BTreeMap<String, Header> = BTreeMap::new();
        for (name, shard) in tensors {
            if !headers.contains_key(&shard) {
                let (file, header) = header::open(&folder.join(&shard))
                    .with_context(|| format!("{} names the shard {shard}", index.display()))?;
                checkpoint.metadata.extend(header.metadata.clone());
                headers.insert(shard.clone(), header.of_file(checkpoint.files.len()));
                checkpoint.files.push(file);
            }
            let place = headers[&shard].tensors.get(&name).with_context(|| {
                format!(
                    "{} says that {name} is in {shard}, which has no such tensor: fetch both again",
                    index.display()
                )
            })?;
            checkpoint.tensors.insert(name, place.clone());
        }
        Ok(checkpoint)
    }

    fn empty(source: &Path) -> Self {
        Self { source: source.to_path_buf(), files: Vec::new(), tensors: BTreeMap::new(), metadata: BTreeMap::new() }
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's shape.
    ///
    /// # Errors
    /// No such tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.place(name)?.shape)
    }

    /// The free-form strings of the files' headers (`__metadata__`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads a floating-point tensor (F32, F64, F16 or BF16) of the given shape, row-major.
    ///
    /// # Errors
    /// No such tensor, another shape, another element type, a file that ends early.
    pub fn read<T: Element>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        self.check(name, shape)?;
        self.floats(name, self.place(name)?)
    }

    /// Finds out from the header alone whether [`read`](Self::read) will find such a tensor.
    ///
    /// # Errors
    /// No such tensor, another shape, another element type.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let place = self.place(name)?;
        ensure!(
            place.shape == shape,
            "tensor {name} in {} has shape {:?} where {shape:?} is wanted: do these weights belong to this config.json?",
            self.path(place).display(),
            place.shape,
        );
        match place.dtype {
            Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16 => Ok(()),
            _ => bail!(self.wrong_dtype(name, place, FLOATS)),
        }
    }

    /// Reads an I32 or I64 tensor, row-major, with its shape.
    ///
    /// # Errors
    /// No such tensor, another element type, a value that does not fit in 32 bits, a file that ends early.
    pub fn read_i32(&self, name: &str) -> Result<(Vec<usize>, Vec<i32>)> {
        let place = self.place(name)?;
        let values = match place.dtype {
            Dtype::I32 => self.convert(name, place, i32::from_le_bytes)?,
            Dtype::I64 => self
                .convert(name, place, i64::from_le_bytes)?
                .into_iter()
                .map(|wide| {
                    i32::try_from(wide)
                        .with_context(|| format!("tensor {name} holds {wide}, which does not fit in 32 bits"))
                })
                .collect::<Result<_>>()?,
            _ => bail!(self.wrong_dtype(name, place, "I32 or I64")),
        };
        Ok((place.shape.clone(), values))
    }

    /// Reads a tensor of floats or of I32 or I64 as `f64`, row-major, with its shape.
    ///
    /// # Errors
    /// No such tensor, another element type, an integer beyond 32 bits, a file that ends early.
    pub fn read_any(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>)> {
        let place = self.place(name)?;
        if matches!(place.dtype, Dtype::I32 | Dtype::I64) {
            let (shape, values) = self.read_i32(name)?;
            return Ok((shape, values.into_iter().map(f64::from).collect()));
        }
        Ok((place.shape.clone(), self.floats(name, place)?))
    }

    fn floats<T: Element>(&self, name: &str, place: &Place) -> Result<Vec<T>> {
        match place.dtype {
            Dtype::F32 => self.convert(name, place, |b| T::from_f64(f32::from_le_bytes(b).into())),
            Dtype::F64 => self.convert(name, place, |b| T::from_f64(f64::from_le_bytes(b))),
            Dtype::F16 => self.convert(name, place, |b| T::from_f64(f16::from_le_bytes(b).into())),
            Dtype::BF16 => self.convert(name, place, |b| T::from_f64(bf16::from_le_bytes(b).into())),
            _ => bail!(self.wrong_dtype(name, place, FLOATS)),
        }
    }

    /// All elements, each from its `N` little-endian bytes; `N` is the size of the place's element type.
    fn convert<T, const N: usize>(&self, name: &str, place: &Place, element: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let mut values = self.reserve(name, place)?;
        let mut chunk = vec![0; place.bytes.min(CHUNK_BYTES)];
        let mut done = 0;
        while done < place.bytes {
            let now = (place.bytes - done).min(CHUNK_BYTES);
            self.fill(name, place, done, &mut chunk[..now])?;
            let (elements, _) = chunk[..now].as_chunks();
            values.extend(elements.iter().map(|bytes| element(*bytes)));
            done += now;
        }
        Ok(values)
    }

    /// Fills `chunk` with the bytes that begin `skip` bytes into the tensor.
    fn fill(&self, name: &str, place: &Place, skip: usize, chunk: &mut [u8]) -> Result<()> {
        let open = &self.files[place.file];
        // A panic elsewhere leaves nothing half-done: every use seeks first.
        let mut file = open.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(place.offset + skip as u64)).and_then(|_| file.read_exact(chunk)).with_context(|| {
            format!(
                "cannot read tensor {name} (byte {} of {}): was the file cut short since it was opened?",
                place.offset + skip as u64,
                open.path.display()
            )
        })
    }

    /// An empty vector with room for the whole tensor; a size that memory cannot hold is an error and no abort.
    fn reserve<T>(&self, name: &str, place: &Place) -> Result<Vec<T>> {
        let count = place.shape.iter().product();
        let mut values = Vec::new();
        values.try_reserve_exact(count).with_context(|| {
            format!("tensor {name} of {} has {count} elements, more than memory can hold", self.path(place).display())
        })?;
        Ok(values)
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.tensors.get(name).with_context(|| {
            format!(
                "no tensor {name} among the {} of {}: do these weights belong to this config.json?",
                self.tensors.len(),
                self.source.display()
            )
        })
    }

    fn path(&self, place: &Place) -> &Path {
        &self.files[place.file].path
    }

    fn wrong_dtype(&self, name: &str, place: &Place, wanted: &str) -> anyhow::Error {
        anyhow!(
            "tensor {name} in {} has element type {} where {wanted} is wanted: convert it first",
            self.path(place).display(),
            place.dtype
        )
    }
}

#[cfg(test)]
#[path = "tensors/tests.rs"]
mod tests;
