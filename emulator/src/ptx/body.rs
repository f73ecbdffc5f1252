//! A function's body: declarations, labels, instructions, and the scopes that names live in.

use std::collections::HashMap;

use super::lexer::{ParseError, Token};
use super::parser::{Cursor, variable, width};
use super::types::{Base, Function, Guard, Instruction, Label, Linkage, Operand, Register, Special, Text};

/// Registers that one declaration may have: more than any compiler writes, and few enough to be given a name each.
const MOST_REGISTERS: u64 = 1 << 20;

/// Parses from `{` to its `}`.
pub(super) fn parse(cursor: &mut Cursor, function: &mut Function) -> Result<(), ParseError> {
    let mut body = Body::default();
    body.open();
    // A device function's parameters may be registers, and are then names like any other.
    cursor.expect('{')?;
    while !body.open.is_empty() {
        if cursor.skip('{') {
            body.open();
        } else if cursor.skip('}') {
            body.open.pop();
        } else {
            body.statement(cursor, function)?;
        }
    }
    body.resolve(function)
}

#[derive(Default)]
struct Body {
    /// Scopes that are open, the innermost last.
    open: Vec<usize>,
    /// Registers by scope and name.
    registers: HashMap<(usize, String), Register>,
    /// Labels by scope and name: the instruction that they stand before.
    labels: HashMap<(usize, String), u32>,
    /// Labels named by an instruction: the scopes open there, the name, the line.
    wanted: Vec<(Vec<usize>, String, u32)>,
    scopes: usize,
    text: Option<Text>,
}

impl Body {
    fn open(&mut self) {
        self.open.push(self.scopes);
        self.scopes += 1;
    }

    fn scope(&self) -> usize {
        *self.open.last().expect("a statement stands in a scope")
    }

    fn statement(&mut self, cursor: &mut Cursor, function: &mut Function) -> Result<(), ParseError> {
        let line = cursor.line();
        match cursor.peek_word() {
            Some(".loc") => self.location(cursor),
            Some(".reg") => self.declare(cursor, function),
            Some(".shared" | ".local" | ".param" | ".global" | ".const") => {
                function.variables.push(variable(cursor, Linkage::Here)?);
                cursor.expect(';')
            }
            Some(".pragma" | ".branchtargets" | ".callprototype" | ".calltargets") => {
                while !cursor.skip(';') {
                    cursor.take()?;
                }
                Ok(())
            }
            Some(word) if !word.starts_with('.') && self.is_label(cursor) => {
                let name = cursor.word()?;
                cursor.expect(':')?;
                if self.labels.insert((self.scope(), name.clone()), function.body.len() as u32).is_some() {
                    return Err(ParseError::new(line, format!("label `{name}` stands twice in one scope")));
                }
                Ok(())
            }
            _ => {
                let instruction = self.instruction(cursor)?;
                function.body.push(instruction);
                Ok(())
            }
        }
    }

    fn is_label(&self, cursor: &Cursor) -> bool {
        matches!(cursor.tokens.get(cursor.at + 1), Some((Token::Mark(':'), _)))
    }

    /// `.loc file line column [, function_name label] [, inlined_at file line column]`: the innermost place, and the one that it was inlined at.
    fn location(&mut self, cursor: &mut Cursor) -> Result<(), ParseError> {
        cursor.word()?;
        let (file, line) = (cursor.integer()? as u32, cursor.integer()? as u32);
        cursor.integer()?;
        let mut inlined_at = None;
        while cursor.skip(',') {
            if cursor.word()? == "function_name" {
                cursor.word()?;
                cursor.offset()?;
            } else {
                inlined_at = Some((cursor.integer()? as u32, cursor.integer()? as u32));
                cursor.integer()?;
            }
        }
        self.text = Some(Text { file, line, inlined_at });
        Ok(())
    }

    fn declare(&mut self, cursor: &mut Cursor, function: &mut Function) -> Result<(), ParseError> {
        cursor.word()?;
        let kind = cursor.word()?;
        let Some(width) = width(&kind) else {
            return cursor.fail(format!("registers of type `{kind}` are not supported"));
        };
        loop {
            let name = cursor.word()?;
            let count = if cursor.skip('<') {
                let count = cursor.integer()?;
                if count > MOST_REGISTERS {
                    return cursor.fail(format!("{count} registers, at most {MOST_REGISTERS} are supported"));
                }
                cursor.expect('>')?;
                Some(count)
            } else {
                None
            };
            let names = match count {
                Some(count) => (0..count).map(|i| format!("{name}{i}")).collect(),
                None => vec![name],
            };
            for name in names {
                let register = Register(function.registers.len() as u32);
                function.registers.push(width);
                self.registers.insert((self.scope(), name), register);
            }
            if !cursor.skip(',') {
                return cursor.expect(';');
            }
        }
    }

    fn find(&self, name: &str) -> Option<Register> {
        self.open.iter().rev().find_map(|&scope| self.registers.get(&(scope, name.to_owned())).copied())
    }

    fn instruction(&mut self, cursor: &mut Cursor) -> Result<Instruction, ParseError> {
        let line = cursor.line();
        let guard = if cursor.skip('@') {
            let when = !cursor.skip('!');
            let name = cursor.word()?;
            let Some(register) = self.find(&name) else {
                return cursor.fail(format!("predicate `{name}` is not declared"));
            };
            Some(Guard { register, when })
        } else {
            None
        };
        let opcode: Vec<String> = cursor.word()?.split('.').map(str::to_owned).collect();
        let mut operands = Vec::new();
        while !cursor.skip(';') {
            operands.push(self.operand(cursor, &opcode[0])?);
            if !cursor.skip(',') {
                cursor.expect(';')?;
                break;
            }
        }
        Ok(Instruction { guard, opcode, operands, line, text: self.text })
    }

