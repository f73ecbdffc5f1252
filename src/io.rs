//! Files in and out: checkpoints, tokenizers, and the habits every long job shares (atomic files, locks, progress, other
//! processes).

mod atomic;
mod folder;
mod lock;
mod processes;
mod progress;
mod sentencepiece;
mod tensors;
mod tokenizer;

pub use atomic::write_atomic;
pub use folder::{settle_folder, write_folder};
pub use lock::Lock;
pub use processes::Processes;
pub use progress::{Progress, interrupted, stop_on_interrupt};
pub use tensors::{Checkpoint, Stored, write_tensors};
pub use tokenizer::Tokenizer;
