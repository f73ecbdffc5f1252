//! Which instructions products of packed weights are made of: the best that the processor has. Sums of integers are
//! exact, so all give the same bits.

use std::sync::LazyLock;

use super::{Block, SIDE, Slab, bf16, int8, slabs as slabs_of};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use crate::cpu::linear::FEW_ROWS;

/// `$wide` where there is AVX-512, else `$plain`.
macro_rules! widest {
    ($path:expr, $wide:expr, $plain:expr) => {
        match $path {
            // SAFETY: no one is on these paths where the processor lacks the instructions.
            #[cfg(target_arch = "x86_64")]
            Path::Vnni | Path::Amx => unsafe { $wide },
            _ => $plain,
        }
    };
}

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) enum Path {
    /// What the compiler makes of plain Rust.
    Portable,
    Avx2,
    /// AVX-512's products of 8-bit integers.
    Vnni,
    /// Matrix instructions.
    Amx,
}

impl Path {
    /// All that this processor has, the fastest last.
    pub fn available() -> &'static [Self] {
        static AVAILABLE: LazyLock<Vec<Path>> = LazyLock::new(|| {
            let mut all = vec![Path::Portable];
            #[cfg(target_arch = "x86_64")]
            {
                all.extend(is_x86_feature_detected!("avx2").then_some(Path::Avx2));
                let vnni = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
                all.extend(vnni.then_some(Path::Vnni));
                #[cfg(target_os = "linux")]
                all.extend((vnni && amx::is_permitted()).then_some(Path::Amx));
            }
            all
        });
        &AVAILABLE
    }

    /// The fastest.
    pub fn best() -> Self {
        *Self::available().last().expect("plain Rust is always there")
    }

    /// # Panics
    /// When the processor lacks the instructions.
    fn check(self) {
        assert!(Self::available().contains(&self), "this processor has no {}", self.name());
    }

    /// Rounds rows `[n, inner]` to 8 bits, 32 of them a panel; → their slabs and scales.
    pub(super) fn int8_rows(self, x: &[f32], inner: usize, slabs: &mut [Slab], scales: &mut [f32]) {
        self.check();
        let len = slabs_of::<u8>(inner);
        let panels = slabs.chunks_exact_mut(len).zip(scales.chunks_mut(SIDE));
        for (x, (slabs, scales)) in x.chunks(SIDE * inner).zip(panels) {
            widest!(self, avx512::int8_panel(x, inner, slabs, scales), int8::panel(x, inner, slabs, scales));
        }
    }

    /// The parts of rows `[n, inner]`, 32 of them a panel.
    pub(super) fn bf16_rows(self, x: &[f32], inner: usize, slabs: &mut [Slab]) {
        self.check();
        let steps = slabs.as_chunks_mut().0;
        for (x, steps) in x.chunks(SIDE * inner).zip(steps.chunks_exact_mut(slabs_of::<u16>(inner))) {
            widest!(self, avx512::bf16_panel(x, inner, steps), bf16::panel(x, inner, steps));
        }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "plain Rust",
            Self::Avx2 => "AVX2",
            Self::Vnni => "AVX-512 VNNI",
            Self::Amx => "AMX",
        }
    }
}

/// A thread on its path.
pub(super) enum Worker {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(amx::Tiles),
}

/// Rows whose products in bf16 are added at once.
const HEIGHT: usize = 4;

impl Worker {
    /// # Panics
    /// When the processor lacks the instructions.
    pub fn new(path: Path) -> Self {
        path.check();
        match path {
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Path::Vnni => Self::Vnni,
            // SAFETY: it is available, so it was permitted.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Path::Amx => Self::Amx(unsafe { amx::Tiles::new() }),
            _ => Self::Portable,
        }
    }

    fn path(&self) -> Path {
        match self {
            Self::Portable => Path::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Path::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => Path::Vnni,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx(_) => Path::Amx,
        }
    }

    /// `y = start + Σ x·w` of 8-bit integers: the first `rows` of a panel of rows with a panel of outputs. What is in
    /// the rows of `y` behind is anything.
    pub fn sums(&self, x: &[Slab], w: &[Slab], starts: &[i32; SIDE], rows: usize, y: &mut Block<i32>) {
        match self {
            Self::Portable => int8::sums(x, w, starts, rows, y),
            // SAFETY: `new` has found the instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::sums(x, w, rows, y) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { avx512::sums(x, w, starts, rows, y) },
            // Of a few rows a tile would be mostly empty, and reading the weights takes as long as it does.
            // SAFETY: as above.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx(_) if rows <= FEW_ROWS => unsafe { avx512::sums(x, w, starts, rows, y) },
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx(tiles) => tiles.sums(x, w, starts, y),
        }
    }

    /// [`int8::product`].
    pub fn product(&self, sums: &Block<i32>, rows: &[f32], outputs: &[f32; SIDE], y: &mut Block<f32>) {
        widest!(self.path(), avx512::product(sums, rows, outputs, y), int8::product(sums, rows, outputs, y));
    }

    /// The products in bf16 of a panel of rows, in parts, with a panel of outputs.
    ///
    /// # Panics
    /// On a path without such instructions.
    pub fn products(&self, x: &[Slab], w: &[Slab], y: &mut Block<f32>) {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx(tiles) => tiles.products(x.as_chunks().0, w, y),
            _ => unreachable!("products in bf16 are for matrix instructions"),
        }
    }

    /// The products of a few rows, as they are, with a panel in bf16; a row's do not depend on the others.
    pub fn few_products(&self, x: &[f32], inner: usize, w: &[Slab], y: &mut Block<f32>) {
        for (x, y) in x.chunks(HEIGHT * inner).zip(y.chunks_mut(HEIGHT * SIDE)) {
            match x.len() / inner {
                1 => self.some_products::<1>(x, inner, w, y),
                2 => self.some_products::<2>(x, inner, w, y),
                3 => self.some_products::<3>(x, inner, w, y),
                _ => self.some_products::<HEIGHT>(x, inner, w, y),
            }
        }
    }

    fn some_products<const N: usize>(&self, x: &[f32], inner: usize, w: &[Slab], y: &mut [f32]) {
        widest!(self.path(), avx512::bf16_some::<N>(x, inner, w, y), bf16::some::<N>(x, inner, w, y));
    }
}
