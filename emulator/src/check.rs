//! The checker: what a launch did wrong, and where.

mod report;

pub use report::{Checks, Fault, Kind, Other, Place, Report, Strictness};
