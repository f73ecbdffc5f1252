//! Where a sentence ends, by its punctuation.

/// Abbreviations that a capital letter follows within a sentence.
const ABBREVIATIONS: [&str; 22] = [
    "Mr", "Mrs", "Ms", "Dr", "Prof", "St", "Mt", "Jr", "Sr", "Gen", "Col", "Lt", "Capt", "Sgt", "Rev", "Hon", "vs",
    "No", "Vol", "c", "ca", "cf",
];

const CLOSERS: [char; 9] = ['"', '\'', ')', ']', '}', '”', '’', '»', '」'];

/// The sentences of a text as ranges of its words. A word that ends in `.`, `!` or `?` (quotes and brackets may close behind it) ends
/// a sentence, unless the next word begins with a lower-case letter or the word is an initial or a known abbreviation.
pub(crate) fn sentences(words: &[&str]) -> Vec<std::ops::Range<usize>> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (i, word) in words.iter().enumerate() {
        let last = i + 1 == words.len();
        if last || ends_sentence(word, words[i + 1]) {
            sentences.push(start..i + 1);
            start = i + 1;
        }
    }
    sentences
}

fn ends_sentence(word: &str, next: &str) -> bool {
    let bare = word.trim_end_matches(CLOSERS);
    let Some(mark) = bare.chars().last() else {
        return false;
    };
    if matches!(mark, '!' | '?' | '。' | '！' | '？') {
        return !starts_lower(next);
    }
    if mark != '.' || starts_lower(next) {
        return false;
    }
    let stem = bare.trim_end_matches('.');
    let stem = stem.trim_start_matches(['(', '"', '“', '\'']);
    !is_initial(stem) && !ABBREVIATIONS.contains(&stem)
}

fn starts_lower(word: &str) -> bool {
    word.chars().find(|c| c.is_alphanumeric()).is_some_and(char::is_lowercase)
}

/// One capital ("J"), or several letters between full stops ("U.S", "e.g").
fn is_initial(stem: &str) -> bool {
    let one_letter = |part: &str| part.chars().all(char::is_alphabetic) && part.chars().count() == 1;
    let capital = stem.chars().next().is_some_and(char::is_uppercase);
    stem.split('.').all(one_letter) && (capital || stem.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        sentences(&words).into_iter().map(|range| words[range].join(" ")).collect()
    }

    #[test]
    fn sentences_end_at_their_marks() {
        assert_eq!(
            cut("It rained. \"Did it?\" He left!) 1999 came."),
            ["It rained.", "\"Did it?\"", "He left!)", "1999 came."]
        );
        assert_eq!(cut("no mark at all"), ["no mark at all"]);
        assert!(cut("").is_empty());
        assert_eq!(cut("..."), ["..."]);
    }

    #[test]
    fn initials_and_abbreviations_do_not_end_one() {
        assert_eq!(
            cut("Dr. J. R. Smith of the U.S. Navy met (St. Ives) approx. forty, e.g. Finns. They sang."),
            ["Dr. J. R. Smith of the U.S. Navy met (St. Ives) approx. forty, e.g. Finns.", "They sang."]
        );
    }
}
