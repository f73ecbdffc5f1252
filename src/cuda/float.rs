//! The numbers that the kernels are compiled for.

use half::bf16;

use crate::backend::Element;

/// A type of number that the kernels are compiled for: `f32` and `bf16`.
pub trait Float: Element + sealed::Sealed {
    /// How kernels for this type end their names.
    const SUFFIX: &'static str;
    /// Numbers in the 16 bytes that a thread moves at once.
    const PACK: usize = 16 / size_of::<Self>();
}

impl Float for f32 {
    const SUFFIX: &'static str = "f32";
}
impl Float for bf16 {
    const SUFFIX: &'static str = "bf16";
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}
