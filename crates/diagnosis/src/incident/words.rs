//! Words that a change and a failure may have in common.

use std::collections::{BTreeMap, BTreeSet};

/// Endings that do not make another word, the longest first.
const ENDINGS: [&str; 12] =
    ["ation", "ions", "ing", "ies", "ion", "ed", "es", "er", "s", "y", "e", "d"];
/// Fewest letters of a word that means something, and of what an ending leaves.
const SHORTEST: usize = 3;
/// Words of any program and any failure.
const COMMON: [&str; 26] = [
    "the", "and", "for", "with", "from", "err", "error", "return", "func", "nil", "null", "var",
    "const", "new", "string", "int", "int64", "map", "type", "struct", "true", "false", "service",
    "services", "fail", "failed",
];

/// The words of a text or an identifier (`MaxAttempts`, `cas_retry`), without endings.
pub(super) fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    let mut small = false;
    let mut put = |word: &mut String| {
        if word.chars().count() >= SHORTEST && !COMMON.contains(&word.as_str()) {
            words.insert(stem(word).to_owned());
        }
        word.clear();
    };
    for letter in text.chars() {
        if !letter.is_alphabetic() || (small && letter.is_uppercase()) {
            put(&mut word);
        }
        small = letter.is_lowercase();
        if letter.is_alphabetic() {
            word.extend(letter.to_lowercase());
        }
    }
    put(&mut word);
    words
}

fn stem(word: &str) -> &str {
    let left =
        |ending: &&str| word.strip_suffix(ending).filter(|left| left.chars().count() >= SHORTEST);
    ENDINGS.iter().find_map(left).unwrap_or(word)
}

/// How much each word tells: what many texts mention tells little.
pub(super) struct Rarity {
    texts: f64,
    of: BTreeMap<String, f64>,
}

impl Rarity {
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a BTreeSet<String>>) -> Self {
        let (mut all, mut of) = (0.0, BTreeMap::new());
        for text in texts {
            all += 1.0;
            for word in text {
                *of.entry(word.clone()).or_default() += 1.0;
            }
        }
        Self { texts: all, of }
    }

    /// How rarely a word is mentioned: zero for a word of every text, one for a word of
    /// none (inverse document frequency over its highest value).
    pub(super) fn of(&self, word: &str) -> f64 {
        let rarity = |seen: f64| ((self.texts + 1.0) / (seen + 0.5)).ln().max(0.0);
        rarity(self.of.get(word).copied().unwrap_or(0.0)) / rarity(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_sentences_meet() {
        let both = |a: &str, b: &str| words(a).intersection(&words(b)).count();
        assert_eq!(both("MaxAttempts", "two attempts left"), 1);
        assert_eq!(both("ErrTokenExpired", "token expiry"), 2);
        assert_eq!(both("cas_retry", "CAS retries"), 2);
        assert!(words("if err != nil { return }").is_empty());
    }

    #[test]
    fn what_all_mention_tells_nothing() {
        let texts = [words("lock alpha"), words("lock beta"), words("lock gamma")];
        let rarity = Rarity::new(texts.iter());
        assert!(rarity.of("lock") < 0.2 && rarity.of("unheard") > 0.9);
    }
}
