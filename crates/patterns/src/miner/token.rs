//! Cuts a line into tokens and masks what is a value, in one pass.
//!
//! A token is a word, one mark of punctuation, or a masked value. What is masked
//! is decided by looks alone and the same for every log: numbers with their
//! units, hex, addresses, identifiers with long digit runs, times, paths, URLs.
//! What only might be a value ("eth0", "user=ann") stays a word that is called weak:
//! it becomes a value as soon as it varies.

use super::fold::fold;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    /// Letters, perhaps joined by `_`, `-` or dots: part of the message.
    Word,
    /// A word with digits, or where values stand: maybe a value.
    Weak,
    /// One character of punctuation.
    Mark,
    /// A number, with sign, fraction, unit, as a date or a time.
    Number,
    /// Anything with a long run of digits, hex, a UUID, an address.
    Id,
    /// A file path or URL.
    Path,
    /// `true` or `false`.
    Flag,
    /// What was beyond the most tokens of a line.
    Rest,
}

impl Kind {
    /// Whether the token is a value for certain.
    pub(super) fn is_value(self) -> bool {
        matches!(self, Self::Number | Self::Id | Self::Path | Self::Flag | Self::Rest)
    }

    /// What a value is called that began as this: words begin dates.
    pub(super) fn max_value(self) -> Self {
        if self.is_value() { self } else { Self::Number }
    }
}

/// A token: where it lies in its line and what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) kind: Kind,
    /// White space stands before it.
    pub(super) spaced: bool,
}

const SPACE: u8 = 1;
const MARK: u8 = 2;
const DIGIT: u8 = 4;
const LETTER: u8 = 8;
const HEX: u8 = 16;
/// Joins parts of a chunk.
const JOINT: u8 = 32;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [LETTER; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b' ' | b'\t' | b'\r' | b'\n' => SPACE,
            b'0'..=b'9' => DIGIT | HEX,
            b'a'..=b'f' | b'A'..=b'F' => LETTER | HEX,
            b'g'..=b'z' | b'G'..=b'Z' => LETTER,
            b'_' | b'-' | b'.' | b'/' | b'@' | b'+' | b'#' | b'$' | b'%' | b'&' | b'*' | b'~'
            | b'\\' | b'!' | b'?' | b'^' => JOINT,
            _ => MARK,
        };
        byte += 1;
    }
    table
}

fn class(byte: u8) -> u8 {
    CLASSES[byte as usize]
}

/// What was seen while a chunk (a run without space and marks) was scanned.
#[derive(Default)]
struct Chunk {
    classes: u8,
    all: u8,
    digits: usize,
    longest_digits: usize,
    dots: usize,
    slashes: usize,
    ats: usize,
    end: usize,
}

impl Chunk {
    fn scan(bytes: &[u8], start: usize) -> Self {
        let mut chunk = Self { all: 0xff, end: start, ..Self::default() };
        let mut run = 0;
        while let Some(&byte) = bytes.get(chunk.end) {
            let found = class(byte);
            if found & (SPACE | MARK) != 0 {
                break;
            }
            chunk.classes |= found;
            chunk.all &= found;
            if found & DIGIT != 0 {
                run += 1;
                chunk.digits += 1;
                chunk.longest_digits = chunk.longest_digits.max(run);
            } else {
                run = 0;
                match byte {
                    b'.' => chunk.dots += 1,
                    b'/' => chunk.slashes += 1,
                    b'@' => chunk.ats += 1,
                    _ => {}
                }
            }
            chunk.end += 1;
        }
        chunk
    }
}

/// Cuts `line` into at most `most` tokens.
pub(super) fn tokenise(line: &[u8], most: usize, tokens: &mut Vec<Token>) {
    tokens.clear();
    let (mut at, mut spaced) = (0, false);
    while let Some(&byte) = line.get(at) {
        if class(byte) & SPACE != 0 {
            spaced = true;
            at += 1;
            continue;
        }
        if tokens.len() + 2 > most {
            push(tokens, at, line.len(), Kind::Rest, spaced);
            return;
        }
        at = if class(byte) & MARK != 0 {
            push(tokens, at, at + 1, Kind::Mark, spaced);
            at + 1
        } else {
            chunk(line, at, spaced, tokens)
        };
        fold(line, tokens);
        spaced = false;
    }
}

