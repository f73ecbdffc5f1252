//! What counts as the same answer: the normalisation of exact match and F1.

use unicode_normalization::char::is_combining_mark;

/// Lower case, without ASCII punctuation, without the articles a, an and the, whitespace collapsed: in that order, which matters
/// ("A.N. Other" → "an other" → "other").
///
/// These are the four steps of SQuAD's evaluation that KILT and FiD share, with Python's notions of a word and of whitespace.
pub fn normalise(answer: &str) -> String {
    let bare: String = answer.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words = without_articles(&bare);
    let words: Vec<&str> = words.split(is_space).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

/// Replaces each maximal run of word characters that is an article by a space, as `\b(a|an|the)\b` does.
fn without_articles(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let (gap, next) = after.split_at(after.find(is_word).unwrap_or(after.len()));
        kept.push_str(if matches!(word, "a" | "an" | "the") { " " } else { word });
        kept.push_str(gap);
        rest = next;
    }
    kept
}

/// Removes outer whitespace as Python's `strip` does.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python also counts the four separators of ASCII, which Unicode does not list as white space.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Categories L and N. `is_alphanumeric` follows the property Alphabetic, which adds vowel signs and letters in circles.
pub(crate) fn is_letter_or_number(c: char) -> bool {
    c.is_alphanumeric() && !is_combining_mark(c) && !is_enclosed_letter(c)
}

fn is_word(c: char) -> bool {
    is_letter_or_number(c)
}

/// Symbols (category So) that have the property Alphabetic.
fn is_enclosed_letter(c: char) -> bool {
    matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f149}' | '\u{1f150}'..='\u{1f169}' | '\u{1f170}'..='\u{1f189}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_of_the_steps_matters() {
        assert_eq!(normalise("The U.S.A."), "usa");
        // Punctuation goes first, so that initials become an article, which then goes too.
        assert_eq!(normalise("A.N. Other"), "other");
        // A hyphen leaves no gap.
        assert_eq!(normalise("Spider-Man, the\tfilm"), "spiderman film");
        assert_eq!(normalise("  An   apple  a day "), "apple day");
        assert_eq!(normalise("theatre an atheist"), "theatre atheist");
    }

    #[test]
    fn words_end_where_python_ends_them() {
        // An en dash is no ASCII punctuation, and no word character: the article beside it goes, the dash stays.
        assert_eq!(normalise("vitamin A–E"), "vitamin –e");
        // A combining accent is no word character either: the bare letter before it is an article.
        assert_eq!(normalise("a\u{301} la"), "\u{301} la");
        assert_eq!(normalise("á la"), "á la");
        assert_eq!(normalise("x\u{1c}y\u{a0}z"), "x y z");
        assert_eq!(normalise("ΟΔΟΣ"), "οδος");
        assert_eq!(normalise("!?"), "");
        assert_eq!(normalise(""), "");
    }

    #[test]
    fn strip_knows_every_whitespace() {
        assert_eq!(strip(" \u{3000}\u{1f}x y\n"), "x y");
    }

    proptest! {
        #[test]
        fn normal_text_has_no_articles_and_single_spaces(text in "\\PC{0,40}") {
            let normal = normalise(&text);
            prop_assert!(!normal.split(' ').any(|w| matches!(w, "a" | "an" | "the")));
            prop_assert!(!normal.contains("  ") && strip(&normal) == normal);
            prop_assert!(!normal.chars().any(|c| c.is_ascii_punctuation()));
        }
    }
}
