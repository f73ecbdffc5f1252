//! A unigram vocabulary by id, checked, with its control tokens out of text's reach.

use std::collections::HashSet;

use anyhow::{Result, ensure};

use super::Tokenizer;
use crate::io::sentencepiece::PieceKind;

/// Tokens with their log-probabilities, by id.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    pub tokens: Vec<(String, f64)>,
    pub hidden: Vec<bool>,
}

impl Vocabulary {
    /// Adds the token of the next id.
    ///
    /// A hidden one is stored behind a space. The pre-tokenizer has replaced every space of a text by then, so that
    /// no text matches it; as it stands, a literal `</s>` would, at probability one.
    pub fn push(&mut self, token: String, score: f64, kind: PieceKind) {
        let hidden = kind == PieceKind::Hidden;
        let token = if hidden { format!(" {token}") } else { token };
        self.tokens.push((token, score));
        self.hidden.push(hidden);
    }

    /// Checks what the model relies on: T5's first three tokens, no token twice or empty, finite scores.
    pub fn check(&self) -> Result<()> {
        let control = [(Tokenizer::PAD, "<pad>"), (Tokenizer::EOS, "</s>"), (Tokenizer::UNK, "<unk>")];
        for (id, token) in control {
            let found = self.tokens.get(id as usize).map_or("nothing", |(found, _)| found.trim_start());
            ensure!(found == token, "its token {id} is {found}, and T5's is {token}");
        }
        let mut seen = HashSet::with_capacity(self.tokens.len());
        for (id, (token, score)) in self.tokens.iter().enumerate() {
            ensure!(!token.is_empty(), "its token {id} is empty");
            ensure!(score.is_finite(), "its token {id} has the score {score}");
            ensure!(seen.insert(token), "its token {id}, {token:?}, is there twice");
        }
        Ok(())
    }
}

/// Whether a token is one of T5's control tokens by name.
pub(super) fn is_control(token: &str) -> bool {
    let sentinel = token.strip_prefix("<extra_id_").and_then(|rest| rest.strip_suffix('>'));
    matches!(token, "<pad>" | "</s>" | "<unk>")
        || sentinel.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}
