//! Cuts a statement into words, quoted names, literals and signs.

use memchr::{memchr, memmem};

use super::Dialect;

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name without quotes.
    Word(&'a [u8]),
    /// A quoted name, without its quotes.
    Name(&'a [u8]),
    /// A string, a number, a parameter.
    Literal,
    /// Anything else, byte by byte.
    Sign(u8),
}

pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    dialect: Dialect,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(rest: &'a [u8], dialect: Dialect) -> Self {
        Self { rest, dialect }
    }

    /// The next token, and whether a blank or a comment was before it.
    pub(super) fn next(&mut self) -> Option<(Token<'a>, bool)> {
        let spaced = self.skip_blanks();
        let &first = self.rest.first()?;
        let token = match first {
            b'\'' => self.string(b'\'', self.dialect == Dialect::Mysql),
            b'"' if self.dialect == Dialect::Mysql => self.string(b'"', true),
            b'"' | b'`' => self.quoted_name(first),
            b'0'..=b'9' => self.number(),
            b'.' if self.rest.get(1).is_some_and(u8::is_ascii_digit) => self.number(),
            b'$' => self.dollar(),
            b'?' => self.literal(1),
            b':' if self.is_named_parameter() => {
                let name = word_length(&self.rest[1..]);
                self.literal(1 + name)
            }
            _ if is_word(first) => self.word(),
            _ => {
                self.rest = &self.rest[1..];
                Token::Sign(if first.is_ascii() { first } else { b'?' })
            }
        };
        Some((token, spaced))
    }

    /// Steps over blanks and comments.
    fn skip_blanks(&mut self) -> bool {
        let before = self.rest.len();
        loop {
            let blanks =
                self.rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0);
            self.rest = &self.rest[blanks.count()..];
            if self.rest.starts_with(b"--") || self.starts_with_hash() {
                let end = memchr(b'\n', self.rest).unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if self.rest.starts_with(b"/*") {
                let end = memmem::find(&self.rest[2..], b"*/").map_or(self.rest.len(), |at| at + 4);
                self.rest = &self.rest[end..];
            } else {
                return self.rest.len() < before;
            }
        }
    }

    fn starts_with_hash(&self) -> bool {
        self.dialect == Dialect::Mysql && self.rest.first() == Some(&b'#')
    }

    fn literal(&mut self, length: usize) -> Token<'a> {
        self.rest = self.rest.get(length..).unwrap_or_default();
        Token::Literal
    }

    /// A string from its opening quote; a doubled quote stands for itself. One
    /// without an end reaches to the end of the statement.
    fn string(&mut self, quote: u8, escapes: bool) -> Token<'a> {
        let mut at = 1;
        while let Some(&byte) = self.rest.get(at) {
            if byte == b'\\' && escapes {
                at += 2;
            } else if byte != quote {
                at += 1;
            } else if self.rest.get(at + 1) == Some(&quote) {
                at += 2;
            } else {
                at += 1;
                break;
            }
        }
        self.literal(at)
    }

    fn quoted_name(&mut self, quote: u8) -> Token<'a> {
        let inner = &self.rest[1..];
        let end = memchr(quote, inner).unwrap_or(inner.len());
        self.rest = inner.get(end + 1..).unwrap_or_default();
        Token::Name(&inner[..end])
    }

    /// Digits with everything a number may hold; `1e-5` takes its sign along.
    fn number(&mut self) -> Token<'a> {
        let mut at = 0;
        while let Some(&byte) = self.rest.get(at) {
            let exponent = matches!(byte, b'+' | b'-')
                && matches!(self.rest[at - 1], b'e' | b'E')
                && !self.rest.starts_with(b"0x");
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || exponent) {
                break;
            }
            at += 1;
        }
        self.literal(at)
    }

    /// `$1`, or a string between two `$tag$`.
    fn dollar(&mut self) -> Token<'a> {
        let tag = word_length(&self.rest[1..]);
        if self.rest.get(1).is_some_and(u8::is_ascii_digit) {
            return self.literal(1 + tag);
        }
        if self.rest.get(1 + tag) != Some(&b'$') || self.dialect == Dialect::Mysql {
            self.rest = &self.rest[1..];
            return Token::Sign(b'$');
        }
        let (open, inner) = self.rest.split_at(tag + 2);
        let end = memmem::find(inner, open).map_or(self.rest.len(), |at| at + 2 * open.len());
        self.literal(end)
    }

    /// `:name`, but not the second half of a cast (`::text`), which is taken along
    /// with the first.
    fn is_named_parameter(&mut self) -> bool {
        if self.rest.starts_with(b"::") {
            return false;
        }
        self.dialect == Dialect::Cql && self.rest.get(1).copied().is_some_and(is_word)
    }

    fn word(&mut self) -> Token<'a> {
        let length = word_length(self.rest);
        let (word, rest) = self.rest.split_at(length);
        // A prefix of a string: N'', B'', X'', E'' and U&''.
        match (word, rest) {
            ([b'e' | b'E'], [b'\'', ..]) => {
                self.rest = rest;
                self.string(b'\'', true)
            }
            ([b'n' | b'N' | b'b' | b'B' | b'x' | b'X' | b'_', ..], [b'\'', ..])
                if length == 1 || word[0] == b'_' =>
            {
                self.rest = rest;
                self.string(b'\'', self.dialect == Dialect::Mysql)
            }
            ([b'u' | b'U'], [b'&', b'\'', ..]) => {
                self.rest = &rest[1..];
                self.string(b'\'', false)
            }
            // A UUID may begin with a letter; in CQL it stands without quotes.
            _ if self.dialect == Dialect::Cql && is_uuid(self.rest) => self.literal(36),
            _ => {
                self.rest = rest;
                Token::Word(word)
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'@' || byte >= 0x80
}

fn word_length(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_word(**byte) || byte.is_ascii_digit()).count()
}

fn is_uuid(bytes: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    bytes.len() >= 36 && bytes[..36].iter().enumerate().all(fits)
}
