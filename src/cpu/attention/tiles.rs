//! Attention by the instructions that multiply in bf16: the operands of both products are rounded, what they add up to
//! and the softmax between them are in f32.

use std::arch::x86_64::*;
use std::ops::Range;

use bytemuck::Zeroable;
use pulp::x86::V4;

use super::lanes::soften_row;
use super::{Engine, Pass, Strip};
use crate::cpu::linear::Into;
use crate::cpu::packed::{Line, SIDE, Slab, WORDS, avx512};
#[cfg(target_os = "linux")]
use crate::cpu::packed::{Path, amx};
use crate::cpu::transpose::{load_some, store, transposed};

/// Numbers of a line.
const LEN: usize = 2 * WORDS;

/// The instructions, the fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instructions {
    /// The matrix instructions of Intel's server processors (AMX).
    #[cfg(target_os = "linux")]
    Matrices,
    /// AVX-512's products of pairs.
    Pairs,
}

impl Instructions {
    /// All that the processor has and that are faster than f32's.
    pub fn available() -> Vec<Self> {
        let mut all = Vec::new();
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512bf16") {
            #[cfg(target_os = "linux")]
            all.extend((Path::best() == Path::Amx).then_some(Self::Matrices));
            all.extend(avx512::has_quick_pairs().then_some(Self::Pairs));
        }
        all
    }

    /// What threads make their engines with.
    pub fn engine(self) -> impl Fn() -> Tiles + Sync {
        assert!(Self::available().contains(&self), "this processor has no such instructions: {self:?}");
        let simd = V4::try_new().expect("a part of AVX-512 that is newer than these");
        move || Tiles::new(self, simd)
    }
}

/// What multiplies 32 rows with a panel.
enum Products {
    #[cfg(target_os = "linux")]
    Matrices(amx::Tiles),
    Pairs,
}

impl Products {
    fn write(&self, x: &[Slab], w: &[Slab], into: Into, y: (&mut [f32], usize)) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Matrices(tiles) => tiles.rounded_products(x, w, into, y),
            // SAFETY: `available` has found the instructions.
            Self::Pairs => unsafe { avx512::rounded_products(x, w, into, y) },
        }
    }
}

/// The keys, values, rows and weights of a tile, and its logits.
pub(super) struct Tiles {
    products: Products,
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

/// What rows are multiplied by, panel by panel.
#[derive(Default)]
struct Panels {
    slabs: Vec<Slab>,
    /// Slabs of a panel.
    len: usize,
}

fn resize(slabs: &mut Vec<Slab>, len: usize) -> &mut [Slab] {
    if slabs.len() < len {
        slabs.resize(len, [Line::zeroed(); SIDE]);
    }
    &mut slabs[..len]
}

impl Tiles {
    fn new(instructions: Instructions, simd: V4) -> Self {
        let products = match instructions {
            // SAFETY: the path is available, so it was permitted.
            #[cfg(target_os = "linux")]
            Instructions::Matrices => Products::Matrices(unsafe { amx::Tiles::new() }),
            Instructions::Pairs => Products::Pairs,
        };
        let (k, v) = (Panels::default(), Panels::default());
        Self { products, simd, k, v, q: Vec::new(), p: Vec::new(), logits: Vec::new(), stride: 0 }
    }
}

impl Engine<f32> for Tiles {
    const ROWS: usize = SIDE;

    fn columns(e: usize) -> usize {
        e.next_multiple_of(SIDE)
    }

    fn take(&mut self, pass: &Pass<'_, f32>, head: usize, keys: Range<usize>) {
        let (count, e) = (keys.len(), pass.e);
        let at = |t: usize| pass.at(keys.start + t, head);
        // SAFETY: `available` has found the instructions.
        unsafe {
            self.k.pack_columns(count, e, |t| &pass.k[at(t)..][..e]);
            self.v.pack_rows(count, e, |t| &pass.v[at(t)..][..e]);
        }
        self.stride = count.next_multiple_of(SIDE);
        self.logits.resize(SIDE * self.stride / WORDS, Line::zeroed());
        resize(&mut self.p, self.v.len);
    }

