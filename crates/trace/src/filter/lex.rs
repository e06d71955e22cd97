//! Words of an expression, each with its place.

/// A word or sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Characters before it.
    pub(super) at: usize,
}

/// Signs of two characters, then those of one. They end a word.
const SIGNS: [&str; 22] = [
    "&&", "||", "!=", "==", ">=", "<=", "<<", ">>", "(", ")", "[", "]", "&", "|", "!", "=", ">",
    "<", "+", "*", "%", "^",
];

/// Signs that words have in them, too (`8000-8080`, `10.0.0.0/8`, `fd00::1`). Between
/// brackets there are no such words.
const IN_WORDS: [&str; 3] = ["-", "/", ":"];

pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut out: Vec<Token> = Vec::new();
    let (mut at, mut brackets) = (0, 0usize);
    while at < chars.len() {
        if chars[at].is_whitespace() {
            at += 1;
            continue;
        }
        let start = at;
        // `::1` is a word.
        let is_word = brackets == 0 && chars[at..].starts_with(&[':', ':']);
        let own = sign_at(&SIGNS, &chars, at);
        if let Some(sign) = own.or_else(|| sign_at(&IN_WORDS, &chars, at)).filter(|_| !is_word) {
            match sign {
                "[" => brackets += 1,
                "]" => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            at += sign.len();
        } else {
            let ends = |at| {
                sign_at(&SIGNS, &chars, at).is_some()
                    || (brackets > 0 && sign_at(&IN_WORDS, &chars, at).is_some())
            };
            while at < chars.len() && !chars[at].is_whitespace() && !ends(at) {
                at += 1;
            }
        }
        out.push(Token { text: chars[start..at].iter().collect(), at: start });
    }
    out
}

fn sign_at(signs: &[&'static str], chars: &[char], at: usize) -> Option<&'static str> {
    signs.iter().find(|sign| sign.chars().eq(chars[at..].iter().take(sign.len()).copied())).copied()
}
