//! Adam, see [`AdamStep`].

use rayon::prelude::*;

use super::elementwise::CHUNK;
use super::real::vectorised;
use super::{Cpu, Real};
use crate::backend::{AdamMoments, AdamStep, Grad, Mat};

pub(super) fn adam<T: Real>(
    w: &mut Mat<Cpu<T>>,
    grad: &Grad<Cpu<T>>,
    moments: &mut AdamMoments<Cpu<T>>,
    step: AdamStep,
) {
    let AdamMoments { first, second } = moments;
    let len = w.buf.len();
    assert!(grad.buf.len() == len && first.buf.len() == len && second.buf.len() == len, "adam: shapes");
    let [b1, b2] = step.decay;
    let seen = |decay: f64| 1.0 - decay.powf(step.step as f64);
    let rate = T::from_f64(step.learning_rate / seen(b1));
    let spread = T::from_f64(1.0 / seen(b2).sqrt());
    let [keep_1, new_1, keep_2, new_2] = [b1, 1.0 - b1, b2, 1.0 - b2].map(T::from_f64);
    let [scale, epsilon] = [step.scale, step.epsilon].map(T::from_f64);
    let moments = first.buf.par_chunks_mut(CHUNK).zip(second.buf.par_chunks_mut(CHUNK));
    let chunks = w.buf.par_chunks_mut(CHUNK).zip(grad.buf.par_chunks(CHUNK)).zip(moments);
    chunks.for_each(|((w, grad), (first, second))| {
        vectorised(|| {
            for (((w, &g), m), v) in w.iter_mut().zip(grad).zip(first).zip(second) {
                let g = scale * g;
                *m = keep_1 * *m + new_1 * g;
                *v = keep_2 * *v + new_2 * g * g;
                *w = *w - rate * *m / (v.sqrt() * spread + epsilon);
            }
        });
    });
}
