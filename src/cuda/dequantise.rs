//! Rows from the memory store.

use bytemuck::{Pod, Zeroable};

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
    runs: Vec<Run>,
    bytes: usize,
    rows: usize,
    blocks: usize,
}

impl Layout {
    /// Addresses are from the begin of the memory.
    fn new(width: usize, stored: &[Stored<'_>]) -> Self {
        let mut layout = Self { runs: Vec::with_capacity(stored.len()), bytes: 0, rows: 0, blocks: 0 };
        for run in stored {
            let rows = run.values() / width;
            let (values, scales) = match run {
                Stored::Bf16(values) => (layout.take(size_of_val(*values)), 0),
                Stored::Int8 { values, scales } => {
                    assert_eq!(scales.len() * width, values.len(), "dequantise: one scale a row");
                    (layout.take(values.len()), layout.take(size_of_val(*scales)))
                }
            };
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

pub(super) fn dequantise<E: Float>(be: &Cuda<E>, width: usize, stored: &[Stored<'_>]) -> Mat<Cuda<E>> {
    let Layout { mut runs, bytes, rows, blocks } = Layout::new(width, stored);
    let mut y = be.alloc(rows, width, None);
    let mut memory = be.buffer::<u8>(bytes);
    for (run, stored) in runs.iter_mut().zip(stored) {
        match stored {
            Stored::Bf16(values) => memory.fill(run.values as usize, bytemuck::cast_slice(values)),
            Stored::Int8 { values, scales } => {
                memory.fill(run.values as usize, bytemuck::cast_slice(values));
                memory.fill(run.scales as usize, bytemuck::cast_slice(scales));
                run.scales += memory.address();
            }
        }
        run.values += memory.address();
    }
    let runs = Buffer::from_host(&be.queue, &runs);
    let grid = Grid::of(blocks).threads(THREADS, 1);
    be.launch(Kernel::Dequantise, grid, args![&runs, &mut y, width, stored.len()]);
    y
}
