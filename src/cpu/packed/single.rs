//! Products in f32: weights as they are, in the panels that the processor's vectors multiply by.

use rayon::prelude::*;

use super::product::{LEAST, gate, put};
use super::{Family, Finish, Packed, Values};
use crate::cpu::linear::{FEW_ROWS, Into};
use crate::cpu::panels::{HEIGHT, Panels, Rows, within};
use crate::cpu::real::vectorised;
use crate::cpu::scratch::scratch;

/// The part of the inner dimension whose rows and weights stay in the second-level cache, and mostly in the first.
const DEPTH: usize = 256;
/// The same of a few rows: weights are used once, and read ahead part by part.
const DEPTH_OF_FEW: usize = 32;

/// Rows of a task, at the least and at the most: as many as are worth reading all weights for, and whose operands stay
/// in the second-level cache.
const ROWS: [usize; 2] = [4 * HEIGHT, 16 * HEIGHT];

/// The vector instructions that a weight is packed for.
#[derive(Clone, Copy)]
pub(super) enum Vectors {
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
}

/// `$body` with the instructions as `$simd`, their type `$S` and the vectors of a panel `$N`.
macro_rules! on {
    ($vectors:expr, |$simd:ident, $S:ident, $N:ident| $body:expr) => {
        match $vectors {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2($simd) => {
                type $S = pulp::x86::V3;
                const $N: usize = 2;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512($simd) => {
                type $S = pulp::x86::V4;
                const $N: usize = 4;
                $body
            }
        }
    };
}

impl Vectors {
    /// All that this processor has, the widest last.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        return (pulp::x86::V3::try_new().map(Self::Avx2).into_iter())
            .chain(pulp::x86::V4::try_new().map(Self::Avx512))
            .collect();
        #[cfg(not(target_arch = "x86_64"))]
        Vec::new()
    }
}

/// A weight, `[outputs, inner]`, as panels `[inner, outputs]`.
pub(super) struct Single {
    panels: Panels,
    vectors: Vectors,
}

impl Single {
    pub fn pack(w: &[f32], outputs: usize, vectors: Vectors) -> Self {
        let (inner, mut panels) = (w.len() / outputs, Panels::default());
        on!(vectors, |simd, S, N| within!(
            simd,
            panels.pack_columns::<S, N>(outputs, inner, |output| &w[output * inner..][..inner])
        ));
        Self { panels, vectors }
    }

    /// Outputs of a panel.
    pub fn width(&self) -> usize {
        on!(self.vectors, |_simd, S, N| N * <S as pulp::Simd>::F32_LANES)
    }

    /// The product of rows with a panel, in rows of [`width`](Self::width) numbers; what is behind the last output of
    /// the last panel is anything.
    pub fn product(&self, panel: usize, x: &[f32], inner: usize, of_few: bool, y: &mut [f32]) {
        let rows = Rows { data: x, stride: inner, count: x.len() / inner };
        let shape = (inner, if of_few { DEPTH_OF_FEW } else { DEPTH });
        let y = (y, self.width());
        on!(self.vectors, |simd, S, N| within!(
            simd,
            self.panels.panel::<S, N>(simd, panel, rows, shape, Into::Fresh, y)
        ));
    }

    /// Writes the weight, row-major, to `w`.
    pub fn unpack(&self, inner: usize, w: &mut [f32]) {
        w.par_chunks_exact_mut(inner).enumerate().for_each(|(output, w)| {
            on!(self.vectors, |_simd, S, N| {
                w.iter_mut().enumerate().for_each(|(k, value)| *value = self.panels.at::<S, N>(k, output));
            });
        });
    }
}

impl Packed {
    fn single(&self) -> &Single {
        match &self.values {
            Values::F32(single) => single,
            Values::Bf16 | Values::Int8(_) => unreachable!("a family is of one shape"),
        }
    }
}

impl Family<'_> {
    /// The block of result `i` at a panel, to `y`.
    fn single_block(&self, i: usize, panel: usize, x: &[f32], y: &mut [f32]) {
        let inner = self.weights[0].inner;
        // Of all rows, not of these.
        let of_few = self.x.len() / inner <= FEW_ROWS;
        let product = |w: &Packed, y: &mut [f32]| w.single().product(panel, x, inner, of_few, y);
        product(self.weights[i], y);
        if self.finish == Finish::Gate {
            scratch(y.len(), |gates| {
                product(self.weights[i + 1], gates);
                vectorised!(gate(y, gates));
            });
        }
    }

    /// A few rows: the weights are the traffic, each is read once, and tasks are panels.
    pub(super) fn few_singles<Y>(&self, rows: usize, ys: &mut [&mut [Y]], to: impl Fn(&[f32], &mut [Y])) {
        let w = self.weights[0];
        let (panels, width) = (w.panels(), w.width());
        scratch(ys.len() * panels * rows * width, |blocks: &mut [f32]| {
            let tasks = blocks.par_chunks_mut(rows * width).enumerate().with_min_len(1 + LEAST / (width * w.inner));
            tasks.for_each(|(i, block)| self.single_block(i / panels, i % panels, self.x, block));
            for (i, block) in blocks.chunks_exact(rows * width).enumerate() {
                put((block, width), i % panels * width, w.outputs, ys[i / panels], &to);
            }
        });
    }

    /// Many rows: each task has some and multiplies them by all weights, while they are in its cache.
    pub(super) fn many_singles<Y: Send>(&self, rows: usize, ys: &mut [&mut [Y]], to: impl Fn(&[f32], &mut [Y]) + Sync) {
        let w = self.weights[0];
        let (panels, width) = (w.panels(), w.width());
        let [least, most] = ROWS;
        let strip = (rows / (4 * rayon::current_num_threads())).next_multiple_of(HEIGHT).clamp(least, most);
        let mut strips: Vec<_> = ys.iter_mut().map(|y| y.chunks_mut(strip * w.outputs)).collect();
        let mut of_all = || strips.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>();
        let tasks: Vec<_> = self.x.chunks(strip * w.inner).map(|x| (x, of_all())).collect();
        tasks.into_par_iter().with_max_len(1).for_each(|(x, mut ys)| {
            scratch(x.len() / w.inner * width, |block: &mut [f32]| {
                for (i, y) in ys.iter_mut().enumerate() {
                    for panel in 0..panels {
                        self.single_block(i, panel, x, block);
                        put((block, width), panel * width, w.outputs, y, &to);
                    }
                }
            });
        });
    }
}
