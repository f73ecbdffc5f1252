//! Training, on tiny random models.

#[path = "../common/mod.rs"]
mod common;
#[path = "../reader/tiny.rs"]
#[allow(dead_code, reason = "the reader's suite uses the rest")]
mod tiny;

mod copying;
mod gradients;
