//! PTX text as tokens.

use std::fmt;

/// Why a text is not a module: the line of the PTX and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line of the PTX, from 1.
    pub line: u32,
    /// What is wrong.
    pub what: String,
}

impl ParseError {
    pub(crate) fn new(line: u32, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTX line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

/// A piece of text with a meaning.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name, with the dots and colons inside it: `ld.global.u32`, `%tid.x`, `.reg`, `$L__BB0_1`.
    Word(String),
    Integer(u64),
    Single(u32),
    Double(u64),
    Text(String),
    Mark(char),
}

/// Tokens of a text, each with its line.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, u32)>, ParseError> {
    let mut lexer = Lexer { bytes: text.as_bytes(), at: 0, line: 1 };
    let mut all = Vec::new();
    while let Some(token) = lexer.next()? {
        all.push(token);
    }
    Ok(all)
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        // PTX handed over as a C string ends in a zero; so does everything else here.
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_blank(&mut self) -> Result<(), ParseError> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'\n', _) => {
                    self.line += 1;
                    self.at += 1;
                }
                (b' ' | b'\t' | b'\r', _) => self.at += 1,
                (b'/', b'/') => {
                    while !matches!(self.peek(0), b'\n' | 0) {
                        self.at += 1;
                    }
                }
                (b'/', b'*') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), ParseError> {
        let start = self.line;
        self.at += 2;
        while (self.peek(0), self.peek(1)) != (b'*', b'/') {
            match self.peek(0) {
                0 => return Err(ParseError::new(start, "a comment that does not end")),
                b'\n' => self.line += 1,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 2;
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Token, u32)>, ParseError> {
        self.skip_blank()?;
        let line = self.line;
        let token = match self.peek(0) {
            0 => return Ok(None),
            b'"' => self.quoted()?,
            b'0'..=b'9' => self.number()?,
            b'.' | b'_' | b'$' | b'%' | b'a'..=b'z' | b'A'..=b'Z' => self.word(),
            other => {
                self.at += 1;
                Token::Mark(char::from(other))
            }
        };
        Ok(Some((token, line)))
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        // `.reg.b32` is a directive and a type; the dots inside an opcode belong to it.
        let directive = self.peek(0) == b'.';
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'.', _) if directive => break,
                (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | b'.', _) => self.at += 1,
                (b':', b':') => self.at += 2,
                _ => break,
            }
        }
        Token::Word(String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned())
    }

    fn quoted(&mut self) -> Result<Token, ParseError> {
        let start = self.at + 1;
        self.at += 1;
        while self.peek(0) != b'"' {
            if matches!(self.peek(0), b'\n' | 0) {
                return Err(ParseError::new(self.line, "a string that does not end"));
            }
            self.at += if self.peek(0) == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        Ok(Token::Text(String::from_utf8_lossy(&self.bytes[start..self.at - 1]).into_owned()))
    }

    fn number(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        while self.peek(0).is_ascii_alphanumeric() || (self.peek(0) == b'.' && self.peek(1).is_ascii_digit()) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).expect("letters and digits");
        literal(text).ok_or_else(|| ParseError::new(self.line, format!("`{text}` is not a number")))
    }
}

/// A literal: `0f3F800000`, `0d…`, `0x…`, `0b…`, octal, decimal (`U` behind it or not), or a decimal fraction.
fn literal(text: &str) -> Option<Token> {
    let prefixed = |prefix: [&str; 2]| prefix.iter().find_map(|p| text.strip_prefix(p));
    if let Some(bits) = prefixed(["0f", "0F"]).filter(|bits| bits.len() == 8) {
        return u32::from_str_radix(bits, 16).ok().map(Token::Single);
    }
    if let Some(bits) = prefixed(["0d", "0D"]).filter(|bits| bits.len() == 16) {
        return u64::from_str_radix(bits, 16).ok().map(Token::Double);
    }
    if text.contains('.') {
        return text.parse().ok().map(|value: f64| Token::Double(value.to_bits()));
    }
    let digits = text.strip_suffix(['U', 'u']).unwrap_or(text);
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    u64::from_str_radix(digits, radix).ok().map(Token::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_every_kind() {
        for (text, token) in [
            ("0f3F800000", Token::Single(0x3f80_0000)),
            ("0d3FF0000000000000", Token::Double(1f64.to_bits())),
            ("0x10", Token::Integer(16)),
            ("0b101", Token::Integer(5)),
            ("017", Token::Integer(15)),
            ("0", Token::Integer(0)),
            ("42U", Token::Integer(42)),
            ("1.5", Token::Double(1.5f64.to_bits())),
        ] {
            assert_eq!(literal(text), Some(token), "{text}");
        }
        assert_eq!(literal("12ab"), None);
        assert_eq!(literal("089"), None);
    }

    #[test]
    fn lines_are_counted_through_comments() {
        let all = tokens("a // x\n/* \n\n */ mbarrier.init.shared::cta.b64 [x+4];").unwrap();
        assert_eq!(all[0], (Token::Word("a".into()), 1));
        assert_eq!(all[1], (Token::Word("mbarrier.init.shared::cta.b64".into()), 4));
        assert_eq!(tokens("x\n\"ab").unwrap_err().line, 2);
    }
}
