//! Numbers in bf16 in place of f32, for what is written once and read many times: they are rounded as they are stored
//! and widened as they are read, and all that is computed with them is computed in f32.

use half::bf16;
use rayon::prelude::*;

use super::Real;
use super::real::vectorised;

/// Numbers that a task rounds or widens.
const TASK: usize = 1 << 15;

/// A stored number that is read as a `T`, exactly.
pub(super) trait Stored<T>: Copy + Send + Sync {
    /// What it is.
    fn widen(self) -> T;
}

impl<T: Real> Stored<T> for T {
    #[inline(always)]
    fn widen(self) -> T {
        self
    }
}

impl<T: Real> Stored<T> for bf16 {
    /// A bf16 is the upper half of an f32. `to_f32` would ask of each whether it is a number.
    #[inline(always)]
    fn widen(self) -> T {
        T::from_f64(f64::from(f32::from_bits(u32::from(self.to_bits()) << 16)))
    }
}

/// The nearest bf16, ties to even. No branch, so that loops over it compile to vector code.
#[inline(always)]
fn nearest(x: f32) -> bf16 {
    let bits = x.to_bits();
    let upper = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Of what is not a number, some bit of the upper half has to say so.
    bf16::from_bits(if x.is_nan() { bits >> 16 | 0x40 } else { upper } as u16)
}

/// `y ← x`, rounded.
#[inline(always)]
pub(super) fn round(x: &[f32], y: &mut [bf16]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = nearest(x);
    }
}

/// As [`round`], by all threads.
pub(super) fn round_all(x: &[f32], y: &mut [bf16]) {
    let tasks = y.par_chunks_mut(TASK).zip(x.par_chunks(TASK));
    tasks.for_each(|(y, x)| vectorised!(round(x, y)));
}

/// `y ← x`, by all threads.
pub(super) fn widen_all<T: Real>(x: &[bf16], y: &mut [T]) {
    let tasks = y.par_chunks_mut(TASK).zip(x.par_chunks(TASK));
    tasks.for_each(|(y, x)| {
        vectorised!(for (y, &x) in y.iter_mut().zip(x) {
            *y = x.widen();
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_are_rounded_to_the_nearest() {
        let random = (0..200_000).map(|i| crate::random::bits(1, 0, i) as u32);
        let ends =
            (0..=u32::from(u16::MAX)).flat_map(|upper| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|l| upper << 16 | l));
        let x: Vec<f32> = random.chain(ends).map(f32::from_bits).collect();
        let mut found = vec![bf16::ZERO; x.len()];
        round_all(&x, &mut found);
        for (&x, found) in x.iter().zip(found) {
            assert_eq!(found.to_bits(), bf16::from_f32(x).to_bits(), "{x:e}, {:#x}", x.to_bits());
        }
    }

    #[test]
    fn widening_is_exact() {
        let all: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        let (mut singles, mut doubles) = (vec![0.0f32; all.len()], vec![0.0f64; all.len()]);
        widen_all(&all, &mut singles);
        widen_all(&all, &mut doubles);
        for (i, x) in all.iter().enumerate() {
            let same = singles[i].to_bits() == u32::from(x.to_bits()) << 16 && doubles[i] == x.to_f64();
            assert!(same || x.is_nan() && singles[i].is_nan() && doubles[i].is_nan(), "{i:#x}");
        }
    }
}
