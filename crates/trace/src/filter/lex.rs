//! Words of an expression, each with its place.

/// A word or sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Characters before it.
    pub(super) at: usize,
}

/// Signs of two characters, then those of one.
const SIGNS: [&str; 16] =
    ["&&", "||", "!=", "==", ">=", "<=", "(", ")", "[", "]", "&", "|", "!", "=", ">", "<"];

pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if chars[at].is_whitespace() {
            at += 1;
        } else if let Some(sign) = sign_at(&chars, at) {
            out.push(Token { text: sign.to_owned(), at });
            at += sign.len();
        } else {
            let start = at;
            while at < chars.len() && !chars[at].is_whitespace() && sign_at(&chars, at).is_none() {
                at += 1;
            }
            out.push(Token { text: chars[start..at].iter().collect(), at: start });
        }
    }
    out
}

fn sign_at(chars: &[char], at: usize) -> Option<&'static str> {
    SIGNS.into_iter().find(|sign| sign.chars().eq(chars[at..].iter().take(sign.len()).copied()))
}
