//! SQL statements without their literals.
//!
//! A lexer, not a parser: whatever the server accepts must be counted, a statement
//! may have been cut by the copy limit, and a statement that no grammar knows must
//! not leave with its literals. What is not understood is left out, never shown.

mod lexer;
mod target;

use std::sync::Arc;

use crate::exchange::Text;
use lexer::{Lexer, Token};
use target::Targets;

/// Most of a statement that is read, and most that is kept, in bytes.
pub const LONGEST: usize = 4096;
const KEPT: usize = 1024;

/// Whose rules for quotes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Double quotes hold names; a backslash is a plain character but in `E''`.
    Postgres,
    /// Double quotes hold strings; a backslash escapes.
    Mysql,
    /// Double quotes hold names; a backslash is a plain character.
    Cql,
}

/// What is kept of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its verb in upper case, `_OTHER` when it is none that is known.
    pub verb: Text,
    /// The first table that it names.
    pub table: Option<Arc<str>>,
    /// The statement with `?` for every literal, blanks made one, comments left
    /// out, lists of literals made one.
    pub text: Arc<str>,
}

/// Takes the literals out of a statement, of which at most [`LONGEST`] bytes are
/// read.
///
/// ```
/// use taproot_protocols::sql::{Dialect, normalise};
/// let found = normalise(b"select * from t where id in (1, 2) and n = 'x'", Dialect::Postgres);
/// assert_eq!(&*found.text, "select * from t where id in (?) and n = ?");
/// assert_eq!((&*found.verb, found.table.as_deref()), ("SELECT", Some("t")));
/// ```
pub fn normalise(statement: &[u8], dialect: Dialect) -> Statement {
    let mut lexer = Lexer::new(&statement[..statement.len().min(LONGEST)], dialect);
    let (mut out, mut targets) = (Writer::default(), Targets::default());
    while let Some((token, spaced)) = lexer.next() {
        targets.take(&token);
        out.write(&token, spaced);
    }
    let (verb, table) = targets.finish();
    Statement { verb, table, text: out.finish() }
}

/// Whether the bytes begin like a statement: a verb, then a blank or the end.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    let start =
        bytes.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'(').count();
    let bytes = &bytes[start..];
    if bytes.starts_with(b"/*") || bytes.starts_with(b"--") {
        return true;
    }
    let word = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let after =
        bytes.get(word).is_none_or(|byte| byte.is_ascii_whitespace() || b";(*\0".contains(byte));
    after && target::verb(&bytes[..word]).is_some()
}

/// Writes tokens with one blank where there was any.
#[derive(Default)]
struct Writer {
    text: String,
    full: bool,
}

impl Writer {
    fn write(&mut self, token: &Token<'_>, spaced: bool) {
        if self.text.len() >= KEPT {
            self.full = true;
            return;
        }
        let tight = matches!(token, Token::Sign(b',' | b')' | b';' | b'.'));
        let after = self.text.bytes().last();
        let wide = (spaced && !matches!(after, Some(b'('))) || after == Some(b',');
        if wide && !tight && !self.text.is_empty() {
            self.text.push(' ');
        }
        match token {
            Token::Word(word) => self.text.push_str(&String::from_utf8_lossy(word)),
            Token::Name(name) => self.text.push_str(&String::from_utf8_lossy(name)),
            Token::Literal => self.literal(),
            Token::Sign(sign) => {
                self.text.push(char::from(*sign));
                self.fold("(?), (?)", "(?)");
            }
        }
    }

    fn literal(&mut self) {
        self.text.push('?');
        self.fold("?, ?", "?");
    }

    /// Makes a repeated end one.
    fn fold(&mut self, twice: &str, once: &str) {
        if self.text.ends_with(twice) {
            self.text.truncate(self.text.len() - twice.len() + once.len());
        }
    }

    fn finish(mut self) -> Arc<str> {
        let end = self.text.trim_end_matches([';', ' ']).len();
        self.text.truncate(end);
        if self.full {
            self.text.push_str("...");
        }
        self.text.retain(|character| !character.is_control());
        self.text.into()
    }
}

#[cfg(test)]
mod tests;
