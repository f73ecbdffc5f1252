//! Attention by the matrix instructions of Intel's server processors (AMX): products of numbers in bf16, added in f32,
//! and the softmax between them in f32. Each number is the sum of `PARTS` numbers in bf16: of one, with 8 bits, or of
//! more, with as many times 8.

#![cfg(target_os = "linux")]

use std::arch::x86_64::*;
use std::ops::Range;

use bytemuck::Zeroable;
use pulp::x86::V4;

use super::lanes::soften_row;
use super::transpose::{load_some, store, transposed};
use super::{Engine, Pass, Strip};
use crate::cpu::packed::{Line, Path, SIDE, Slab, WORDS, amx};

/// Numbers of a line.
const LEN: usize = 2 * WORDS;

/// The parts of both operands, by number, whose products are added: those that weigh the most.
const fn pairs<const PARTS: usize>() -> &'static [[usize; 2]] {
    match PARTS {
        1 => &[[0, 0]],
        2 => &[[0, 0], [1, 0], [0, 1]],
        _ => &[[0, 0], [1, 0], [0, 1], [1, 1], [2, 0], [0, 2]],
    }
}

/// The keys, values, rows and weights of a tile, part by part, and its logits.
pub(super) struct Tiles<const PARTS: usize> {
    tiles: amx::Tiles,
    simd: V4,
    /// Panels of 32 keys; the inner dimension is the head's.
    k: Panels,
    /// Panels of 32 of the head's columns; the inner dimension is the keys'.
    v: Panels,
    /// 32 rows of the head.
    q: Vec<Slab>,
    /// The weights of 32 rows.
    p: Vec<Slab>,
    /// `[32, stride]`.
    logits: Vec<Line>,
    stride: usize,
}

/// What rows are multiplied by: of each panel its parts, and of each part its slabs.
#[derive(Default)]
struct Panels {
    slabs: Vec<Slab>,
    /// Slabs of a part.
    len: usize,
}

/// Whether the processor has the instructions, all of them.
pub(super) fn are_there() -> Option<V4> {
    let simd = V4::try_new()?;
    (Path::best() == Path::Amx && is_x86_feature_detected!("avx512bf16")).then_some(simd)
}

fn resize(slabs: &mut Vec<Slab>, len: usize) -> &mut [Slab] {
    if slabs.len() < len {
        slabs.resize(len, [Line::zeroed(); SIDE]);
    }
    &mut slabs[..len]
}

impl<const PARTS: usize> Tiles<PARTS> {
    /// With what [`are_there`] has given.
    pub fn new(simd: V4) -> Self {
        assert!(are_there().is_some());
        // SAFETY: the path is available, so it was permitted.
        let tiles = unsafe { amx::Tiles::new() };
        let (k, v) = (Panels::default(), Panels::default());
        Self { tiles, simd, k, v, q: Vec::new(), p: Vec::new(), logits: Vec::new(), stride: 0 }
    }
}

impl<const PARTS: usize> Engine<f32> for Tiles<PARTS> {
    const ROWS: usize = SIDE;

    /// Packing is worth it from some rows on. No row's numbers depend on the other rows of its task.
    fn height(rows: usize, parts: usize) -> usize {
        rows.div_ceil(parts).next_multiple_of(SIDE).max(4 * SIDE)
    }

    fn columns(e: usize) -> usize {
        e.next_multiple_of(SIDE)
    }

    fn take(&mut self, pass: &Pass<'_, f32>, head: usize, keys: Range<usize>) {
        let row = |x, t: usize| &<[f32]>::split_at(x, pass.at(keys.start + t, head)).1[..pass.e];
        let (count, e) = (keys.len(), pass.e);
        // SAFETY: `are_there` has found the instructions.
        unsafe {
            self.k.pack_columns::<PARTS>(count, e, |t| row(pass.k, t));
            self.v.pack_rows::<PARTS>(count, e, |t| row(pass.v, t));
        }
        self.stride = count.next_multiple_of(SIDE);
        self.logits.resize(SIDE * self.stride / WORDS, Line::zeroed());
        resize(&mut self.p, PARTS * self.v.len);
    }

    fn multiply(&mut self, pass: &Pass<'_, f32>, head: usize, rows: Range<usize>, count: usize) {
        let q = resize(&mut self.q, PARTS * self.k.len);
        for r in 0..SIDE {
            let row = if r < rows.len() { &pass.q[pass.at(rows.start + r, head)..][..pass.e] } else { &[] };
            // SAFETY: `are_there` has found the instructions.
            unsafe { write_parts::<PARTS>(row, q, r) };
        }
        let steps = pass.e.div_ceil(LEN);
        let y: &mut [f32] = bytemuck::cast_slice_mut(&mut self.logits);
        for panel in 0..count.div_ceil(SIDE) {
            let y = (&mut y[panel * SIDE..], self.stride);
            self.tiles.part_products(q, self.k.panel::<PARTS>(panel), (pairs::<PARTS>(), steps), amx::Start::Zero, y);
        }
    }

