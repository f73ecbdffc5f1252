//! Counters per launch, and what they mean on a named device.

mod counters;
mod roofline;

pub use crate::decode::Class;
pub use counters::{Counters, Executed, Line, MatrixWork, Traffic};
pub use roofline::{Bound, Estimate};
