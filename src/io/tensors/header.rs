//! A safetensors file's header: eight bytes of length, JSON, then the data that the JSON divides without gaps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::Metadata;

use super::{OpenFile, Place};

const LENGTH_BYTES: u64 = 8;
/// What the format allows: 100 MB, hundreds of thousands of tensors.
const HEADER_LIMIT: u64 = 100_000_000;

/// What a file says it holds, checked against the file's size.
#[derive(Debug)]
pub(super) struct Header {
    pub tensors: BTreeMap<String, Place>,
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// The same header with its places in the given file of a checkpoint.
    pub fn of_file(mut self, file: usize) -> Self {
        self.tensors.values_mut().for_each(|place| place.file = file);
        self
    }
}

/// Opens a file and reads its header, as file 0 of its checkpoint.
pub(super) fn open(path: &Path) -> Result<(OpenFile, Header)> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let header = read(&file)
        .with_context(|| format!("{} is not a whole safetensors file: fetch or convert it again", path.display()))?;
    let open = OpenFile { path: path.to_path_buf(), file: Mutex::new(file) };
    Ok((open, header))
}

fn read(mut file: &File) -> Result<Header> {
    let stat = file.metadata().context("cannot ask for its size")?;
    ensure!(stat.is_file(), "it is a folder or a device");
    let size = stat.len();
    ensure!(size >= LENGTH_BYTES, "it has {size} bytes, too few for a header");
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).context("cannot read the header's length")?;
    if &length == b"version " {
        bail!("it looks like a Git LFS pointer in place of the file (git lfs pull gets the file)");
    }
    let length = u64::from_le_bytes(length);
    ensure!(length <= HEADER_LIMIT, "its header claims {length} bytes, more than the format allows");
    let data = LENGTH_BYTES + length;
    ensure!(data <= size, "its header claims {length} bytes, and the file has {size}");
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).context("cannot read the header")?;
    let header: Metadata = serde_json::from_slice(&json).context("the header is damaged")?;
    let claimed = data.checked_add(header.data_len() as u64);
    ensure!(
        claimed == Some(size),
        "its header describes {} bytes of tensors, and the file has {}",
        header.data_len(),
        size - data
    );
    Ok(places(&header, data))
}

/// `Metadata` has checked on the way in that offsets touch without overlap and agree with shapes and element sizes.
fn places(header: &Metadata, data: u64) -> Header {
    let tensors = header
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let (begin, end) = info.data_offsets;
            let place = Place {
                file: 0,
                dtype: info.dtype,
                shape: info.shape.clone(),
                offset: data + begin as u64,
                bytes: end - begin,
            };
            (name, place)
        })
        .collect();
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Header { tensors, metadata }
}