    fn soften(&mut self, strip: &Strip<'_, f32>, peak: &mut f32, mass: &mut f32) -> f32 {
        let logits: &mut [f32] = bytemuck::cast_slice_mut(&mut self.logits);
        let logits = &mut logits[strip.row * self.stride..][..self.stride];
        let shrink = soften_row(self.simd, logits, strip, peak, mass);
        let p = &mut self.p[..PARTS * self.v.len];
        // SAFETY: `are_there` has found the instructions.
        unsafe { write_parts::<PARTS>(logits, p, strip.row) };
        shrink
    }

    fn add_values(&mut self, pass: &Pass<'_, f32>, _rows: usize, count: usize, values: &mut [f32]) {
        let (steps, p) = (count.div_ceil(LEN), &self.p[..PARTS * self.v.len]);
        let columns = <Self as Engine<f32>>::columns(pass.e);
        for panel in 0..columns / SIDE {
            let y = (&mut values[panel * SIDE..], columns);
            self.tiles.part_products(p, self.v.panel::<PARTS>(panel), (pairs::<PARTS>(), steps), amx::Start::Sum, y);
        }
    }
}

impl Panels {
    fn panel<const PARTS: usize>(&self, panel: usize) -> &[Slab] {
        &self.slabs[panel * PARTS * self.len..][..PARTS * self.len]
    }

    /// The panels of a matrix `[inner, count]` whose column `t` is `column(t)`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_columns<'a, const PARTS: usize>(
        &mut self,
        count: usize,
        inner: usize,
        column: impl Fn(usize) -> &'a [f32],
    ) {
        self.len = inner.div_ceil(LEN);
        let panels = count.div_ceil(SIDE);
        let slabs = resize(&mut self.slabs, panels * PARTS * self.len);
        for (p, panel) in slabs.chunks_exact_mut(PARTS * self.len).enumerate() {
            for tile in 0..SIDE / WORDS {
                let first = p * SIDE + tile * WORDS;
                let rows: [&[f32]; WORDS] =
                    std::array::from_fn(|t| if first + t < count { column(first + t) } else { &[] });
                for step in 0..self.len {
                    let mut words = [[_mm512_setzero_si512(); WORDS]; PARTS];
                    for (t, row) in rows.iter().enumerate() {
                        let parts = parts::<PARTS>([0, 1].map(|half| load_some(row, step * LEN + half * WORDS)));
                        words.iter_mut().zip(parts).for_each(|(words, part)| words[t] = part);
                    }
                    for (part, words) in words.into_iter().enumerate() {
                        let lines = &mut panel[part * self.len + step][tile * WORDS..][..WORDS];
                        lines.iter_mut().zip(transposed(words)).for_each(|(line, words)| store(&mut line.0, words));
                    }
                }
            }
        }
    }

    /// The panels of a matrix `[count, columns]` whose row `t` is `row(t)`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_rows<'a, const PARTS: usize>(&mut self, count: usize, columns: usize, row: impl Fn(usize) -> &'a [f32]) {
        // From two rows of 16, one behind the other, to pairs.
        let first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let second = _mm512_add_epi32(first, _mm512_set1_epi32(WORDS as i32));
        let pairs = _mm512_or_si512(first, _mm512_slli_epi32::<16>(second));
        self.len = count.div_ceil(LEN);
        let slabs = resize(&mut self.slabs, columns.div_ceil(SIDE) * PARTS * self.len);
        for g in 0..self.len * WORDS {
            let rows = [2 * g, 2 * g + 1].map(|t| if t < count { row(t) } else { &[] });
            for tile in 0..columns.next_multiple_of(SIDE) / WORDS {
                let parts = parts::<PARTS>(rows.map(|row| load_some(row, tile * WORDS)));
                for (part, words) in parts.into_iter().enumerate() {
                    let slab = &mut slabs[(tile / 2 * PARTS + part) * self.len + g / WORDS];
                    let line = &mut slab[tile % 2 * WORDS + g % WORDS];
                    store(&mut line.0, _mm512_permutexvar_epi16(pairs, words));
                }
            }
        }
    }
}

/// Writes a row to line `r` of the slabs of all parts, and zeros behind it.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn write_parts<const PARTS: usize>(row: &[f32], slabs: &mut [Slab], r: usize) {
    let len = slabs.len() / PARTS;
    for step in 0..len {
        let parts = parts::<PARTS>([0, 1].map(|half| load_some(row, step * LEN + half * WORDS)));
        for (part, words) in parts.into_iter().enumerate() {
            store(&mut slabs[part * len + step][r].0, words);
        }
    }
}

/// The parts of 32 numbers: each is the bf16 nearest to what those before it lack.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn parts<const PARTS: usize>(numbers: [__m512i; 2]) -> [__m512i; PARTS] {
    let mut rest = numbers.map(|x| _mm512_castsi512_ps(x));
    let mut parts = [_mm512_setzero_si512(); PARTS];
    for (i, part) in parts.iter_mut().enumerate() {
        // SAFETY: both are 64 bytes that may hold any bits.
        *part = unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(rest[1], rest[0])) };
        if i + 1 < PARTS {
            let halves = [_mm512_castsi512_si256(*part), _mm512_extracti64x4_epi64::<1>(*part)];
            for (rest, half) in rest.iter_mut().zip(halves) {
                let wide = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
                *rest = _mm512_sub_ps(*rest, wide);
            }
        }
    }
    parts
}
