//! `printf` and failed assertions.

use super::scene::{Outcome, Scene, Trouble, lanes};
use crate::check::{Fault, Kind};
use crate::decode::Address;
use crate::memory::{LOCAL_WINDOW, WINDOW_BYTES};

/// Text that is longer was not meant as text.
const LONGEST_TEXT: usize = 4096;

impl Scene<'_, '_> {
    /// The text that `printf` makes, lane by lane.
    pub fn print(&mut self, format: &Address, arguments: &Address, result: Option<&Address>) -> Outcome<String> {
        let (formats, arguments) = (self.call_argument(format, 8), self.call_argument(arguments, 8));
        let mut text = String::new();
        for lane in lanes(self.mask) {
            let format = self.text(formats[lane]).ok_or_else(|| self.unreadable(lane, formats[lane]))?;
            text += &self.formatted(lane, &format, arguments[lane]);
            if let Some(result) = result {
                let at = self.addresses(result)[lane] as usize;
                self.warp.local.store(lane, at, 4, 0);
            }
        }
        Ok(text)
    }

    fn unreadable(&self, lane: usize, address: u64) -> Box<Trouble> {
        self.trouble(lane as u32, Fault::at(Kind::OutOfBounds, address, "there is no text"))
    }

    /// What a failed assertion says.
    pub fn assertion(&self, arguments: &[Address; 5]) -> Box<Trouble> {
        let lane = Self::first(self.mask) as usize;
        let argument = |i: usize| self.call_argument(&arguments[i], 8)[lane];
        let text = |i: usize| self.text(argument(i)).unwrap_or_default();
        let line = self.call_argument(&arguments[2], 4)[lane];
        let what = format!("`{}` does not hold ({}:{line}, in {})", text(0), text(1), text(3));
        self.trouble(lane as u32, Fault::new(Kind::Assert, what))
    }

    /// What a caller put into a parameter of a call.
    fn call_argument(&self, address: &Address, bytes: usize) -> [u64; 32] {
        let places = self.addresses(address);
        std::array::from_fn(|lane| {
            let at = places[lane] as usize;
            if at + bytes <= self.warp.local.bytes_per_lane() { self.warp.local.load(lane, at, bytes) } else { 0 }
        })
    }

    /// Bytes at a generic address.
    fn peek(&self, lane: usize, address: u64, bytes: usize) -> Option<u64> {
        let local = address.wrapping_sub(LOCAL_WINDOW);
        if local < WINDOW_BYTES {
            let fits = local as usize + bytes <= self.warp.local.bytes_per_lane();
            return fits.then(|| self.warp.local.load(lane, local as usize, bytes));
        }
        let at = self.grid.view.find(address, address.checked_add(bytes as u64)?, self.warp.hint)?;
        let region = &self.grid.view.regions[at];
        let mut word = [0; 8];
        region.read(address - region.address, &mut word[..bytes]);
        Some(u64::from_le_bytes(word))
    }

    fn text(&self, address: u64) -> Option<String> {
        let mut bytes = Vec::new();
        while bytes.len() < LONGEST_TEXT {
            match self.peek(0, address + bytes.len() as u64, 1)? as u8 {
                0 => return Some(String::from_utf8_lossy(&bytes).into_owned()),
                byte => bytes.push(byte),
            }
        }
        None
    }

    fn formatted(&self, lane: usize, format: &str, arguments: u64) -> String {
        let mut out = String::new();
        let mut at = 0u64;
        let mut rest = format;
        while let Some(start) = rest.find('%') {
            out += &rest[..start];
            rest = &rest[start + 1..];
            let length = rest.find(|c: char| c.is_ascii_alphabetic() && !"hlLzjt".contains(c) || c == '%');
            let Some(length) = length else { break };
            let (directive, kind) = (&rest[..length], rest.as_bytes()[length]);
            rest = &rest[length + 1..];
            if kind == b'%' {
                out.push('%');
                continue;
            }
            let wide = directive.contains(['l', 'z', 'j', 't'])
                || matches!(kind, b's' | b'p' | b'e' | b'f' | b'g' | b'E' | b'G' | b'a');
            let bytes = if wide { 8 } else { 4 };
            at = at.next_multiple_of(bytes);
            let bits = self.peek(lane, arguments + at, bytes as usize).unwrap_or(0);
            at += bytes;
            let value = match kind {
                b's' => self.text(bits).unwrap_or_else(|| "(null)".into()),
                kind => number(kind, directive, bits, if wide { 64 } else { 32 }),
            };
            out += &padded(&value, directive);
        }
        out + rest
    }
}

/// A number as C writes it.
fn number(kind: u8, directive: &str, bits: u64, width: u32) -> String {
    let signed = if width == 64 { bits as i64 } else { i64::from(bits as u32 as i32) };
    let precision =
        directive.split_once('.').and_then(|(_, digits)| digits.trim_matches(char::is_alphabetic).parse().ok());
    let double = f64::from_bits(bits);
    let plus = if directive.contains('+') && (signed >= 0) { "+" } else { "" };
    match kind {
        b'd' | b'i' => format!("{plus}{signed}"),
        b'u' => bits.to_string(),
        b'x' if directive.starts_with('#') => format!("{bits:#x}"),
        b'x' => format!("{bits:x}"),
        b'X' => format!("{bits:X}"),
        b'o' => format!("{bits:o}"),
        b'p' => format!("{bits:#x}"),
        b'c' => char::from(bits as u8).to_string(),
        b'e' | b'E' => exponential(double, precision.unwrap_or(6)),
        b'g' | b'G' => general(double, precision.unwrap_or(6)),
        _ => format!("{double:.*}", precision.unwrap_or(6)),
    }
}

fn exponential(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let power: i32 = power.parse().unwrap_or(0);
            format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
        None => text,
    }
}

fn general(x: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let power = if x == 0.0 || !x.is_finite() { 0 } else { x.abs().log10().floor() as i32 };
    if power < -4 || power >= precision as i32 {
        let text = exponential(x, precision - 1);
        return match text.split_once('e') {
            Some((digits, power)) if digits.contains('.') => {
                format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => text,
        };
    }
    let text = format!("{x:.*}", (precision as i32 - 1 - power).max(0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// Brought to the width that a directive asks for.
fn padded(value: &str, directive: &str) -> String {
    let flags = directive.trim_start_matches(['+', ' ', '#']);
    let digits: String = flags.trim_start_matches('-').chars().take_while(char::is_ascii_digit).collect();
    let width = digits.parse().unwrap_or(0);
    if flags.starts_with('-') {
        return format!("{value:<width$}");
    }
    if digits.starts_with('0') {
        let (sign, rest) = value.split_at(usize::from(value.starts_with('-')));
        return format!("{sign}{rest:0>width$}", width = width.saturating_sub(sign.len()));
    }
    format!("{value:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_c_writes_them() {
        assert_eq!(number(b'd', "", -5i64 as u64, 32), "-5");
        assert_eq!(number(b'u', "l", u64::MAX, 64), "18446744073709551615");
        assert_eq!(number(b'f', ".2", 1.005f64.to_bits(), 64), "1.00");
        assert_eq!(number(b'e', "", 12345.678f64.to_bits(), 64), "1.234568e+04");
        assert_eq!(number(b'g', "", 0.0001f64.to_bits(), 64), "0.0001");
        assert_eq!(number(b'g', "", 1e10f64.to_bits(), 64), "1e+10");
        assert_eq!(padded("7", "03"), "007");
        assert_eq!(padded("-7", "04"), "-007");
        assert_eq!(padded("7", "-3"), "7  ");
        assert_eq!(padded("7", "3"), "  7");
    }
}
