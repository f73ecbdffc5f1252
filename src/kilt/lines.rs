//! The lines of a jsonl file, plain or gzipped, each with its number.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::MultiGzDecoder;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Far above any page of Wikipedia; a file without line ends must not fill the memory.
const LONGEST_LINE_BYTES: u64 = 256 << 20;

/// One line without its line end.
#[derive(Debug)]
pub(crate) struct Line {
    /// Counted from 1.
    pub number: usize,
    pub text: String,
}

/// Reads line after line; ends after the first error. Blank lines may only end the file.
pub(crate) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    number: usize,
    first_blank: Option<usize>,
    ended: bool,
}

impl Lines {
    /// Opens a file; whether it is gzipped is decided by its first bytes, not by its name.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        (&mut file)
            .take(GZIP_MAGIC.len() as u64)
            .read_to_end(&mut head)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let gzipped = head == GZIP_MAGIC;
        let whole = Cursor::new(head).chain(file);
        let reader: Box<dyn BufRead + Send> = if gzipped {
            Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(whole))))
        } else {
            Box::new(BufReader::new(whole))
        };
        Ok(Self { path: path.to_path_buf(), reader, number: 0, first_blank: None, ended: false })
    }

    /// `file:line`, the head of every complaint.
    pub fn place(&self, number: usize) -> String {
        format!("{}:{number}", self.path.display())
    }

    fn read_line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        (&mut self.reader)
            .take(LONGEST_LINE_BYTES)
            .read_until(b'\n', &mut bytes)
            .context("cannot read on: is the file damaged or cut short?")?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() as u64 == LONGEST_LINE_BYTES && !bytes.ends_with(b"\n") {
            bail!("longer than {LONGEST_LINE_BYTES} bytes: is this a jsonl file?");
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        let text = String::from_utf8(bytes)
            .map_err(|e| anyhow!("not UTF-8 from byte {} on", e.utf8_error().valid_up_to() + 1))?;
        if self.number == 1 && text.starts_with('\u{feff}') {
            bail!("starts with a byte-order mark: save the file as UTF-8 without it");
        }
        Ok(Some(text))
    }

    fn next_line(&mut self) -> Result<Option<Line>> {
        loop {
            self.number += 1;
            let number = self.number;
            let read = self.read_line().with_context(|| self.place(number))?;
            let Some(text) = read else { return Ok(None) };
            if text.trim().is_empty() {
                self.first_blank.get_or_insert(number);
                continue;
            }
            if let Some(blank) = self.first_blank {
                bail!("{}: a blank line in the middle of the file: is a row missing here?", self.place(blank));
            }
            return Ok(Some(Line { number, text }));
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.next_line().transpose();
        self.ended = !matches!(line, Some(Ok(_)));
        line
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines_of(bytes: &[u8]) -> Result<Vec<String>> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), bytes)?;
        Lines::open(file.path())?.map(|line| line.map(|l| format!("{}={}", l.number, l.text))).collect()
    }

    fn complaint(bytes: &[u8]) -> String {
        format!("{:#}", lines_of(bytes).unwrap_err())
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_gzipped_files_read_alike() {
        let plain = b"one\ntwo";
        assert_eq!(lines_of(plain).unwrap(), ["1=one", "2=two"]);
        assert_eq!(lines_of(&gzipped(plain)).unwrap(), ["1=one", "2=two"]);
        // Two members in one file, as `cat a.gz b.gz` makes them.
        let mut two = gzipped(b"one\n");
        two.extend(gzipped(b"two\n"));
        assert_eq!(lines_of(&two).unwrap(), ["1=one", "2=two"]);
        assert!(lines_of(b"").unwrap().is_empty());
        assert_eq!(lines_of(b"x").unwrap(), ["1=x"]);
    }

    #[test]
    fn blank_lines_may_only_end_the_file() {
        assert_eq!(lines_of(b"one\n\n  \r\n").unwrap(), ["1=one"]);
        assert!(complaint(b"one\n\n\ntwo\n").contains(":2: a blank line"));
        assert!(complaint(b"\none\n").contains(":1: a blank line"));
    }

    #[test]
    fn damage_is_named_with_its_line() {
        assert!(complaint(b"one\n\xff\xfe\n").contains(":2: not UTF-8 from byte 1"));
        assert!(complaint("\u{feff}one".as_bytes()).contains(":1: starts with a byte-order mark"));
        // Incompressible content, so that the cut falls behind the first line.
        let noise: String = (0..100_000u32).map(|i| format!("{}\n", i.wrapping_mul(2_654_435_761))).collect();
        let whole = gzipped(noise.as_bytes());
        let cut = complaint(&whole[..whole.len() / 2]);
        assert!(cut.contains("cut short"), "{cut}");
        assert!(!cut.contains(":1:"), "{cut}");
        let missing = Lines::open(Path::new("/nowhere/at.all")).err().unwrap();
        assert!(format!("{missing:#}").contains("/nowhere/at.all"));
    }

    #[test]
    fn nothing_follows_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff\none\n").unwrap();
        let mut lines = Lines::open(file.path()).unwrap();
        assert!(lines.next().unwrap().is_err());
        assert!(lines.next().is_none());
    }
}