fn push(tokens: &mut Vec<Token>, start: usize, end: usize, kind: Kind, spaced: bool) {
    tokens.push(Token { start: start as u32, end: end as u32, kind, spaced });
}

/// Reads the chunk at `start`, pushes its tokens, returns its end.
fn chunk(line: &[u8], start: usize, spaced: bool, tokens: &mut Vec<Token>) -> usize {
    let chunk = Chunk::scan(line, start);
    if let Some(end) = url(line, start, &chunk).or_else(|| colons(line, start, &chunk)) {
        let kind = if line[start..end].contains(&b'/') { Kind::Path } else { Kind::Id };
        push(tokens, start, end, kind, spaced);
        return end;
    }
    if let Some(end) = query(line, start, &chunk) {
        push(tokens, start, end, Kind::Path, spaced);
        return end;
    }
    let (body, trail) = trailing(line, start, chunk.end);
    if body > start {
        classify(line, start, body, &chunk, spaced, tokens);
    }
    if trail > body {
        let spaced = spaced && body == start;
        push(tokens, body, trail, Kind::Mark, spaced);
    }
    chunk.end
}

/// Splits off the punctuation that ends a sentence: `started.`, `done...`, `what?`
fn trailing(line: &[u8], start: usize, end: usize) -> (usize, usize) {
    let mut body = end;
    while body > start && matches!(line[body - 1], b'.' | b'!' | b'?') {
        body -= 1;
    }
    if body == start { (end, end) } else { (body, end) }
}

fn classify(
    line: &[u8],
    start: usize,
    end: usize,
    chunk: &Chunk,
    spaced: bool,
    tokens: &mut Vec<Token>,
) {
    let bytes = &line[start..end];
    let kind = if chunk.digits == 0 {
        match wordly(bytes, chunk) {
            Kind::Word if is_value_place(line, tokens) => Kind::Weak,
            kind => kind,
        }
    } else if chunk.all & DIGIT != 0 || is_number(bytes) {
        Kind::Number
    } else if is_id(bytes, chunk) {
        Kind::Id
    } else if chunk.slashes > 0 {
        Kind::Path
    } else if let Some(cut) = prefix(bytes) {
        push(tokens, start, start + cut, Kind::Word, spaced);
        push(tokens, start + cut, end, Kind::Number, false);
        return;
    } else {
        Kind::Weak
    };
    push(tokens, start, end, kind, spaced);
}

/// Whether values stand behind the last token: `user=`, `for user`.
fn is_value_place(line: &[u8], tokens: &[Token]) -> bool {
    const LABELS: [&[u8]; 9] = [
        b"user",
        b"host",
        b"domain",
        b"pod",
        b"node",
        b"container",
        b"interface",
        b"namespace",
        b"username",
    ];
    let Some(last) = tokens.last() else { return false };
    let text = &line[last.start as usize..last.end as usize];
    text == b"=" || LABELS.contains(&text)
}

/// A chunk without digits.
fn wordly(bytes: &[u8], chunk: &Chunk) -> Kind {
    let path = bytes[0] == b'/' && bytes.len() > 1 && chunk.classes & LETTER != 0;
    if path || chunk.slashes > 1 {
        Kind::Path
    } else if chunk.ats > 0 && chunk.dots > 0 {
        Kind::Id
    } else if matches!(bytes, b"true" | b"false" | b"True" | b"False" | b"TRUE" | b"FALSE") {
        Kind::Flag
    } else {
        Kind::Word
    }
}

