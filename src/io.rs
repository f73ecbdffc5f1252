//! Files in and out: checkpoints, tokenizers, and the two habits every long job shares (atomic files, progress).

mod atomic;
mod folder;
mod progress;
mod sentencepiece;
mod tensors;
mod tokenizer;

pub use atomic::write_atomic;
pub use folder::{settle_folder, write_folder};
pub use progress::{Progress, interrupted, stop_on_interrupt};
pub use tensors::{Checkpoint, Stored, write_tensors};
pub use tokenizer::Tokenizer;
