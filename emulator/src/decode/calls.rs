//! Calls: of functions of the file, which are inlined, and of those that the machine provides.

use super::lower::{Lowering, fail};
use super::program::Operation;
use crate::exec::lanes::Args;
use crate::ptx::{Base, Instruction, Operand, ParseError, Space};

/// Calls in calls; more is recursion.
const DEEPEST: usize = 64;

impl Lowering<'_> {
    /// Inlines a function of the file, or lowers one that the machine provides.
    pub fn call(&mut self, instruction: &Instruction) -> Result<(), ParseError> {
        let name = instruction.operands.iter().find_map(|operand| match operand {
            Operand::Symbol(name, _) => Some(name.clone()),
            _ => None,
        });
        let Some(name) = name else { return fail(instruction, "calls through pointers are not supported") };
        let lists: Vec<&Vec<Operand>> = instruction.operands.iter().filter_map(list).collect();
        let (results, arguments): (&[Operand], &[Operand]) = match (instruction.operands.first(), lists.as_slice()) {
            (Some(Operand::List(_)), [results, arguments]) => (results, arguments),
            (Some(Operand::List(_)), [results]) => (results, &[]),
            (_, [arguments]) => (&[], arguments),
            _ => (&[], &[]),
        };
        if let Some(operation) = self.provided(&name, (results, arguments), instruction)? {
            return self.push(instruction, Args::default(), operation);
        }
        let unit = self.unit;
        let found = unit.functions.iter().find(|function| function.name == name && !function.body.is_empty());
        let Some(function) = found else { return fail(instruction, format!("function `{name}` has no body here")) };
        if instruction.guard.is_some() {
            return fail(instruction, "a call under a predicate is not supported");
        }
        if self.frames.len() > DEEPEST {
            return fail(instruction, format!("`{name}` is called too deeply: recursion is not supported"));
        }
        self.calls += 1;
        let prefix = format!("{}#{name}.", self.calls);
        // A call's parameters are the very bytes that the caller gave a name to.
        let caller = self.frames.last().map_or(String::new(), |frame| frame.prefix.clone());
        let formal = function.returns.iter().zip(results).chain(function.params.iter().zip(arguments));
        for (parameter, operand) in formal {
            let Operand::Symbol(actual, 0) = operand else {
                return fail(instruction, "a call's parameter is not a name");
            };
            self.layout.alias(&format!("{prefix}{}", parameter.name), &format!("{caller}{actual}"));
        }
        self.layout.locals(&prefix, &function.variables);
        self.push(instruction, Args::default(), Operation::Nothing)?;
        self.body(function, prefix)
    }

    fn provided(
        &mut self,
        name: &str,
        (results, arguments): (&[Operand], &[Operand]),
        instruction: &Instruction,
    ) -> Result<Option<Operation>, ParseError> {
        let mut addresses = Vec::new();
        if matches!(name, "vprintf" | "__assertfail") {
            for argument in arguments.iter().chain(results) {
                let Operand::Symbol(name, offset) = argument else {
                    return fail(instruction, "a parameter is not a name");
                };
                addresses.push(self.address(
                    &Operand::Address(Base::Symbol(name.clone()), *offset),
                    Space::Param,
                    instruction,
                )?);
            }
        }
        Ok(match (name, addresses.as_slice()) {
            ("vprintf", &[format, arguments]) => Some(Operation::Print { format, arguments, result: None }),
            ("vprintf", &[format, arguments, result]) => {
                Some(Operation::Print { format, arguments, result: Some(result) })
            }
            ("__assertfail", &[a, b, c, d, e]) => Some(Operation::AssertFail { arguments: Box::new([a, b, c, d, e]) }),
            _ => None,
        })
    }
}

fn list(operand: &Operand) -> Option<&Vec<Operand>> {
    match operand {
        Operand::List(all) => Some(all),
        _ => None,
    }
}
