//! Texts as the model sees them, within their token budgets.

use anyhow::Result;

use crate::io::Tokenizer;
use crate::kilt::Passage;

/// How texts become tokens. FiD's wording: `question: …`, `title: … context: …`.
pub struct Prompts {
    /// The checkpoint's.
    pub tokenizer: Tokenizer,
    /// Tokens of a question, at most; 48 in the paper.
    pub question_tokens: usize,
    /// Tokens of a passage, at most; 304 in the paper.
    pub passage_tokens: usize,
}

/// A text's tokens within the budget. They end in the end of text, also where the text was cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// At least one.
    pub ids: Vec<u32>,
    /// Whether there were more.
    pub truncated: bool,
}

impl Prompts {
    /// A question's tokens.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn question(&self, input: &str) -> Result<Fitted> {
        Ok(fit(self.tokenizer.encode(&format!("question: {input}"))?, self.question_tokens))
    }

    /// Passages' tokens.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn passages(&self, passages: &[Passage]) -> Result<Vec<Fitted>> {
        let text = |passage: &Passage| format!("title: {} context: {}", passage.title, passage.text);
        let texts: Vec<String> = passages.iter().map(text).collect();
        Ok(self.tokenizer.encode_batch(&texts)?.into_iter().map(|ids| fit(ids, self.passage_tokens)).collect())
    }

    /// What passages' memories depend on besides the encoder and the corpus.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn fingerprint(&self) -> Result<String> {
        Ok(format!("title: … context: … {} tokens by {}", self.passage_tokens, self.tokenizer.fingerprint()?))
    }
}

fn fit(mut ids: Vec<u32>, budget: usize) -> Fitted {
    let truncated = ids.len() > budget;
    if truncated {
        let end = ids.pop();
        ids.truncate(budget - 1);
        ids.extend(end);
    }
    Fitted { ids, truncated }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_still_ends() {
        assert_eq!(fit(vec![5, 6, 7, 1], 4), Fitted { ids: vec![5, 6, 7, 1], truncated: false });
        assert_eq!(fit(vec![5, 6, 7, 8, 1], 4), Fitted { ids: vec![5, 6, 7, 1], truncated: true });
        assert_eq!(fit(vec![5, 1], 1), Fitted { ids: vec![1], truncated: true });
    }
}