/// Digits with sign, points, per cent or a unit: `-1.5`, `2026-11-20`, `12ms`.
fn is_number(bytes: &[u8]) -> bool {
    let bytes = match bytes {
        [b'+' | b'-' | b'#' | b'$' | b'~', rest @ ..] => rest,
        _ => bytes,
    };
    let mut end = bytes.len();
    while end > 0 && class(bytes[end - 1]) & LETTER != 0 {
        end -= 1;
    }
    let (digits, unit) = bytes.split_at(end);
    let numeric = |byte: &u8| byte.is_ascii_digit() || b".-/+%#".contains(byte);
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(numeric)
        && (unit.is_empty() || is_unit(unit))
}

fn is_unit(unit: &[u8]) -> bool {
    const UNITS: [&[u8]; 40] = [
        b"s", b"ms", b"us", b"ns", b"m", b"h", b"d", b"sec", b"secs", b"min", b"mins", b"K", b"M",
        b"G", b"T", b"B", b"k", b"KB", b"MB", b"GB", b"TB", b"kB", b"kb", b"mb", b"gb", b"KiB",
        b"MiB", b"GiB", b"Ki", b"Mi", b"Gi", b"Hz", b"kHz", b"MHz", b"GHz", b"x", b"V", b"C", b"W",
        b"T00",
    ];
    UNITS.contains(&unit)
}

/// Hex, UUIDs, long digit runs, host names and addresses.
fn is_id(bytes: &[u8], chunk: &Chunk) -> bool {
    let hex = |byte: &u8| class(*byte) & HEX != 0;
    if let Some(rest) = bytes.strip_prefix(b"0x").or_else(|| bytes.strip_prefix(b"0X")) {
        return rest.iter().all(hex);
    }
    let all_hex = bytes.iter().all(|byte| hex(byte) || *byte == b'-');
    (all_hex && bytes.len() >= 6)
        || (chunk.longest_digits >= 4 && chunk.slashes == 0)
        || chunk.ats > 0
        || (chunk.dots > 1 && chunk.slashes == 0)
}

/// Length of the word before a number, with what joins them: `node-` of
/// `node-128`.
fn prefix(bytes: &[u8]) -> Option<usize> {
    let joint = bytes.iter().rposition(|byte| matches!(byte, b'-' | b'#' | b'@'))?;
    let (word, number) = bytes.split_at(joint + 1);
    let plain = word.iter().all(|byte| class(*byte) & DIGIT == 0);
    (joint > 0 && plain && is_number(number)).then_some(joint + 1)
}

/// The end of a URL that begins with this chunk (its scheme).
fn url(line: &[u8], start: usize, chunk: &Chunk) -> Option<usize> {
    if !line[chunk.end..].starts_with(b"://") || chunk.end == start {
        return None;
    }
    let stop = |byte: &u8| byte.is_ascii_whitespace() || b"\"'<>,;)]}|".contains(byte);
    let rest = &line[chunk.end + 3..];
    Some(chunk.end + 3 + rest.iter().position(stop).unwrap_or(rest.len()))
}

/// The end of a path with a query, which may hold punctuation.
fn query(line: &[u8], start: usize, chunk: &Chunk) -> Option<usize> {
    if line[start] != b'/' || !line[start..chunk.end].contains(&b'?') {
        return None;
    }
    let stop = |byte: &u8| byte.is_ascii_whitespace() || b"\"'<>()[]{}|".contains(byte);
    let rest = &line[chunk.end..];
    Some(chunk.end + rest.iter().position(stop).unwrap_or(rest.len()))
}

/// Longest time or address with colons, in bytes (an IPv6 address has 39).
const LONGEST_COLONS: usize = 64;