    fn operand(&mut self, cursor: &mut Cursor, opcode: &str) -> Result<Operand, ParseError> {
        let first = self.simple(cursor, opcode)?;
        if cursor.skip('|') {
            return Ok(Operand::Pair(Box::new(first), Box::new(self.simple(cursor, opcode)?)));
        }
        Ok(first)
    }

    fn simple(&mut self, cursor: &mut Cursor, opcode: &str) -> Result<Operand, ParseError> {
        Ok(match cursor.take()? {
            Token::Integer(value) => Operand::Integer(value),
            Token::Single(bits) => Operand::Single(bits),
            Token::Double(bits) => Operand::Double(bits),
            Token::Mark('-') => Operand::Integer(cursor.integer()?.wrapping_neg()),
            Token::Mark('~') => Operand::Integer(!cursor.integer()?),
            Token::Mark('!') => {
                let name = cursor.word()?;
                match self.find(&name) {
                    Some(register) => Operand::Not(register),
                    None => return cursor.fail(format!("predicate `{name}` is not declared")),
                }
            }
            Token::Mark('[') => self.address(cursor)?,
            Token::Mark('{') => Operand::Vector(self.sequence(cursor, opcode, '}')?),
            Token::Mark('(') => Operand::List(self.sequence(cursor, opcode, ')')?),
            Token::Word(word) => self.name(cursor, opcode, word)?,
            other => return cursor.fail(format!("an operand is due, not {other:?}")),
        })
    }

    fn sequence(&mut self, cursor: &mut Cursor, opcode: &str, end: char) -> Result<Vec<Operand>, ParseError> {
        let mut all = Vec::new();
        while !cursor.skip(end) {
            all.push(self.simple(cursor, opcode)?);
            if !cursor.skip(',') {
                cursor.expect(end)?;
                break;
            }
        }
        Ok(all)
    }

    fn address(&mut self, cursor: &mut Cursor) -> Result<Operand, ParseError> {
        let base = match cursor.take()? {
            Token::Integer(value) => {
                cursor.expect(']')?;
                return Ok(Operand::Address(Base::Zero, value as i64));
            }
            Token::Word(word) => match self.find(&word) {
                Some(register) => Base::Register(register),
                None if word.starts_with('%') => return cursor.fail(format!("register `{word}` is not declared")),
                None => Base::Symbol(word),
            },
            other => return cursor.fail(format!("an address is due, not {other:?}")),
        };
        let offset = cursor.offset()?;
        cursor.expect(']')?;
        Ok(Operand::Address(base, offset))
    }

    fn name(&mut self, cursor: &mut Cursor, opcode: &str, word: String) -> Result<Operand, ParseError> {
        if let Some(register) = self.find(&word) {
            return Ok(Operand::Register(register));
        }
        if word == "_" {
            return Ok(Operand::Sink);
        }
        if word.starts_with('%') {
            return match special(&word) {
                Some(special) => Ok(Operand::Special(special)),
                None => cursor.fail(format!("register `{word}` is not declared")),
            };
        }
        if opcode == "bra" {
            let label = Label(self.wanted.len() as u32);
            let line = cursor.tokens[cursor.at - 1].1;
            self.wanted.push((self.open.clone(), word, line));
            return Ok(Operand::Label(label));
        }
        if word == "WARP_SZ" {
            return Ok(Operand::Integer(32));
        }
        let offset = cursor.offset()?;
        Ok(Operand::Symbol(word, offset))
    }

    fn resolve(self, function: &mut Function) -> Result<(), ParseError> {
        for (scopes, name, line) in &self.wanted {
            let found = scopes.iter().rev().find_map(|&scope| self.labels.get(&(scope, name.clone())));
            match found {
                Some(&index) => function.labels.push(index),
                None => return Err(ParseError::new(*line, format!("label `{name}` is not there"))),
            }
        }
        Ok(())
    }
}

fn special(word: &str) -> Option<Special> {
    let (name, axis) = match word.rsplit_once('.') {
        Some((name, "x")) => (name, 0),
        Some((name, "y")) => (name, 1),
        Some((name, "z")) => (name, 2),
        Some(_) => return None,
        None => (word, 0),
    };
    Some(match name {
        "%tid" => Special::Tid(axis),
        "%ntid" => Special::Ntid(axis),
        "%ctaid" => Special::Ctaid(axis),
        "%nctaid" => Special::Nctaid(axis),
        "%cluster_ctaid" => Special::ClusterCtaid(axis),
        "%cluster_nctaid" => Special::ClusterNctaid(axis),
        "%clusterid" => Special::ClusterId(axis),
        "%nclusterid" => Special::NClusterId(axis),
        "%cluster_ctarank" => Special::ClusterRank,
        "%cluster_nctarank" => Special::ClusterSize,
        "%envreg1" => Special::Environment(1),
        "%envreg2" => Special::Environment(2),
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::NWarpId,
        "%smid" => Special::SmId,
        "%nsmid" => Special::NSmId,
        "%gridid" => Special::GridId,
        "%lanemask_eq" => Special::LaneMaskEq,
        "%lanemask_le" => Special::LaneMaskLe,
        "%lanemask_lt" => Special::LaneMaskLt,
        "%lanemask_ge" => Special::LaneMaskGe,
        "%lanemask_gt" => Special::LaneMaskGt,
        "%clock" | "%clock_hi" => Special::Clock,
        "%clock64" => Special::Clock64,
        "%globaltimer" | "%globaltimer_lo" | "%globaltimer_hi" => Special::GlobalTimer,
        "%dynamic_smem_size" => Special::DynamicSharedBytes,
        "%total_smem_size" => Special::TotalSharedBytes,
        _ => return None,
    })
}
