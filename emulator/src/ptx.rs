//! The parser of PTX.
