//! File scope: directives, variables, the heads of functions.

use super::body;
use super::lexer::{ParseError, Token, tokens};
use super::types::{Bounds, Function, Linkage, Space, Unit, Value, Variable, Width};

/// Parses a PTX file.
pub fn parse(text: &str) -> Result<Unit, ParseError> {
    let mut cursor = Cursor { tokens: tokens(text)?, at: 0 };
    let mut unit = Unit::default();
    while let Some(word) = cursor.next_word()? {
        statement(&mut cursor, &mut unit, &word)?;
    }
    Ok(unit)
}

fn statement(cursor: &mut Cursor, unit: &mut Unit, word: &str) -> Result<(), ParseError> {
    match word {
        ".version" => {
            unit.version = match cursor.take()? {
                Token::Double(bits) => format!("{:?}", f64::from_bits(bits)),
                other => return cursor.fail(format!("a version, not {other:?}")),
            }
        }
        ".target" => {
            unit.target = cursor.word()?;
            while cursor.skip(',') {
                cursor.word()?;
            }
        }
        ".address_size" => {
            if cursor.integer()? != 64 {
                return cursor.fail("only 64-bit addresses are supported");
            }
        }
        ".file" => {
            let number = cursor.integer()? as u32;
            if let Token::Text(name) = cursor.take()? {
                unit.files.insert(number, name);
            }
            while cursor.skip(',') {
                cursor.take()?;
            }
        }
        ".section" => {
            cursor.word()?;
            cursor.skip_braces()?;
        }
        ".visible" | ".weak" | ".common" | ".extern" | ".entry" | ".func" | ".global" | ".const" | ".shared" => {
            cursor.at -= 1;
            declaration(cursor, unit)?;
        }
        other => return cursor.fail(format!("`{other}` at file scope is not known")),
    }
    Ok(())
}

fn declaration(cursor: &mut Cursor, unit: &mut Unit) -> Result<(), ParseError> {
    let mut linkage = Linkage::Here;
    loop {
        match cursor.peek_word() {
            Some(".visible" | ".weak" | ".common") => cursor.at += 1,
            Some(".extern") => {
                linkage = Linkage::Extern;
                cursor.at += 1;
            }
            Some(".entry" | ".func") => {
                unit.functions.push(function(cursor, linkage)?);
                return Ok(());
            }
            _ => {
                unit.variables.push(variable(cursor, linkage)?);
                return cursor.expect(';');
            }
        }
    }
}

fn function(cursor: &mut Cursor, linkage: Linkage) -> Result<Function, ParseError> {
    let line = cursor.line();
    let is_entry = cursor.word()? == ".entry";
    let returns = if cursor.peek_mark('(') { params(cursor)? } else { Vec::new() };
    let name = cursor.word()?;
    let params = if cursor.peek_mark('(') { params(cursor)? } else { Vec::new() };
    let bounds = bounds(cursor)?;
    let mut function = Function {
        name,
        entry: is_entry.then_some(bounds),
        params,
        returns,
        variables: Vec::new(),
        registers: Vec::new(),
        labels: Vec::new(),
        body: Vec::new(),
        linkage,
        line,
    };
    if cursor.skip(';') {
        function.linkage = Linkage::Extern;
        return Ok(function);
    }
    body::parse(cursor, &mut function)?;
    Ok(function)
}

fn params(cursor: &mut Cursor) -> Result<Vec<Variable>, ParseError> {
    cursor.expect('(')?;
    let mut all = Vec::new();
    while !cursor.skip(')') {
        all.push(variable(cursor, Linkage::Here)?);
        cursor.skip(',');
    }
    Ok(all)
}

fn bounds(cursor: &mut Cursor) -> Result<Bounds, ParseError> {
    let mut bounds = Bounds::default();
    while let Some(word) = cursor.peek_word().map(str::to_owned) {
        cursor.at += 1;
        match word.as_str() {
            ".maxntid" => bounds.max_threads = Some(cursor.extents()?.iter().product()),
            ".reqntid" => {
                let block = cursor.extents()?;
                bounds.required_block = Some(block);
                bounds.max_threads = Some(block.iter().product());
            }
            ".minnctapersm" => bounds.min_blocks = Some(cursor.integer()? as u32),
            ".maxnreg" => bounds.max_registers = Some(cursor.integer()? as u32),
            ".noreturn" | ".explicitcluster" | ".blocksareclusters" => {}
            ".maxclusterrank" => drop(cursor.integer()?),
            ".reqnctapercluster" => drop(cursor.extents()?),
            ".pragma" => {
                cursor.take()?;
                cursor.expect(';')?;
            }
            other => return cursor.fail(format!("directive `{other}` of a function is not known")),
        }
    }
    Ok(bounds)
}

