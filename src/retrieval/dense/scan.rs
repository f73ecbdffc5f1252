//! Dot products of many queries with all rows, in blocks that stay in the cache.

use anyhow::{Result, ensure};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::BYTES_PER_NUMBER;
use crate::retrieval::Hit;
use crate::retrieval::folder::stop_if_interrupted;
use crate::retrieval::top::Top;

/// Numbers of the widest register; rows and queries are padded to whole ones.
const LANES: usize = 16;
/// Queries and rows that share their loads: eight running sums keep the multiply-add units busy.
const TILE_QUERIES: usize = 4;
const TILE_ROWS: usize = 2;
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
        let wide_rows = self.block.chunks_exact_mut(stride);
        for (wide, row) in wide_rows.zip(rows.chunks_exact(row_bytes)) {
            widen(row, &mut wide[..width]);
        }
        self.arch.dispatch(Block {
            rows: &self.block[..rows.len() / row_bytes * stride],
            first_row,
            queries: &self.queries.padded,
            stride,
            tops: &mut self.tops,
        })
    }
}

/// A bf16 is the upper half of the f32 of the same value.
fn widen(row: &[u8], wide: &mut [f32]) {
    for (wide, bytes) in wide.iter_mut().zip(row.chunks_exact(BYTES_PER_NUMBER)) {
        let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
        *wide = f32::from_bits(u32::from(bits) << 16);
    }
}

/// Every query against every row of a block.
struct Block<'a> {
    /// `[rows, stride]`
    rows: &'a [f32],
    first_row: usize,
    /// `[queries, stride]`
    queries: &'a [f32],
    stride: usize,
    /// One per query.
    tops: &'a mut [Top],
}

impl WithSimd for Block<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Result<()> {
        let queries = self.queries.len() / self.stride;
        let in_tiles = queries - queries % TILE_QUERIES;
        for query in (0..in_tiles).step_by(TILE_QUERIES) {
            self.all_rows::<S, TILE_QUERIES>(simd, query)?;
        }
        for query in in_tiles..queries {
            self.all_rows::<S, 1>(simd, query)?;
        }
        Ok(())
    }
}

impl Block<'_> {
    /// N queries against all rows.
    #[inline(always)]
    fn all_rows<S: Simd, const N: usize>(&mut self, simd: S, query: usize) -> Result<()> {
        let rows = self.rows.len() / self.stride;
        let in_tiles = rows - rows % TILE_ROWS;
        for row in (0..in_tiles).step_by(TILE_ROWS) {
            self.tile::<S, TILE_ROWS, N>(simd, row, query)?;
        }
        for row in in_tiles..rows {
            self.tile::<S, 1, N>(simd, row, query)?;
        }
        Ok(())
    }

    /// `rows[row + r] · queries[query + n]`, each summed in the same order whatever R and N.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const N: usize>(&mut self, simd: S, row: usize, query: usize) -> Result<()> {
        let stride = self.stride;
        let registers = |matrix, i: usize| {
            let numbers: &[f32] = matrix;
            S::as_simd_f32s(&numbers[i * stride..][..stride]).0
        };
        let rows: [&[S::f32s]; R] = std::array::from_fn(|r| registers(self.rows, row + r));
        let queries: [&[S::f32s]; N] = std::array::from_fn(|n| registers(self.queries, query + n));
        let mut sums = [[simd.splat_f32s(0.0); N]; R];
        for at in 0..rows[0].len() {
            for (sums, row) in sums.iter_mut().zip(&rows) {
                for (sum, query) in sums.iter_mut().zip(&queries) {
                    *sum = simd.mul_add_f32s(row[at], query[at], *sum);
                }
            }
        }
        let tops = &mut self.tops[query..query + N];
        for (passage, sums) in (self.first_row + row..).zip(sums) {
            for (top, sum) in tops.iter_mut().zip(sums) {
                let score = simd.reduce_sum_f32s(sum);
                if score > top.floor() || !score.is_finite() {
                    offer(top, passage, score)?;
                }
            }
        }
        Ok(())
    }
}

/// Out of line: it is rare, and the loop around it is better off without it.
#[cold]
#[inline(never)]
fn offer(top: &mut Top, passage: usize, score: f32) -> Result<()> {
    ensure!(
        score.is_finite(),
        "the score of passage {passage} is {score}: the index is damaged (delete it and build it again), \
         or the query is near the largest number there is"
    );
    let passage = passage as u32;
    top.push(Hit { passage, score });
    Ok(())
}
