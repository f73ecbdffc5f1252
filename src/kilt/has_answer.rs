//! Whether a passage states an answer.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::normalise::{is_letter_or_number, is_space};

/// Whether any of the passages has any of the answers' tokens as a contiguous sub-sequence: answer-in-passages@m, if m are given.
///
/// Both sides are brought to NFD, cut into runs of letters, numbers and marks or single symbols (DPR's SimpleTokenizer:
/// `[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]`), and lower-cased token by token. An answer without tokens is in no passage. Code points that
/// Unicode has not assigned count as symbols.
pub fn has_answer<'a>(passages: impl IntoIterator<Item = &'a str>, answers: &[&str]) -> bool {
    let answers: Vec<Vec<String>> =
        answers.iter().map(|answer| tokens(answer)).filter(|tokens| !tokens.is_empty()).collect();
    passages.into_iter().any(|passage| {
        let passage = tokens(passage);
        let holds = |answer: &Vec<String>| passage.windows(answer.len()).any(|w| w == answer);
        answers.iter().any(holds)
    })
}

fn tokens(text: &str) -> Vec<String> {
    let text: String = text.nfd().collect();
    let mut tokens = Vec::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let run = rest.find(|c| !is_run(c)).unwrap_or(rest.len());
        let end = if run == 0 { first.len_utf8() } else { run };
        let (token, after) = rest.split_at(end);
        if run > 0 || !is_separator_or_control(first) {
            tokens.push(token.to_lowercase());
        }
        rest = after;
    }
    tokens
}

/// Categories L, N and M.
fn is_run(c: char) -> bool {
    is_letter_or_number(c) || is_combining_mark(c)
}

/// Categories Z and C, but for the unassigned code points.
fn is_separator_or_control(c: char) -> bool {
    is_space(c) || c.is_control() || is_format(c) || is_private_or_no_character(c)
}

/// Category Cf, as of Unicode 16.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// Category Co, and the code points that will never be characters.
fn is_private_or_no_character(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{f0000}'..='\u{10ffff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_into_runs_and_symbols() {
        assert_eq!(tokens("U.S. GDP: $3.5tn!"), ["u", ".", "s", ".", "gdp", ":", "$", "3", ".", "5tn", "!"]);
        // é is one letter before NFD and two code points after it, both of the same run; the soft hyphen is a control.
        assert_eq!(tokens("caf\u{e9} co\u{ad}op"), ["cafe\u{301}", "co", "op"]);
        assert_eq!(tokens("हिन्दी x²\u{200b}\u{e000}"), ["हिन्दी", "x²"]);
        assert_eq!(tokens("ⓐb"), ["ⓐ", "b"]);
        assert!(tokens(" \u{3000}\n\u{7f}").is_empty());
    }

    #[test]
    fn an_answer_is_a_contiguous_run_of_tokens() {
        let lead = "The Cafe\u{301} de Flore opened in the 1880s.";
        assert!(has_answer([lead], &["café de flore"]));
        assert!(has_answer([lead], &["rome", "1880s"]));
        // Tokens are whole: a prefix is none of them, and neither are two that another stands between.
        assert!(!has_answer([lead], &["1880"]));
        assert!(!has_answer([lead], &["cafe flore"]));
        // Punctuation is a token too.
        assert!(has_answer(["J. Doe"], &["j."]));
        assert!(!has_answer(["J Doe"], &["j."]));
        assert!(has_answer(["nothing", "Rye"], &["rye"]));
    }

    #[test]
    fn nothing_is_in_nothing() {
        assert!(!has_answer([], &["x"]));
        assert!(!has_answer(["x"], &[]));
        assert!(!has_answer(["x"], &["", "  "]));
        assert!(!has_answer(["x"], &["x y z"]));
    }
}
