//! Texts as tokens; those of the corpus once.

use std::sync::OnceLock;

use anyhow::Result;

use crate::eval::{Corpus, Prompts, Retrieved};
use crate::io::Tokenizer;
use crate::kilt::Passage;

/// Passages of which the tokens are kept, at most: about a hundred megabytes.
const KEPT_PASSAGES: usize = 200_000;

/// A corpus, and how texts become tokens.
pub struct Texts {
    /// The budgets and the tokenizer.
    pub prompts: Prompts,
    /// None where passages are given.
    pub corpus: Option<Corpus>,
    /// By passage number; empty for a corpus that is too large to be kept.
    kept: Vec<OnceLock<Vec<u32>>>,
}

impl Texts {
    /// Nothing is tokenised yet.
    pub fn new(prompts: Prompts, corpus: Option<Corpus>) -> Self {
        let passages = corpus.as_ref().map_or(0, Corpus::len);
        let kept = if passages <= KEPT_PASSAGES { passages } else { 0 };
        Self { prompts, corpus, kept: (0..kept).map(|_| OnceLock::new()).collect() }
    }

    /// The tokens of each question's passages.
    ///
    /// # Errors
    /// Those of the tokenizer, and a damaged corpus.
    pub fn passages(&self, all: &[Retrieved]) -> Result<Vec<Vec<Vec<u32>>>> {
        let mut numbers: Vec<u32> = all.iter().flat_map(|retrieved| self.missing(retrieved)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for (number, ids) in numbers.iter().zip(self.encode_numbers(&numbers)?) {
            let _ = self.kept[*number as usize].set(ids);
        }
        all.iter().map(|retrieved| self.of(retrieved)).collect()
    }

    /// Passages that could be kept and are not yet.
    fn missing(&self, retrieved: &Retrieved) -> Vec<u32> {
        let Retrieved::Corpus(numbers) = retrieved else { return Vec::new() };
        let missing = |number: &&u32| self.kept.get(**number as usize).is_some_and(|kept| kept.get().is_none());
        numbers.iter().filter(missing).copied().collect()
    }

    fn of(&self, retrieved: &Retrieved) -> Result<Vec<Vec<u32>>> {
        match retrieved {
            Retrieved::Given(passages) => self.encode(passages),
            Retrieved::Corpus(numbers) => {
                let kept = |number: &u32| self.kept.get(*number as usize).and_then(|kept| kept.get().cloned());
                match numbers.iter().map(kept).collect::<Option<Vec<_>>>() {
                    Some(all) => Ok(all),
                    None => self.encode_numbers(numbers),
                }
            }
        }
    }

    fn encode_numbers(&self, numbers: &[u32]) -> Result<Vec<Vec<u32>>> {
        let Some(corpus) = &self.corpus else { return Ok(Vec::new()) };
        let passages = numbers.iter().map(|&number| corpus.passage(number as usize));
        self.encode(&passages.collect::<Result<Vec<_>>>()?)
    }

    fn encode(&self, passages: &[Passage]) -> Result<Vec<Vec<u32>>> {
        Ok(self.prompts.passages(passages)?.into_iter().map(|fitted| fitted.ids).collect())
    }

    /// The tokens of the titles of the corpus's passages, by number.
    ///
    /// # Errors
    /// Those of the tokenizer, and a damaged corpus.
    pub fn titles(&self, numbers: &[u32]) -> Result<Vec<Vec<u32>>> {
        let Some(corpus) = &self.corpus else { return Ok(Vec::new()) };
        let title = |&number: &u32| {
            let title = corpus.passage(number as usize)?.title;
            self.prompts.tokenizer.encode_without_eos(&title)
        };
        numbers.iter().map(title).collect()
    }

    /// An answer's tokens, at most so many, and the end of text.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn answer(&self, text: &str, budget: usize) -> Result<Vec<u32>> {
        let mut ids = self.prompts.tokenizer.encode_without_eos(text)?;
        ids.truncate(budget - 1);
        ids.push(Tokenizer::EOS);
        Ok(ids)
    }
}