/// Bytes of an element of a type, with the dot or without.
pub(super) fn element_bytes(kind: &str) -> Option<u32> {
    Some(match kind.trim_start_matches('.') {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

/// The register that holds a type.
pub(super) fn width(kind: &str) -> Option<Width> {
    Some(match kind {
        ".pred" => Width::Predicate,
        _ => match element_bytes(kind)? {
            1 | 2 => Width::Bits16,
            4 => Width::Bits32,
            8 => Width::Bits64,
            _ => return None,
        },
    })
}

/// A variable from its space to its initialiser, the closing mark left alone.
pub(super) fn variable(cursor: &mut Cursor, linkage: Linkage) -> Result<Variable, ParseError> {
    let line = cursor.line();
    let space = match cursor.word()?.as_str() {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" | ".reg" => Space::Param,
        other => return cursor.fail(format!("`{other}` is not a state space")),
    };
    let (mut align, mut element, mut lanes) = (None, None, 1);
    let name = loop {
        let word = cursor.word()?;
        match word.as_str() {
            ".align" => {
                // The alignment behind `.ptr` is that of what it points to.
                let value = cursor.integer()? as u32;
                if element.is_none() {
                    align = Some(value);
                }
            }
            ".v2" => lanes = 2,
            ".v4" => lanes = 4,
            ".ptr" | ".global" | ".shared" | ".const" | ".local" => {}
            ".attribute" => cursor.skip_parentheses()?,
            _ => match element_bytes(&word) {
                Some(bytes) => element = Some(bytes),
                None if word.starts_with('.') => return cursor.fail(format!("type `{word}` is not known")),
                None => break word,
            },
        }
    };
    let Some(element) = element else { return cursor.fail(format!("`{name}` has no type")) };
    let mut count = u64::from(lanes);
    let mut sized = true;
    while cursor.skip('[') {
        if cursor.skip(']') {
            sized = false;
            continue;
        }
        count = count.saturating_mul(cursor.integer()?);
        cursor.expect(']')?;
    }
    let initial = if cursor.skip('=') { initial(cursor)? } else { Vec::new() };
    let elements = if sized { count } else { initial.len() as u64 };
    let align = align.unwrap_or(element * lanes);
    Ok(Variable {
        name,
        space,
        element,
        bytes: elements.saturating_mul(u64::from(element)),
        align,
        initial,
        linkage,
        line,
    })
}

fn initial(cursor: &mut Cursor) -> Result<Vec<Value>, ParseError> {
    if !cursor.skip('{') {
        return Ok(vec![value(cursor)?]);
    }
    let mut all = Vec::new();
    while !cursor.skip('}') {
        if cursor.peek_mark('{') {
            all.extend(initial(cursor)?);
        } else {
            all.push(value(cursor)?);
        }
        cursor.skip(',');
    }
    Ok(all)
}

fn value(cursor: &mut Cursor) -> Result<Value, ParseError> {
    if let Some(word) = cursor.peek_word().map(str::to_owned) {
        cursor.at += 1;
        let name = if word == "generic" {
            cursor.expect('(')?;
            let name = cursor.word()?;
            cursor.expect(')')?;
            name
        } else {
            word
        };
        return Ok(Value::Address(name, cursor.offset()?));
    }
    if cursor.skip('-') {
        return Ok(Value::Bits(cursor.integer()?.wrapping_neg()));
    }
    match cursor.take()? {
        Token::Integer(bits) | Token::Double(bits) => Ok(Value::Bits(bits)),
        Token::Single(bits) => Ok(Value::Bits(u64::from(bits))),
        other => cursor.fail(format!("an initial value, not {other:?}")),
    }
}

/// A place in the tokens.
pub(super) struct Cursor {
    pub tokens: Vec<(Token, u32)>,
    pub at: usize,
}

impl Cursor {
    /// Line of the next token, or of the last one.
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |&(_, line)| line)
    }

    /// An error at the token just taken.
    pub fn fail<T>(&self, what: impl Into<String>) -> Result<T, ParseError> {
        let line = self.tokens.get(self.at.saturating_sub(1)).map_or(1, |&(_, line)| line);
        Err(ParseError::new(line, what))
    }

    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    pub fn peek_mark(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    pub fn take(&mut self) -> Result<Token, ParseError> {
        let Some((token, _)) = self.tokens.get(self.at) else { return self.fail("the text ends too early") };
        self.at += 1;
        Ok(token.clone())
    }

    fn next_word(&mut self) -> Result<Option<String>, ParseError> {
        if self.at == self.tokens.len() { Ok(None) } else { self.word().map(Some) }
    }

    pub fn word(&mut self) -> Result<String, ParseError> {
        match self.take()? {
            Token::Word(word) => Ok(word),
            other => self.fail(format!("a word is due, not {other:?}")),
        }
    }

    pub fn integer(&mut self) -> Result<u64, ParseError> {
        match self.take()? {
            Token::Integer(value) => Ok(value),
            other => self.fail(format!("an integer is due, not {other:?}")),
        }
    }

    pub fn skip(&mut self, mark: char) -> bool {
        let here = self.peek_mark(mark);
        self.at += usize::from(here);
        here
    }

    pub fn expect(&mut self, mark: char) -> Result<(), ParseError> {
        if self.skip(mark) {
            return Ok(());
        }
        // A mark left out is the fault of the line before, where the previous token stands.
        let found = self.peek().cloned();
        self.fail(format!("`{mark}` is due, not {found:?}"))
    }

    /// `+ n` or `- n` or nothing.
    pub fn offset(&mut self) -> Result<i64, ParseError> {
        if self.skip('-') {
            return Ok((self.integer()? as i64).wrapping_neg());
        }
        if !self.skip('+') {
            return Ok(0);
        }
        let negative = self.skip('-');
        let value = self.integer()? as i64;
        Ok(if negative { value.wrapping_neg() } else { value })
    }

    fn extents(&mut self) -> Result<[u32; 3], ParseError> {
        let mut extents = [1; 3];
        for (axis, extent) in extents.iter_mut().enumerate() {
            if axis == 0 || self.skip(',') {
                *extent = self.integer()? as u32;
            }
        }
        Ok(extents)
    }

    fn skip_parentheses(&mut self) -> Result<(), ParseError> {
        self.expect('(')?;
        while !self.skip(')') {
            self.take()?;
        }
        Ok(())
    }

    fn skip_braces(&mut self) -> Result<(), ParseError> {
        self.expect('{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.take()? {
                Token::Mark('{') => depth += 1,
                Token::Mark('}') => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }
}
