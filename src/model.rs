//! The model: configuration, weights, and the reader that FiD, LUMEN and GLIMMER are cuts of.

mod config;
mod copying;
mod decoder;
mod dense;
mod load;
mod reader;
mod spec;
mod weights;

pub use config::{Config, Cut, FeedForwardKind, Glimmer};
pub use decoder::{Decoded, Evidence, TeachSaved};
pub(crate) use decoder::{drop_out, drop_out_again};
pub use dense::DenseEncoder;
pub use load::check_checkpoint;
pub use reader::{Encoded, Passages, Question, Reader, Reading, Scored, Stage};
pub use spec::{Absent, Init, Spec};
pub use weights::{Decoder, Encoder, Layers, Weights};
