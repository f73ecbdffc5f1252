//! What is made of logits.

use glimmer::backend::{Backend, Backward, Mat};
use glimmer::cuda::Float;
use half::bf16;

use crate::moved;
use crate::{Counted, assert_no_excess, assert_within};

/// Logits are read once, and their gradients are written in their place.
#[test]
fn cross_entropy_passes_once() {
    fn check<E: Float>() {
        let (counted, rows, vocabulary) = (Counted::<E>::new(), 2, 32128);
        let logits = Mat::upload(&counted.be, rows, vocabulary, vec![E::from_f64(0.0); rows * vocabulary]);
        let target = counted.be.upload(vec![7; rows]);
        let launches = counted.count(|be| be.cross_entropy(logits, &target, 1.0));
        assert_eq!(launches.len(), 1, "cross-entropy is a launch");
        let least = 2 * rows * vocabulary * size_of::<E>();
        assert_within("bytes", moved(&launches[0]) / least as f64, 1.05);
        assert_no_excess("cross_entropy", "global stores", launches[0].global_stores);
    }
    check::<bf16>();
    check::<f32>();
}
