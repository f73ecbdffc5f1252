//! Just enough of a SentencePiece model file (`spiece.model`): the pieces of a unigram vocabulary and its normaliser.
//!
//! The file is one protocol-buffer message, `ModelProto` of sentencepiece_model.proto: `pieces` (field 1: `piece` 1,
//! `score` 2, `type` 3), `trainer_spec` (field 2: `model_type` 3, `treat_whitespace_as_suffix` 24, `byte_fallback` 35,
//! `unk_id` 40) and `normalizer_spec` (field 3: `precompiled_charsmap` 2, `add_dummy_prefix` 3,
//! `remove_extra_whitespaces` 4, `escape_whitespaces` 5). Other fields are stepped over.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const UNIGRAM: u64 = 1;

/// A unigram vocabulary and its normaliser, as the file has them.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// By id.
    pub pieces: Vec<Piece>,
    /// The piece that stands for characters outside the vocabulary.
    pub unk_id: u64,
    /// SentencePiece's compiled table of character replacements; empty for none.
    pub charsmap: Vec<u8>,
}

/// A piece of the vocabulary.
#[derive(Debug)]
pub(super) struct Piece {
    pub text: String,
    /// Log-probability.
    pub score: f32,
    pub kind: PieceKind,
}

/// Whether text can contain the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// A part of text.
    Text,
    /// Unknown, control or unused: never found in text, whatever the text says.
    Hidden,
}

impl SentencePiece {
    /// Reads a model file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&bytes)
            .with_context(|| format!("{} is not a SentencePiece unigram model as T5 has it", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut model = Self { pieces: Vec::new(), unk_id: 0, charsmap: Vec::new() };
        let mut message = Message(bytes);
        while let Some(field) = message.next_field()? {
            match field {
                (1, Value::Bytes(piece)) => {
                    let id = model.pieces.len();
                    model.pieces.push(Piece::parse(piece).with_context(|| format!("piece {id}"))?);
                }
                (2, Value::Bytes(spec)) => {
                    model.unk_id = trainer_unk_id(spec).context("trainer_spec")?;
                }
                (3, Value::Bytes(spec)) => {
                    model.charsmap = normalizer_charsmap(spec).context("normalizer_spec")?;
                }
                (1..=3, other) => {
                    bail!("a field of the model is {other:?} where a message is wanted")
                }
                _ => {}
            }
        }
        ensure!(!model.pieces.is_empty(), "it has no pieces");
        Ok(model)
    }
}

impl Piece {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: PieceKind::Text };
        let mut message = Message(bytes);
        while let Some(field) = message.next_field()? {
            match field {
                (1, Value::Bytes(text)) => {
                    let text = std::str::from_utf8(text).context("its text is not UTF-8")?;
                    piece.text = text.to_string();
                }
                (2, Value::Fixed32(bits)) => piece.score = f32::from_bits(bits),
                (3, Value::Varint(kind)) => piece.kind = PieceKind::of(kind)?,
                (1..=3, other) => bail!("a field of the piece is {other:?}"),
                _ => {}
            }
        }
        Ok(piece)
    }
}

impl PieceKind {
    fn of(number: u64) -> Result<Self> {
        match number {
            1 => Ok(Self::Text),
            2 | 3 | 5 => Ok(Self::Hidden),
            4 => bail!("it is a user-defined piece, which T5's vocabulary does not have"),
            6 => bail!("it is a byte piece, which T5's vocabulary does not have"),
            _ => bail!("its type is {number}, which SentencePiece does not have"),
        }
    }
}

fn trainer_unk_id(spec: &[u8]) -> Result<u64> {
    let mut unk_id = 0;
    let mut message = Message(spec);
    while let Some(field) = message.next_field()? {
        match field {
            (3, Value::Varint(UNIGRAM)) => {}
            (3, other) => bail!("model_type is {other:?}, not unigram (1)"),
            (24, Value::Varint(1..)) => bail!("spaces are suffixes (treat_whitespace_as_suffix)"),
            (35, Value::Varint(1..)) => bail!("unknown characters become bytes (byte_fallback)"),
            (40, Value::Varint(id)) => unk_id = id,
            (40, other) => bail!("unk_id is {other:?}"),
            _ => {}
        }
    }
    Ok(unk_id)
}

