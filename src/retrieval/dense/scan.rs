//! Dot products of many queries with all rows, in blocks that stay in the cache.

use anyhow::{Result, ensure};
use pulp::Arch;
use rayon::prelude::*;

use super::BYTES_PER_NUMBER;
use crate::retrieval::Hit;
use crate::retrieval::folder::stop_if_interrupted;
use crate::retrieval::top::Top;

/// Partial sums per dot product. Fixed, so that a score has the same bits on every machine.
const LANES: usize = 16;
/// Queries that share the loads of a row's numbers: their sums fill the registers of AVX2.
const TILE: usize = 4;
/// Rows widened to f32 at a time: 192 KiB at width 768, which the second-level cache holds.
const ROWS_PER_BLOCK: usize = 64;
/// Queries that share a pass over the rows; bounds the memory of their lists.
const QUERIES_PER_PASS: usize = 1024;

/// `rows [passages, width]` in bf16, `queries [queries, width]`, all finite.
pub(super) fn search_all(rows: &[u8], width: usize, queries: &[f32], k: usize) -> Result<Vec<Vec<Hit>>> {
    let mut all = Vec::with_capacity(queries.len() / width);
    for queries in queries.chunks(QUERIES_PER_PASS * width) {
        let queries = Queries::new(queries, width);
        let block_bytes = ROWS_PER_BLOCK * width * BYTES_PER_NUMBER;
        let tops = rows
            .par_chunks(block_bytes)
            .enumerate()
            .with_min_len(16)
            .try_fold(
                || Scan::new(&queries, k),
                |mut scan, (block, rows)| {
                    stop_if_interrupted()?;
                    scan.block(block * ROWS_PER_BLOCK, rows)?;
                    Ok(scan)
                },
            )
            .map(|scan: Result<Scan>| scan.map(|scan| scan.tops))
            .try_reduce(|| queries.no_hits(k), |a, b| Ok(merge(a, b)))?;
        all.extend(tops.into_iter().map(Top::into_hits));
    }
    Ok(all)
}

fn merge(a: Vec<Top>, b: Vec<Top>) -> Vec<Top> {
    a.into_iter().zip(b).map(|(a, b)| a.merge(b)).collect()
}

/// Queries padded with zeros to whole lanes.
struct Queries {
    width: usize,
    stride: usize,
    count: usize,
    padded: Vec<f32>,
}

impl Queries {
    fn new(queries: &[f32], width: usize) -> Self {
        let stride = width.next_multiple_of(LANES);
        let count = queries.len() / width;
        let mut padded = vec![0.0; count * stride];
        for (padded, query) in padded.chunks_exact_mut(stride).zip(queries.chunks_exact(width)) {
            padded[..width].copy_from_slice(query);
        }
        Self { width, stride, count, padded }
    }

    fn no_hits(&self, k: usize) -> Vec<Top> {
        (0..self.count).map(|_| Top::new(k)).collect()
    }
}

/// One thread's share of a pass.
struct Scan<'a> {
    queries: &'a Queries,
    arch: Arch,
    /// `[ROWS_PER_BLOCK, stride]`, zero beyond the width.
    block: Vec<f32>,
    tops: Vec<Top>,
}

impl<'a> Scan<'a> {
    fn new(queries: &'a Queries, k: usize) -> Self {
        Self { queries, arch: Arch::new(), block: vec![0.0; ROWS_PER_BLOCK * queries.stride], tops: queries.no_hits(k) }
    }

    fn block(&mut self, first_row: usize, rows: &[u8]) -> Result<()> {
        let Queries { width, stride, .. } = *self.queries;
        let row_bytes = width * BYTES_PER_NUMBER;
        let (block, queries, tops) = (&mut self.block, self.queries, &mut self.tops);
        self.arch.dispatch(|| {
            for (wide, row) in block.chunks_exact_mut(stride).zip(rows.chunks_exact(row_bytes)) {
                widen(row, &mut wide[..width]);
            }
            let block = &block[..rows.len() / row_bytes * stride];
            let tiles = queries.padded.chunks(TILE * stride);
            for (queries, tops) in tiles.zip(tops.chunks_mut(TILE)) {
                match queries.len() / stride {
                    TILE => tile::<TILE>(block, queries, first_row, tops)?,
                    3 => tile::<3>(block, queries, first_row, tops)?,
                    2 => tile::<2>(block, queries, first_row, tops)?,
                    _ => tile::<1>(block, queries, first_row, tops)?,
                }
            }
            Ok(())
        })
    }
}

/// A bf16 is the upper half of the f32 of the same value.
#[inline(always)]
fn widen(row: &[u8], wide: &mut [f32]) {
    for (wide, bytes) in wide.iter_mut().zip(row.chunks_exact(BYTES_PER_NUMBER)) {
        let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
        *wide = f32::from_bits(u32::from(bits) << 16);
    }
}

/// `block [rows, stride]` against `queries [N, stride]`.
#[inline(always)]
fn tile<const N: usize>(block: &[f32], queries: &[f32], first_row: usize, tops: &mut [Top]) -> Result<()> {
    let stride = queries.len() / N;
    for (row, numbers) in block.chunks_exact(stride).enumerate() {
        let passage = first_row + row;
        let scores = dots::<N>(numbers, queries);
        for (top, score) in tops.iter_mut().zip(scores) {
            ensure!(
                score.is_finite(),
                "the score of passage {passage} is {score}: the index is damaged (delete it and build it again), \
                 or the query is near the largest number there is"
            );
            if score > top.floor() {
                push(top, passage, score);
            }
        }
    }
    Ok(())
}

/// Out of line: it is rare, and the loop around it is better off without it.
#[cold]
#[inline(never)]
fn push(top: &mut Top, passage: usize, score: f32) {
    let passage = passage as u32;
    top.push(Hit { passage, score });
}

/// `row · queries[i]`, each summed in the same order whatever N.
#[inline(always)]
fn dots<const N: usize>(row: &[f32], queries: &[f32]) -> [f32; N] {
    let stride = row.len();
    let queries: [&[f32]; N] = std::array::from_fn(|i| &queries[i * stride..][..stride]);
    let mut sums = [[0.0f32; LANES]; N];
    for (at, row) in row.chunks_exact(LANES).enumerate() {
        for (sums, query) in sums.iter_mut().zip(queries) {
            let query = &query[at * LANES..][..LANES];
            for lane in 0..LANES {
                sums[lane] += row[lane] * query[lane];
            }
        }
    }
    sums.map(|lanes| lanes.iter().sum())
}
