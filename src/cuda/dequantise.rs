//! Rows from the memory store.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::kernels::Kernel;
use super::launch::{Grid, args, narrow};
use super::{Buffer, Cuda, Float};
use crate::backend::{Mat, Stored};

const THREADS: usize = 256;
/// Rows of a block; `kernels/dequantise.cu` has the same.
const ROWS: usize = 32;
/// Runs begin where a thread can load 16 bytes.
const ALIGNMENT: usize = 16;

/// A run of stored rows; `kernels/dequantise.cu` has the same.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Run {
    values: u64,
    /// 0 of bf16.
    scales: u64,
    first_row: u32,
    first_block: u32,
    rows: u32,
    unused: u32,
}

/// The runs as they lie in the device's memory, one behind the other.
struct Layout {
    /// Addresses are from the begin of the memory.
    runs: Vec<Run>,
    bytes: usize,
    rows: usize,
    blocks: usize,
}

impl Layout {
    fn new(width: usize, stored: &[Stored<'_>]) -> Self {
        let mut layout = Self { runs: Vec::with_capacity(stored.len()), bytes: 0, rows: 0, blocks: 0 };
        for run in stored {
            let rows = run.values() / width;
            if let Stored::Int8 { values, scales } = run {
                assert_eq!(scales.len() * width, values.len(), "dequantise: one scale a row");
            }
            let [values, scales] = parts(run).map(|part| layout.take(part.len()));
            let [first_row, first_block, rows_of_run] = [layout.rows, layout.blocks, rows].map(narrow);
            layout.runs.push(Run { values, scales, first_row, first_block, rows: rows_of_run, unused: 0 });
            layout.rows += rows;
            layout.blocks += rows.div_ceil(ROWS);
        }
        layout
    }

    fn take(&mut self, bytes: usize) -> u64 {
        let place = self.bytes;
        self.bytes += bytes.next_multiple_of(ALIGNMENT);
        place as u64
    }
}

/// Values and scales of a run; no scales of bf16.
fn parts<'a>(run: &Stored<'a>) -> [&'a [u8]; 2] {
    match *run {
        Stored::Bf16(values) => [bytemuck::cast_slice(values), &[]],
        Stored::Int8 { values, scales } => [bytemuck::cast_slice(values), bytemuck::cast_slice(scales)],
    }
}

pub(super) fn dequantise<E: Float>(be: &Cuda<E>, width: usize, stored: &[Stored<'_>]) -> Mat<Cuda<E>> {
    let Layout { mut runs, bytes, rows, blocks } = Layout::new(width, stored);
    let mut y = be.alloc(rows, width, None);
    let memory = Buffer::<u8>::staged(&be.queue, bytes, |host| copy_parts(stored, host));
    for (run, stored) in runs.iter_mut().zip(stored) {
        run.values += memory.address();
        run.scales = if let Stored::Int8 { .. } = stored { run.scales + memory.address() } else { 0 };
    }
    let table = Buffer::from_host(&be.queue, &runs);
    let grid = Grid::of(blocks).threads(THREADS, 1);
    be.launch(Kernel::Dequantise, grid, args![&table, &mut y, width, stored.len()]);
    y
}

/// Copies the runs to their places in `host`.
fn copy_parts(stored: &[Stored<'_>], mut host: &mut [u8]) {
    let mut tasks = Vec::with_capacity(2 * stored.len());
    for part in stored.iter().flat_map(parts) {
        let (place, behind) = std::mem::take(&mut host).split_at_mut(part.len().next_multiple_of(ALIGNMENT));
        host = behind;
        tasks.push((place, part));
    }
    tasks.into_par_iter().for_each(|(place, part)| place[..part.len()].copy_from_slice(part));
}
