//! T5's tokenizer: text to ids and back, from `tokenizer.json` or from `spiece.model`.
//!
//! Text is data. The literals of control tokens (`</s>`, `<pad>`, `<unk>`, `<extra_id_0>` and so on) in a question or
//! passage are split like any other characters, as SentencePiece itself does, so that no text can end a sequence early.
//! (Hugging Face's tokenizers turn such literals into the control ids.) Whoever wants a control id appends it.

mod charsmap;
mod json;
mod vocabulary;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rayon::prelude::*;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::{NormalizerWrapper, Precompiled, Replace, Sequence, Strip, replace::ReplacePattern};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::sentencepiece::{PieceKind, SentencePiece};
use super::write_atomic;
use vocabulary::Vocabulary;

const JSON: &str = "tokenizer.json";
const SPIECE: &str = "spiece.model";
/// SentencePiece's visible space, U+2581.
const SPACE: char = '▁';
/// T5's sentinels, `<extra_id_0>` to `<extra_id_99>`, follow the pieces of `spiece.model`, the last one first.
const SENTINELS: u32 = 100;

/// T5's tokenizer. Safe to use from many threads at once.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// By id: tokens that are no text and that [`Self::decode`] skips.
    hidden: Vec<bool>,
}

impl Tokenizer {
    /// Id of `<pad>`, with which the decoder also starts.
    pub const PAD: u32 = 0;
    /// Id of `</s>`, the end of every sequence.
    pub const EOS: u32 = 1;
    /// Id of `<unk>`, which stands for a run of characters outside the vocabulary.
    pub const UNK: u32 = 2;

    /// Opens the tokenizer of a checkpoint folder: `tokenizer.json`, else `spiece.model`.
    ///
    /// # Errors
    /// Neither file there, or a damaged one.
    pub fn open(folder: &Path) -> Result<Self> {
        let json = folder.join(JSON);
        if json.is_file() {
            return Self::from_json(&json);
        }
        let spiece = folder.join(SPIECE);
        if spiece.is_file() {
            return Self::from_spiece(&spiece);
        }
        bail!("{} has no tokenizer: put T5's {JSON} or {SPIECE} there (all T5 checkpoints share one)", folder.display())
    }

    /// Reads a `tokenizer.json` that holds a unigram model with T5's control tokens.
    ///
    /// # Errors
    /// An unreadable or damaged file, another kind of model, a vocabulary that is not T5's.
    pub fn from_json(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        json::parse(&text).with_context(|| format!("{} is not T5's tokenizer", path.display()))
    }

    /// Reads a SentencePiece unigram model and adds T5's 100 sentinels after its pieces.
    ///
    /// # Errors
    /// An unreadable or damaged file, another kind of model, a vocabulary that is not T5's.
    pub fn from_spiece(path: &Path) -> Result<Self> {
        let model = SentencePiece::open(path)?;
        from_sentencepiece(model).with_context(|| format!("{} is not T5's tokenizer", path.display()))
    }

    /// The ids of a text, then [`Self::EOS`], once.
    ///
    /// # Errors
    /// Whatever the model says; none is known for text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode_without_eos(text)?;
        ids.push(Self::EOS);
        Ok(ids)
    }

    /// The ids of a text alone.
    ///
    /// # Errors
    /// Whatever the model says; none is known for text.
    pub fn encode_without_eos(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(anyhow::Error::from_boxed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// [`Self::encode`] of many texts on all cores, in their order.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_batch<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| self.encode(text.as_ref())).collect()
    }

    /// The text of ids, without `<pad>`, `</s>`, `<unk>` and the other control tokens. Ids beyond the vocabulary have
    /// no text: T5's models have 28 more columns than the vocabulary has tokens, and may say so.
    ///
    /// # Errors
    /// Those of the tokenizers library.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let shown = |id: &u32| self.hidden.get(*id as usize) == Some(&false);
        let text: Vec<u32> = ids.iter().copied().filter(shown).collect();
        self.inner.decode(&text, false).map_err(anyhow::Error::from_boxed)
    }

    /// A hash of the vocabulary and of all that makes texts ids.
    ///
    /// # Errors
    /// Those of the tokenizers library.
    pub fn fingerprint(&self) -> Result<String> {
        let pipeline = self.inner.to_string(false).map_err(anyhow::Error::from_boxed)?;
        Ok(blake3::hash(pipeline.as_bytes()).to_hex().to_string())
    }

    /// The id of `<extra_id_…>` number `number`, where the vocabulary has it. No text has such ids.
    pub fn sentinel(&self, number: usize) -> Option<u32> {
        // As `Vocabulary::push` hides it.
        self.inner.token_to_id(&format!(" <extra_id_{number}>"))
    }

    /// Copies the file that [`Self::open`] would read from one folder into another.
    ///
    /// # Errors
    /// No such file, and those of the file system.
    pub fn copy(from: &Path, to: &Path) -> Result<()> {
        let name = [JSON, SPIECE].into_iter().find(|name| from.join(name).is_file());
        let name = name.with_context(|| format!("{} has no tokenizer: neither {JSON} nor {SPIECE}", from.display()))?;
        let bytes =
            std::fs::read(from.join(name)).with_context(|| format!("cannot read {name} in {}", from.display()))?;
        write_atomic(&to.join(name), |file| Ok(std::io::Write::write_all(file, &bytes)?))
    }

    /// Number of token ids, sentinels included: 32100 for T5.
    pub fn vocab_size(&self) -> usize {
        self.hidden.len()
    }
}

/// The pipeline of Hugging Face's T5 tokenizers around a SentencePiece model.
fn from_sentencepiece(model: SentencePiece) -> Result<Tokenizer> {
    ensure!(
        model.unk_id == u64::from(Tokenizer::UNK),
        "its unknown piece has id {}, and T5's has {}",
        model.unk_id,
        Tokenizer::UNK
    );
    let mut vocabulary = Vocabulary::default();
    for piece in model.pieces {
        vocabulary.push(piece.text, piece.score.into(), piece.kind);
    }
    for sentinel in (0..SENTINELS).rev() {
        vocabulary.push(format!("<extra_id_{sentinel}>"), 0.0, PieceKind::Hidden);
    }
    vocabulary.check()?;

    let unigram =
        Unigram::from(vocabulary.tokens, Some(Tokenizer::UNK as usize), false).map_err(anyhow::Error::from_boxed)?;
    let spaces = Metaspace::new(SPACE, PrependScheme::Always, true);
    let mut inner = tokenizers::Tokenizer::new(unigram);
    inner.with_normalizer(Some(normalizer(&model.charsmap)?)).map_err(anyhow::Error::from_boxed)?;
    inner.with_pre_tokenizer(Some(spaces.clone()));
    inner.with_decoder(Some(spaces));
    Ok(Tokenizer { inner, hidden: vocabulary.hidden })
}

/// SentencePiece's character replacements, then no spaces at the end and one for each run of spaces.
fn normalizer(charsmap: &[u8]) -> Result<Sequence> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if !charsmap.is_empty() {
        charsmap::check(charsmap).context("precompiled_charsmap")?;
        let replacements = Precompiled::from(charsmap).map_err(|error| anyhow!("{error}"))?;
        steps.push(replacements.into());
    }
    let runs = ReplacePattern::Regex(" {2,}".to_string());
    let one = Replace::new(runs, SPACE.to_string()).map_err(anyhow::Error::from_boxed)?;
    steps.push(Strip::new(false, true).into());
    steps.push(one.into());
    Ok(Sequence::new(steps))
}

#[cfg(test)]
#[path = "tokenizer/tests.rs"]
mod tests;