fn normalizer_charsmap(spec: &[u8]) -> Result<Vec<u8>> {
    let mut charsmap = Vec::new();
    let mut message = Message(spec);
    while let Some(field) = message.next_field()? {
        match field {
            (2, Value::Bytes(bytes)) => charsmap = bytes.to_vec(),
            (2, other) => bail!("precompiled_charsmap is {other:?}"),
            (3, Value::Varint(0)) => bail!("add_dummy_prefix is off, and T5 has it on"),
            (4, Value::Varint(0)) => bail!("remove_extra_whitespaces is off, and T5 has it on"),
            (5, Value::Varint(0)) => bail!("escape_whitespaces is off, and T5 has it on"),
            _ => {}
        }
    }
    Ok(charsmap)
}

/// What is left of a protocol-buffer message.
struct Message<'a>(&'a [u8]);

#[derive(Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Message<'a> {
    /// The next field's number and value; nothing at the end.
    fn next_field(&mut self) -> Result<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into()?)),
            wire => bail!("unknown wire type {wire}"),
        };
        ensure!(tag >> 3 != 0, "field number 0");
        Ok(Some((tag >> 3, value)))
    }

    /// Seven bits a byte, the lowest first; the high bit says that more follow.
    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number of more than ten bytes")
    }

    fn take(&mut self, bytes: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(bytes).ok().and_then(|at| self.0.split_at_checked(at));
        let (taken, rest) = split
            .with_context(|| format!("the file ends early: {bytes} more bytes announced, {} there", self.0.len()))?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPIECE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/tokenizer/spiece.model");

    fn complaint(bytes: &[u8]) -> String {
        format!("{:#}", SentencePiece::parse(bytes).unwrap_err())
    }

    /// A length-delimited field of fewer than 128 bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    #[test]
    fn t5_has_32000_pieces_and_three_hidden_ones() {
        let model = SentencePiece::open(Path::new(SPIECE)).unwrap();
        let hidden: Vec<&str> = model
            .pieces
            .iter()
            .filter(|piece| piece.kind == PieceKind::Hidden)
            .map(|piece| piece.text.as_str())
            .collect();
        assert_eq!(hidden, ["<pad>", "</s>", "<unk>"]);
        assert_eq!((model.pieces.len(), model.unk_id), (32000, 2));
        assert_eq!((model.pieces[4].text.as_str(), model.pieces[4].score), ("X", -2.4864788));
        assert_eq!(model.charsmap.len(), 237_539);
    }

    #[test]
    fn damaged_models_say_what_is_wrong() {
        assert!(complaint(b"").contains("no pieces"));
        assert!(complaint(&field(1, &field(1, b"\xff"))).contains("piece 0: its text is not UTF-8"));
        assert!(complaint(&[0x0a, 5, b'x']).contains("ends early"));
        assert!(complaint(&[0x0d, 1, 2]).contains("ends early"));
        assert!(complaint(&[0x0b]).contains("unknown wire type 3"));
        assert!(complaint(&[0x02, 0]).contains("field number 0"));
        assert!(complaint(&[0xff; 11]).contains("more than ten bytes"));
        assert!(complaint(&[0x08, 1]).contains("where a message is wanted"));
        let length = [&[0x0a][..], &[0xff; 9], &[0x01]].concat();
        assert!(complaint(&length).contains("ends early"));
    }

    #[test]
    fn models_of_other_families_are_refused() {
        assert!(complaint(&field(2, &[3 << 3, 2])).contains("not unigram"));
        assert!(complaint(&field(2, &[0xc0, 1, 1])).contains("suffix"));
        assert!(complaint(&field(2, &[0x98, 2, 1])).contains("byte_fallback"));
        assert!(complaint(&field(3, &[3 << 3, 0])).contains("add_dummy_prefix"));
        assert!(complaint(&field(3, &[4 << 3, 0])).contains("remove_extra_whitespaces"));
        assert!(complaint(&field(3, &[5 << 3, 0])).contains("escape_whitespaces"));
        for kind in [4, 6, 7] {
            assert!(complaint(&field(1, &[3 << 3, kind])).contains("piece 0"));
        }
    }

    #[test]
    fn a_model_cut_anywhere_in_its_pieces_is_refused_or_shorter() {
        let whole = std::fs::read(SPIECE).unwrap();
        for cut in 1..300 {
            if let Ok(model) = SentencePiece::parse(&whole[..cut]) {
                assert!(model.pieces.len() < 32);
            }
        }
        assert!(SentencePiece::parse(&whole[..whole.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = SentencePiece::parse(&bytes);
        }
    }
}
