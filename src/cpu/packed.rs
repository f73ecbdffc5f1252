//! Weights in the form that products read them in, packed once: as 8-bit integers, in bf16, or in f32.
//!
//! A weight in f32 is the panels of `panels.rs`. In fewer bits it is panels of [`SIDE`] outputs; a panel is slabs, each
//! of them [`WORDS`] words of 32 bits of every output: 64 8-bit integers or 32 bf16 along the inner dimension. A slab
//! is two tiles of [`WORDS`] lines; line `g` of a tile holds word `g` of each of its outputs. So a line is what one
//! vector instruction multiplies and a tile what one matrix instruction does, and a product reads its weights from the
//! first byte to the last.
//!
//! The rows that are multiplied by it are slabs too, but for the order within: a line is one row's words.

pub(super) mod amx;
mod avx2;
pub(super) mod avx512;
mod bf16;
mod int8;
mod path;
mod product;
mod single;

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

pub(super) use path::Path;
pub(super) use product::{Family, Finish, covers};
use single::{Single, Vectors};

/// How a machine that reads, and does not train, keeps the weights of its products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As they are. Where the processor has no such instructions, they stay in the order in which they come.
    F32,
    /// Rounded to bf16; what is computed with them is computed in f32.
    Bf16,
    /// 8-bit integers, with a scale for each output. What they multiply is rounded to 8 bits as it comes, with a scale
    /// for each row; the sums are exact.
    Int8,
}

/// Outputs of a panel, and rows that are multiplied by it together.
pub(super) const SIDE: usize = 32;
/// Words of a line, and lines of a tile.
pub(super) const WORDS: usize = 16;

/// Rows in 8 bits are stored as unsigned numbers, which is what the instructions want of one operand: as `q + 128`.
const ZERO_POINT: u8 = 128;

/// A cache line, a vector register, a row of a tile.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line(pub [u32; WORDS]);

/// One step along the inner dimension, of 32 outputs or rows.
pub(super) type Slab = [Line; SIDE];

/// The product of 32 rows with 32 outputs, row by row.
type Block<T> = [T; SIDE * SIDE];

/// A packed weight, `[outputs, inner]`.
pub(super) struct Packed {
    pub outputs: usize,
    pub inner: usize,
    /// Panel by panel; in f32 none.
    slabs: Vec<Slab>,
    values: Values,
}

/// What the slabs hold.
enum Values {
    F32(Single),
    Bf16,
    Int8(int8::Scales),
}

impl Packed {
    /// None where the products would leave their integers' range, or there are no instructions for f32.
    pub fn new(packing: Packing, w: &[f32], outputs: usize) -> Option<Self> {
        let inner = w.len().checked_div(outputs)?;
        let (slabs, values) = match packing {
            _ if inner == 0 => return None,
            Packing::F32 => (Vec::new(), Values::F32(Single::pack(w, outputs, Vectors::available().pop()?))),
            Packing::Bf16 => (bf16::pack(w, outputs), Values::Bf16),
            Packing::Int8 if inner > int8::LONGEST => return None,
            Packing::Int8 => {
                let (slabs, scales) = int8::pack(w, outputs);
                (slabs, Values::Int8(scales))
            }
        };
        Some(Self { outputs, inner, slabs, values })
    }

    pub fn packing(&self) -> Packing {
        match self.values {
            Values::F32(_) => Packing::F32,
            Values::Bf16 => Packing::Bf16,
            Values::Int8(_) => Packing::Int8,
        }
    }

    /// Writes what it stands for, row-major, to `w`.
    pub fn unpack(&self, w: &mut [f32]) {
        match &self.values {
            Values::F32(single) => single.unpack(self.inner, w),
            Values::Bf16 => bf16::unpack(self, w),
            Values::Int8(scales) => int8::unpack(self, scales, w),
        }
    }

    fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width())
    }

    /// Outputs of a panel.
    fn width(&self) -> usize {
        match &self.values {
            Values::F32(single) => single.width(),
            Values::Bf16 | Values::Int8(_) => SIDE,
        }
    }

    fn panel(&self, panel: usize) -> &[Slab] {
        let len = self.slabs.len() / self.panels();
        &self.slabs[panel * len..][..len]
    }
}

/// Values in a word.
const fn per_word<V>() -> usize {
    size_of::<u32>() / size_of::<V>()
}

/// Slabs of a panel.
const fn slabs<V>(inner: usize) -> usize {
    inner.div_ceil(WORDS * per_word::<V>())
}

/// The slabs of the values `value(output, k)`, zeros where there are none.
fn pack<V: Pod>(outputs: usize, inner: usize, value: impl Fn(usize, usize) -> V + Sync) -> Vec<Slab> {
    let len = slabs::<V>(inner);
    let mut all = vec![[Line::zeroed(); SIDE]; outputs.div_ceil(SIDE) * len];
    all.par_chunks_mut(len).enumerate().for_each(|(panel, slabs)| {
        each_value(slabs, |output, k, place: &mut V| {
            if panel * SIDE + output < outputs && k < inner {
                *place = value(panel * SIDE + output, k);
            }
        });
    });
    all
}

/// Calls `visit(output, k, value)` for every value of a panel.
fn each_value<V: Pod>(slabs: &mut [Slab], mut visit: impl FnMut(usize, usize, &mut V)) {
    let word = per_word::<V>();
    for (s, slab) in slabs.iter_mut().enumerate() {
        for (i, line) in slab.iter_mut().enumerate() {
            let (tile, group) = (i / WORDS, i % WORDS);
            for (j, value) in bytemuck::cast_slice_mut(&mut line.0).iter_mut().enumerate() {
                visit(tile * WORDS + j / word, (s * WORDS + group) * word + j % word, value);
            }
        }
    }
}

/// The inverse of [`pack`]: `w[output, k] = widen(output, value)`.
fn unpack<V: Pod>(packed: &Packed, w: &mut [f32], widen: impl Fn(usize, V) -> f32 + Sync) {
    let (inner, word) = (packed.inner, per_word::<V>());
    w.par_chunks_mut(SIDE * inner).enumerate().for_each(|(panel, w)| {
        let slabs = packed.panel(panel);
        for (output, row) in w.chunks_exact_mut(inner).enumerate() {
            for (g, values) in row.chunks_mut(word).enumerate() {
                let line = &slabs[g / WORDS][output / WORDS * WORDS + g % WORDS];
                let stored: &[V] = bytemuck::cast_slice(&line.0[output % WORDS..][..1]);
                for (value, &stored) in values.iter_mut().zip(stored) {
                    *value = widen(panel * SIDE + output, stored);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests;
