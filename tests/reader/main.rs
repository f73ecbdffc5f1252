//! What a reader promises, on tiny random models.

#[path = "../common/mod.rs"]
mod common;

mod checkpoints;
mod cuts;
mod decoding;
mod dense;
mod refusals;
mod scoring;
mod stored;
mod tiny;
