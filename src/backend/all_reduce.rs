//! Gradients of several machines, added up by themselves.

use anyhow::Result;

use super::{Backward, Grad};

/// Machines of several processes that add up gradients among them. All processes make the same calls in the same order.
pub trait AllReduce<B: Backward>: Send {
    /// Makes each gradient of a bucket its sum over all processes, the same bits on all of them. It may happen while the
    /// machine goes on, which must leave these gradients alone until [`join`](Self::join).
    ///
    /// # Errors
    /// What the machines report.
    fn sum(&mut self, be: &B, bucket: &[&mut Grad<B>]) -> Result<()>;

    /// Lets what the machine does from here on come after all sums so far.
    ///
    /// # Errors
    /// What the machines report.
    fn join(&mut self, be: &B) -> Result<()>;
}

/// One process among several, and how all of them get some bytes that the first has.
pub struct Member<'a> {
    /// Its number.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Returns to all what the first process gives.
    pub share: &'a mut dyn FnMut(Vec<u8>) -> Result<Vec<u8>>,
}