/// The end of a time (`20:58:54.2`), hardware or IPv6 address: hex groups joined
/// by at least two colons.
fn colons(line: &[u8], start: usize, chunk: &Chunk) -> Option<usize> {
    let group = |byte: u8| class(byte) & HEX != 0 || byte == b'.';
    if line.get(chunk.end) != Some(&b':') || !line[start..chunk.end].iter().all(|&b| group(b)) {
        return None;
    }
    let (mut end, mut colons, mut digits, mut run) = (start, 0, 0, 0);
    while let Some(&byte) = line.get(end) {
        if byte == b':' && end - start <= LONGEST_COLONS {
            colons += 1;
            run = 0;
        } else if group(byte) || (byte == b',' && line.get(end + 1).is_some_and(u8::is_ascii_digit))
        {
            digits += usize::from(byte.is_ascii_digit());
            run += 1;
            // Also what keeps a line of colons from costing quadratic time.
            if run > 12 || end - start > LONGEST_COLONS {
                return None;
            }
        } else {
            break;
        }
        end += 1;
    }
    while end > start && line[end - 1] == b':' {
        end -= 1;
        colons -= 1;
    }
    let bounded = line.get(end).is_none_or(|byte| class(*byte) & LETTER == 0);
    (colons >= 2 && digits > 0 && bounded).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(line: &str) -> String {
        let mut tokens = Vec::new();
        tokenise(line.as_bytes(), 64, &mut tokens);
        let mut out = String::new();
        for token in tokens {
            if token.spaced {
                out.push(' ');
            }
            let text = &line[token.start as usize..token.end as usize];
            match token.kind {
                Kind::Number => out.push_str("<n>"),
                Kind::Id => out.push_str("<i>"),
                Kind::Path => out.push_str("<p>"),
                Kind::Rest => out.push_str("<r>"),
                Kind::Flag => out.push_str("<b>"),
                Kind::Weak => out.extend(["~", text]),
                Kind::Word | Kind::Mark => out.push_str(text),
            }
        }
        out
    }

    #[test]
    fn values_are_masked_by_their_looks() {
        for (line, expected) in [
            ("took 12ms of 3.5 s, 45% -1", "took <n> of <n> s, <n> <n>"),
            ("block blk_-6952295868487656571 done.", "block <i> done."),
            ("from 10.250.19.102:54106 ok", "from <n>:<n> ok"),
            ("open /var/log/a.log failed: 2", "open <p> failed: <n>"),
            ("GET http://shop:80/a?b=1, next", "GET <p>, next"),
            ("at 20:58:54.201 on 2026-11-20", "at <i> on <n>"),
            ("mac 00:1a:4b:ff:0c:01 up", "mac <i> up"),
            ("v6 fe80::1a2b:3c4d:1 up", "v6 <i> up".replace("v6", "~v6").as_str()),
            ("id 550e8400-e29b-41d4-a716-446655440000", "id <i>"),
            ("at 0xffffffff81000000 node-128", "at <i> node-<n>"),
            ("mail ann@shop.example", "mail <i>"),
            ("k=v1 size=42,", "k=~v1 size=<n>,"),
            ("user=ann for user bob is true", "user=~ann for user ~bob is <b>"),
            ("at Sun Jul 10 03:55:15 2005 end", "at <n> end"),
            ("from 2026-11-20 20:58:54 on", "from <n> on"),
            ("ids 1,2,3 delete blk_1234 blk_5678", "ids <n> delete <i>"),
            ("\"GET /a?b=1&c=2:3 HTTP/1.1\" 200", "\"GET <p>\" <n>"),
            ("from 1.2.3.4 () clear()", "from <n> (<i>) clear()"),
        ] {
            assert_eq!(show(line), expected, "{line}");
        }
    }

    #[test]
    fn words_stay() {
        for line in ["jk_init() Found child", "[instance: x] sync_power_state!", "a -> b: c"] {
            assert_eq!(show(line), line);
        }
    }

    #[test]
    fn the_number_of_tokens_is_bounded() {
        let mut tokens = Vec::new();
        tokenise("a ".repeat(1000).as_bytes(), 64, &mut tokens);
        assert!(tokens.len() <= 64);
        assert_eq!(tokens.last().map(|token| token.kind), Some(Kind::Rest));
    }
}