    fn multiply(&mut self, pass: &Pass<'_, f32>, head: usize, rows: Range<usize>, count: usize) {
        let q = resize(&mut self.q, self.k.len);
        for r in 0..SIDE {
            let row = if r < rows.len() { &pass.q[pass.at(rows.start + r, head)..][..pass.e] } else { &[] };
            // SAFETY: `available` has found the instructions.
            unsafe { write_row(row, q, r) };
        }
        let y: &mut [f32] = bytemuck::cast_slice_mut(&mut self.logits);
        for panel in 0..count.div_ceil(SIDE) {
            let y = (&mut y[panel * SIDE..], self.stride);
            self.products.write(q, self.k.panel(panel), Into::Fresh, y);
        }
    }

    fn soften(&mut self, strip: &Strip<'_, f32>, peak: &mut f32, mass: &mut f32) -> f32 {
        let logits: &mut [f32] = bytemuck::cast_slice_mut(&mut self.logits);
        let logits = &mut logits[strip.row * self.stride..][..self.stride];
        let shrink = soften_row(self.simd, logits, strip, peak, mass);
        let p = &mut self.p[..self.v.len];
        // SAFETY: `available` has found the instructions.
        unsafe { write_row(logits, p, strip.row) };
        shrink
    }

    fn add_values(&mut self, pass: &Pass<'_, f32>, _rows: usize, count: usize, values: &mut [f32]) {
        let steps = count.div_ceil(LEN);
        let columns = <Self as Engine<f32>>::columns(pass.e);
        for panel in 0..columns / SIDE {
            let y = (&mut values[panel * SIDE..], columns);
            self.products.write(&self.p[..steps], &self.v.panel(panel)[..steps], Into::Sum, y);
        }
    }
}

impl Panels {
    fn panel(&self, panel: usize) -> &[Slab] {
        &self.slabs[panel * self.len..][..self.len]
    }

    /// The panels of a matrix `[inner, count]` whose column `t` is `column(t)`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_columns<'a>(&mut self, count: usize, inner: usize, column: impl Fn(usize) -> &'a [f32]) {
        self.len = inner.div_ceil(LEN);
        let slabs = resize(&mut self.slabs, count.div_ceil(SIDE) * self.len);
        for (p, panel) in slabs.chunks_exact_mut(self.len).enumerate() {
            for tile in 0..SIDE / WORDS {
                let first = p * SIDE + tile * WORDS;
                let rows: [&[f32]; WORDS] =
                    std::array::from_fn(|t| if first + t < count { column(first + t) } else { &[] });
                for (step, slab) in panel.iter_mut().enumerate() {
                    let words = rows.map(|row| rounded([0, 1].map(|half| (row, step * LEN + half * WORDS))));
                    let lines = &mut slab[tile * WORDS..][..WORDS];
                    lines.iter_mut().zip(transposed(words)).for_each(|(line, words)| store(&mut line.0, words));
                }
            }
        }
    }

    /// The panels of a matrix `[count, columns]` whose row `t` is `row(t)`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_rows<'a>(&mut self, count: usize, columns: usize, row: impl Fn(usize) -> &'a [f32]) {
        // From 16 numbers of each of two rows, one behind the other, to pairs.
        let first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let second = _mm512_add_epi32(first, _mm512_set1_epi32(WORDS as i32));
        let pairs = _mm512_or_si512(first, _mm512_slli_epi32::<16>(second));
        self.len = count.div_ceil(LEN);
        let slabs = resize(&mut self.slabs, columns.div_ceil(SIDE) * self.len);
        for g in 0..self.len * WORDS {
            let rows = [2 * g, 2 * g + 1].map(|t| if t < count { row(t) } else { &[] });
            for tile in 0..columns.next_multiple_of(SIDE) / WORDS {
                let words = rounded(rows.map(|row| (row, tile * WORDS)));
                let line = &mut slabs[tile / 2 * self.len + g / WORDS][tile % 2 * WORDS + g % WORDS];
                store(&mut line.0, _mm512_permutexvar_epi16(pairs, words));
            }
        }
    }
}

/// Writes a row to line `r` of the slabs, and zeros behind it.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn write_row(row: &[f32], slabs: &mut [Slab], r: usize) {
    for (step, slab) in slabs.iter_mut().enumerate() {
        store(&mut slab[r].0, rounded([0, 1].map(|half| (row, step * LEN + half * WORDS))));
    }
}

/// Twice 16 numbers in bf16, from some place of a row on, zeros behind its end.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn rounded(numbers: [(&[f32], usize); 2]) -> __m512i {
    let [low, high] = numbers.map(|(row, first)| _mm512_castsi512_ps(load_some(row, first)));
    // SAFETY: both are 64 bytes that may hold any bits.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}
