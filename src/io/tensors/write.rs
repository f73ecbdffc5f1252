//! Writing safetensors files: whole or absent, the same bytes for the same tensors, no copy of the data in memory.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use crate::io::write_atomic;

// Elements are written as they lie in memory, and the format is little-endian.
const _: () = assert!(cfg!(target_endian = "little"));

/// The header's key for free-form strings, which no tensor can have.
const METADATA: &str = "__metadata__";

/// The elements of a tensor to write, row-major.
#[derive(Debug, Clone, Copy)]
pub enum Stored<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Double precision.
    F64(&'a [f64]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// 32-bit integers.
    I32(&'a [i32]),
}

impl Stored<'_> {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
            Self::Bf16(_) => Dtype::BF16,
            Self::I32(_) => Dtype::I32,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(elements) => bytemuck::cast_slice(elements),
            Self::F64(elements) => bytemuck::cast_slice(elements),
            Self::Bf16(elements) => bytemuck::cast_slice(elements),
            Self::I32(elements) => bytemuck::cast_slice(elements),
        }
    }
}

/// Writes named tensors (name, shape, elements) and free-form strings as one safetensors file; the same input
/// gives the same bytes whatever the order of the tensors.
///
/// # Errors
/// A name twice, a shape that does not fit the elements, and whatever writing says.
pub fn write_tensors(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    tensors: &[(String, Vec<usize>, Stored)],
) -> Result<()> {
    let mut ordered: Vec<_> = tensors.iter().collect();
    // Wide elements first keeps every tensor aligned to its own element size.
    ordered.sort_by(|a, b| (b.2.dtype().bitsize(), &a.0).cmp(&(a.2.dtype().bitsize(), &b.0)));
    let header = header(metadata, &ordered).with_context(|| format!("cannot write {}", path.display()))?;
    write_atomic(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (_, _, stored) in &ordered {
            file.write_all(stored.bytes())?;
        }
        Ok(())
    })
}

/// The JSON header, padded with spaces to a multiple of eight bytes.
fn header(metadata: &BTreeMap<String, String>, tensors: &[&(String, Vec<usize>, Stored)]) -> Result<Vec<u8>> {
    let mut json = Map::new();
    if !metadata.is_empty() {
        json.insert(METADATA.into(), serde_json::to_value(metadata)?);
    }
    let mut begin = 0;
    for (name, shape, stored) in tensors {
        let bytes = stored.bytes().len();
        let elements = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let wanted = elements.and_then(|n| n.checked_mul(stored.dtype().bitsize() / 8));
        ensure!(wanted == Some(bytes), "tensor {name} of shape {shape:?} has {bytes} bytes of {}", stored.dtype());
        let data_offsets = (begin, begin + bytes);
        let info = TensorInfo { dtype: stored.dtype(), shape: shape.clone(), data_offsets };
        let taken = json.insert(name.clone(), serde_json::to_value(&info)?);
        ensure!(taken.is_none() && name != METADATA, "the tensor name {name} is taken");
        begin += bytes;
    }
    let mut bytes = serde_json::to_vec(&Value::Object(json))?;
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}
