//! The parser of PTX: text in, functions with numbered registers, resolved labels and source lines out.
//!
//! It knows the grammar, not the instructions: an opcode is a list of words here, and [`crate::decode`] gives it its meaning.

mod body;
mod lexer;
mod parser;
mod types;

pub use lexer::ParseError;
pub use parser::parse;
pub use types::{
    Base, Bounds, Function, Guard, Instruction, Label, Linkage, Operand, Register, Space, Special, Text, Unit, Value,
    Variable, Width,
};
