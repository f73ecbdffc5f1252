//! Question and passage, one behind the other; passages fresh from the encoder or from the store.

use rayon::prelude::*;

use super::elementwise::add_slice;
use super::gather::split;
use super::{Cpu, Real};
use crate::backend::{Join, Mat, Segments, Stored};

/// The joined segments.
pub(super) fn joined<T: Real>(be: &Cpu<T>, j: &Join<'_, Cpu<T>>) -> Segments<Cpu<T>> {
    assert_eq!(j.question.cols, j.passage.cols, "join: widths");
    assert_eq!(j.question_rows.count, j.groups.count, "join: one group of passages a question");
    assert_eq!(j.passage_rows.count, j.groups.capacity, "join: every passage belongs to a question");
    Segments::packed(be, pairs(j).map(|(question, passage)| question.len() + passage.len()))
}

/// Row ranges of each passage's question and of the passage itself.
fn pairs<'a, T: Real>(
    j: &'a Join<'_, Cpu<T>>,
) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> + 'a {
    let range = |offsets: &[u32], i: usize| offsets[i] as usize..offsets[i + 1] as usize;
    (0..j.groups.count).flat_map(move |question| {
        range(&j.groups.offsets, question)
            .map(move |passage| (range(&j.question_rows.offsets, question), range(&j.passage_rows.offsets, passage)))
    })
}

pub(super) fn join<T: Real>(j: &Join<'_, Cpu<T>>, joined: &Segments<Cpu<T>>, y: &mut Mat<Cpu<T>>) {
    let d = y.cols;
    for ((question, passage), bounds) in pairs(j).zip(joined.offsets.windows(2)) {
        let segment = &mut y.buf[bounds[0] as usize * d..bounds[1] as usize * d];
        let (head, tail) = segment.split_at_mut(question.len() * d);
        head.copy_from_slice(&j.question.buf[question.start * d..question.end * d]);
        tail.copy_from_slice(&j.passage.buf[passage.start * d..passage.end * d]);
    }
}

/// The gradients of the questions, each the sum over its passages in order, and of the passages.
pub(super) fn join_bwd<T: Real>(
    dy: &Mat<Cpu<T>>,
    j: &Join<'_, Cpu<T>>,
    (dquestion, dpassage): (&mut Mat<Cpu<T>>, &mut Mat<Cpu<T>>),
) {
    let d = dy.cols;
    let questions = split(&mut dquestion.buf, &j.question_rows.offsets, d);
    let mut passages = split(&mut dpassage.buf, &j.passage_rows.offsets, d).into_iter();
    let mut rest = &dy.buf[..];
    let mut tasks = Vec::with_capacity(questions.len());
    for (question, group) in questions.into_iter().zip(j.groups.offsets.windows(2)) {
        let own: Vec<&mut [T]> = passages.by_ref().take((group[1] - group[0]) as usize).collect();
        let len = own.iter().map(|passage| question.len() + passage.len()).sum();
        let (dy, behind) = rest.split_at(len);
        tasks.push((question, own, dy));
        rest = behind;
    }
    tasks.into_par_iter().for_each(|(question, passages, mut dy)| {
        question.fill(T::ZERO);
        for passage in passages {
            let (head, behind) = dy.split_at(question.len());
            let (tail, behind) = behind.split_at(passage.len());
            add_slice(head, question);
            passage.copy_from_slice(tail);
            dy = behind;
        }
    });
}

/// Rows of all the stored runs.
pub(super) fn stored_rows(width: usize, stored: &[Stored<'_>]) -> usize {
    stored.iter().map(|run| run.values() / width).sum()
}

pub(super) fn dequantise<T: Real>(width: usize, stored: &[Stored<'_>], y: &mut Mat<Cpu<T>>) {
    let mut rest = &mut y.buf[..];
    let mut places = Vec::with_capacity(stored.len());
    for run in stored {
        let (place, behind) = rest.split_at_mut(run.values());
        places.push((place, *run));
        rest = behind;
    }
    places.into_par_iter().for_each(|(place, run)| match run {
        Stored::Bf16(values) => {
            for (y, &x) in place.iter_mut().zip(values) {
                // A bf16 is the upper half of an f32. `to_f64` would ask of each whether it is a number.
                *y = T::from_f64(f64::from(f32::from_bits(u32::from(x.to_bits()) << 16)));
            }
        }
        Stored::Int8 { values, scales } => {
            assert_eq!(scales.len() * width, values.len(), "dequantise: one scale a row");
            for ((y, x), &scale) in place.chunks_exact_mut(width).zip(values.chunks_exact(width)).zip(scales) {
                for (y, &x) in y.iter_mut().zip(x) {
                    // The product is exact in 64 bits, so that it is rounded once, to the machine's type.
                    *y = T::from_f64(f64::from(x) * f64::from(scale));
                }
            }
        }
    });
}
