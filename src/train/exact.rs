//! A machine's numbers in a file, without loss.

use anyhow::Result;

use crate::backend::{Backend, Element, Grad, Mat};
use crate::io::Stored;

/// Numbers as they are stored: single precision where that holds all of the machine's, double precision elsewhere.
pub enum Exact {
    /// 16 or 32 bits.
    Single(Vec<f32>),
    /// 64 bits.
    Double(Vec<f64>),
}

impl Exact {
    /// The values of a matrix.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn mat<B: Backend>(be: &B, mat: &Mat<B>) -> Result<Self> {
        Ok(Self::of(mat.download(be)?))
    }

    /// The values of a gradient, or of what training keeps of its shape.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn grad<B: Backend>(be: &B, grad: &Grad<B>) -> Result<Self> {
        Ok(Self::of(be.download(&grad.buf)?))
    }

    fn of<E: Element>(values: Vec<E>) -> Self {
        if size_of::<E>() <= size_of::<f32>() {
            return Self::Single(values.into_iter().map(|x| x.to_f64() as f32).collect());
        }
        Self::Double(values.into_iter().map(Element::to_f64).collect())
    }

    /// For [`write_tensors`](crate::io::write_tensors).
    pub fn stored(&self) -> Stored<'_> {
        match self {
            Self::Single(values) => Stored::F32(values),
            Self::Double(values) => Stored::F64(values),
        }
    }
}
