//! Passes over several parts of a batch at once, each on a thread of its own.
//!
//! The operations of a small reader are too short to be shared by threads well: each ends with threads that wait for the
//! last one. Passes share nothing but the weights.

use anyhow::Result;
use rayon::prelude::*;

use super::pass::{Losses, zero_gradients};
use crate::backend::{Backward, Element, Grad};
use crate::model::{Reader, Weights};
use crate::nn::Tree;

/// Passes at once, at most: each needs memory for itself.
const AT_ONCE: usize = 8;
/// Parameters of a reader that is small. Gradients are there once for each pass: 64 MB of these in f32.
const SMALL: usize = 1 << 24;

/// How many passes it is best to have at once: as many as there are threads, up to 8. None where one uses all of the
/// machine, as on a GPU, and for readers of more than 2²⁴ parameters.
pub fn passes_at_once<B: Backward>(reader: &Reader<B>) -> Option<usize> {
    let parameters: usize = reader.weights.leaves().into_iter().map(|weight| weight.rows * weight.cols).sum();
    (B::SIDE_BY_SIDE && parameters <= SMALL).then(|| rayon::current_num_threads().min(AT_ONCE))
}

/// Adds to `grads` those that `pass` finds for each of these parts, all at once, and returns their losses. `own` are
/// gradients for passes to add to: they are made where there are too few, and serve again. Sums are made in the order of
/// the parts, so that they have the same bits however many parts are at once.
///
/// # Errors
/// The first of the passes' errors, in the order of the parts.
pub fn side_by_side<B: Backward, P: Sync>(
    reader: &Reader<B>,
    parts: &[P],
    (own, grads): (&mut Vec<Weights<Grad<B>>>, &mut Weights<Grad<B>>),
    pass: impl Fn(&P, &mut Weights<Grad<B>>) -> Result<Losses> + Sync,
) -> Result<Losses> {
    let be = &reader.be;
    while own.len() < parts.len() {
        own.push(zero_gradients(reader)?);
    }
    let passes = parts.par_iter().zip(&mut *own).map(|(part, own)| {
        own.leaves_mut().into_iter().for_each(|grad| be.clear(grad));
        pass(part, own)
    });
    let all: Vec<Result<Losses>> = passes.collect();
    let mut losses = Losses::default();
    for of_part in all {
        losses += of_part?;
    }
    let leaves: Vec<_> = own[..parts.len()].iter().map(Tree::leaves).collect();
    let sums = grads.leaves_mut().into_par_iter().enumerate();
    sums.try_for_each(|(leaf, grad)| add_all(be, leaves.iter().map(|own| own[leaf]), grad))?;
    Ok(losses)
}

/// `grad += Σ own`, in order.
fn add_all<'a, B: Backward>(be: &B, own: impl Iterator<Item = &'a Grad<B>>, grad: &mut Grad<B>) -> Result<()> {
    let (mut sum, mut more) = (be.download(&grad.buf)?, Vec::new());
    for own in own {
        be.download_to(&own.buf, &mut more)?;
        sum.iter_mut().zip(&more).for_each(|(x, y)| *x = B::Wide::from_f64(x.to_f64() + y.to_f64()));
    }
    grad.buf = be.upload(sum);
    Ok(())
}
