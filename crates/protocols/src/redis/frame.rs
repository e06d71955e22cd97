//! Cuts RESP values (Redis serialization protocol, versions 2 and 3).
//!
//! A value may be nested; the number of values still to come is all the state
//! that nesting needs.

use super::commands;
use crate::exchange::Timed;
use crate::protocol::{Recognition, Side, Step};
use crate::stream::{Then, View};

/// Longest line (a header, a simple string, an inline command) in bytes.
const LONGEST_LINE: usize = 64 << 10;
/// How many of the first leaves of a value are kept, and how much of each.
const KEPT: usize = 3;
const KEPT_BYTES: usize = 48;

/// The beginning of a leaf.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    length: u8,
    bytes: [u8; KEPT_BYTES],
}

impl Leaf {
    const EMPTY: Self = Self { length: 0, bytes: [0; KEPT_BYTES] };

    fn of(value: &[u8]) -> Self {
        let length = value.len().min(KEPT_BYTES);
        let mut bytes = [0; KEPT_BYTES];
        bytes[..length].copy_from_slice(&value[..length]);
        Self { length: length as u8, bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// One whole value: a command or a reply.
#[derive(Debug, Clone)]
pub struct Part {
    /// The type byte of the value, attributes left out; 0 for an inline command.
    pub(super) kind: u8,
    /// Leaves in it.
    pub(super) leaves: u64,
    /// The first of them.
    pub(super) first: [Leaf; KEPT],
}

impl Part {
    const EMPTY: Self = Self { kind: 0, leaves: 0, first: [Leaf::EMPTY; KEPT] };

    pub(super) fn leaf(&self, index: usize) -> &[u8] {
        self.first.get(index).map_or(&[], Leaf::bytes)
    }

    fn add(&mut self, value: &[u8]) {
        if let Some(slot) = self.first.get_mut(self.leaves as usize) {
            *slot = Leaf::of(value);
        }
        self.leaves = self.leaves.saturating_add(1);
    }
}

/// The framer of one direction.
#[derive(Debug)]
pub(super) struct Framer {
    /// Values still to come; 0 between messages, or when the last is passing.
    left: u64,
    /// Whether a message is under way.
    open: bool,
    part: Part,
    start: u64,
    size: u64,
    /// How far the line at the front was searched for its end.
    scanned: usize,
}

impl Default for Framer {
    fn default() -> Self {
        Self { left: 0, open: false, part: Part::EMPTY, start: 0, size: 0, scanned: 0 }
    }
}

/// What came of one value.
enum Value {
    /// It ends there.
    End(usize),
    /// Not enough of it is there.
    Need,
    Bad,
}

impl Framer {
    pub(super) fn step(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        if self.open && self.left == 0 {
            return self.emit(0, view.last);
        }
        let Some(&first) = view.bytes.first() else { return Step::Need };
        if !self.open {
            *self = Self { scanned: self.scanned, start: view.time, ..Self::default() };
            if side == Side::Client && first != b'*' {
                return self.inline(view);
            }
            if !is_type(first) {
                return Step::Lost;
            }
            self.left = 1;
        }
        let mut at = 0;
        while self.left > 0 {
            match self.value(&view.bytes[at.min(view.bytes.len())..], view.then) {
                Value::Bad => return Step::Lost,
                Value::End(used) => at += used,
                Value::Need if at == 0 => return Step::Need,
                Value::Need => break,
            }
            self.open = true;
            if at > view.bytes.len() {
                break;
            }
        }
        if self.left == 0 && at <= view.bytes.len() {
            return self.emit(at, view.time);
        }
        self.size += at as u64;
        Step::Skip(at as u64)
    }

    fn emit(&mut self, used: usize, end: u64) -> Step<Timed<Part>> {
        let size = self.size + used as u64;
        let message = Timed { message: self.part.clone(), start: self.start, end, size };
        *self = Self::default();
        Step::Emit { message, used }
    }

    /// Takes in the header of the value at the front, and the value if it is a
    /// leaf. The end may lie beyond the bytes.
    fn value(&mut self, bytes: &[u8], then: Then) -> Value {
        let Some(&kind) = bytes.first() else { return Value::Need };
        let Some(end) = self.line(bytes) else {
            let long = bytes.len() > LONGEST_LINE || !is_type(kind);
            return if long { Value::Bad } else { Value::Need };
        };
        let text = &bytes[1..end - 2];
        let more = match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
                self.part.add(text);
                self.left -= 1;
                self.begin(kind);
                return Value::End(end);
            }
            b'$' | b'=' | b'!' => return self.bulk(kind, text, end, bytes, then),
            b'*' | b'~' | b'>' => count(text).map(Count::or_zero),
            b'%' | b'|' => count(text).map(|count| count.or_zero() * 2),
            _ => None,
        };
        let Some(more) = more else { return Value::Bad };
        // An attribute comes on top of the value it describes.
        if kind != b'|' {
            self.left -= 1;
            self.begin(kind);
        }
        self.left = self.left.saturating_add(more);
        self.scanned = 0;
        Value::End(end)
    }

    /// Notes the type of the message, once.
    fn begin(&mut self, kind: u8) {
        if self.part.kind == 0 {
            self.part.kind = kind;
        }
        self.scanned = 0;
    }

    fn bulk(&mut self, kind: u8, text: &[u8], end: usize, bytes: &[u8], then: Then) -> Value {
        let Some(length) = count(text) else { return Value::Bad };
        let total = match length {
            Count::Null => end,
            Count::Of(length) => (end as u64 + length + 2) as usize,
        };
        if self.part.leaves < KEPT as u64 {
            let wanted = end + length.or_zero().min(KEPT_BYTES as u64) as usize;
            if bytes.len() < wanted && then == Then::More {
                return Value::Need;
            }
            self.part.add(&bytes[end..wanted.min(bytes.len())]);
        } else {
            self.part.add(&[]);
        }
        if length != Count::Null && bytes.get(total - 2..total).is_some_and(|tail| tail != b"\r\n")
        {
            return Value::Bad;
        }
        self.left -= 1;
        self.begin(kind);
        Value::End(total)
    }

    /// Index behind the CRLF of the line at the front.
    fn line(&mut self, bytes: &[u8]) -> Option<usize> {
        // A line that was left behind for lack of its end is searched from there.
        let from = self.scanned.min(bytes.len());
        match memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at) {
            Some(at) if at >= 2 && bytes[at - 1] == b'\r' => Some(at + 1),
            Some(_) => None,
            None => {
                self.scanned = bytes.len();
                None
            }
        }
    }

    /// A command as people type it: words on one line.
    fn inline(&mut self, view: &View<'_>) -> Step<Timed<Part>> {
        let bytes = view.bytes;
        if !matches!(bytes[0], b'\r' | b'\n') && !bytes[0].is_ascii_alphabetic() {
            return Step::Lost;
        }
        let from = self.scanned.min(bytes.len());
        let Some(end) = memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at + 1) else {
            self.scanned = bytes.len();
            return if bytes.len() > LONGEST_LINE { Step::Lost } else { Step::Need };
        };
        self.scanned = 0;
        let words = bytes[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.for_each(|word| self.part.add(word));
        match self.part.leaves {
            0 => Step::Skip(end as u64),
            _ if commands::find(self.part.leaf(0)).is_none() => Step::Lost,
            _ => self.emit(end, view.time),
        }
    }
}

fn is_type(byte: u8) -> bool {
    b"+-:$*_,#(=!~>%|".contains(&byte)
}

/// A length on a header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Null,
    Of(u64),
}

impl Count {
    fn or_zero(self) -> u64 {
        match self {
            Self::Null => 0,
            Self::Of(count) => count,
        }
    }
}

/// Reads a length; `None` where it is none.
fn count(text: &[u8]) -> Option<Count> {
    /// Above Redis' own bound for bulk strings (512 MB) and arrays.
    const MOST: u64 = 1 << 30;
    if text == b"-1" {
        return Some(Count::Null);
    }
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    let add = |sum: u64, byte: &u8| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte.wrapping_sub(b'0')))
    };
    let count = text.iter().try_fold(0, add)?;
    (count <= MOST).then_some(Count::Of(count))
}

/// Judges bytes that begin a piece: a command, or a reply.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let Some(&kind) = bytes.first() else { return Recognition::Short };
    if !is_type(kind) {
        return Recognition::No;
    }
    let head = &bytes[..bytes.len().min(64)];
    let Some(end) = memchr::memchr(b'\n', head) else {
        let fits = head.len() < 64 && head[1..].iter().all(|byte| fits(kind, *byte));
        return if fits { Recognition::Short } else { Recognition::No };
    };
    let Some(line) = bytes[1..end].strip_suffix(b"\r") else { return Recognition::No };
    let rest = &bytes[end + 1..];
    match kind {
        b'*' => array(line, rest),
        b'+' | b'-' => yes_if(line.first().is_some_and(u8::is_ascii_uppercase)),
        b':' => yes_if(!line.is_empty() && line.iter().all(|byte| fits(kind, *byte))),
        b'$' | b'=' => bulk(line, rest),
        b'_' => yes_if(line.is_empty()),
        b'#' => yes_if(matches!(line, b"t" | b"f")),
        b'%' | b'~' | b'>' => match rest.first() {
            None if matches!(count(line), Some(Count::Of(_))) => Recognition::Short,
            Some(next) => yes_if(matches!(count(line), Some(Count::Of(_))) && is_type(*next)),
            None => Recognition::No,
        },
        _ => Recognition::No,
    }
}

/// Judges a simple string or an error by what only Redis says. Mail servers and
/// NATS begin lines with `+OK` and `-ERR` too.
pub(super) fn only_here(bytes: &[u8]) -> Recognition {
    const STRINGS: [&[u8]; 3] = [b"+PONG\r\n", b"+QUEUED\r\n", b"+FULLRESYNC "];
    /// Longer than any code of an error.
    const LONGEST_CODE: usize = 24;
    let begins = |known: &&&[u8]| known.iter().zip(bytes).all(|(one, other)| one == other);
    if let Some(known) = STRINGS.iter().find(begins) {
        let whole = bytes.len() >= known.len();
        return if whole { yes_if(true) } else { Recognition::Short };
    }
    let code = bytes[1..].iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match bytes.get(1 + code) {
        _ if bytes[0] != b'-' || code > LONGEST_CODE => Recognition::No,
        None => Recognition::Short,
        Some(after) => yes_if(*after == b' ' && code > 3),
    }
}

fn yes_if(condition: bool) -> Recognition {
    if condition { Recognition::Yes(Side::Server) } else { Recognition::No }
}

/// Whether a byte may stand on the first line of such a value.
fn fits(kind: u8, byte: u8) -> bool {
    match kind {
        b'+' | b'-' => byte == b'\r' || !byte.is_ascii_control(),
        b',' | b'(' => byte == b'\r' || byte.is_ascii_graphic(),
        b'#' => matches!(byte, b't' | b'f' | b'\r'),
        _ => byte == b'\r' || byte == b'-' || byte.is_ascii_digit(),
    }
}

fn bulk(line: &[u8], rest: &[u8]) -> Recognition {
    match count(line) {
        None => Recognition::No,
        Some(Count::Null) => yes_if(rest.is_empty() || is_type(rest[0])),
        Some(Count::Of(length)) => {
            let tail = rest.get(length as usize..length as usize + 2);
            yes_if(tail.is_none_or(|tail| tail == b"\r\n"))
        }
    }
}

/// An array whose first element is a known command is one, any other a reply.
fn array(line: &[u8], rest: &[u8]) -> Recognition {
    match (count(line), rest) {
        (None, _) => Recognition::No,
        (Some(Count::Null | Count::Of(0)), _) => yes_if(rest.is_empty() || is_type(rest[0])),
        (_, []) => Recognition::Short,
        (_, [b'$', after @ ..]) => {
            let Some(end) = memchr::memchr(b'\n', &after[..after.len().min(16)]) else {
                let short = after.len() < 16 && after.iter().all(|byte| fits(b'$', *byte));
                return if short { Recognition::Short } else { Recognition::No };
            };
            let length = after[..end].strip_suffix(b"\r").and_then(count);
            let Some(length) = length else { return Recognition::No };
            let length = length.or_zero() as usize;
            match after.get(end + 1..end + 1 + length) {
                Some(word) if commands::find(word).is_some() => Recognition::Yes(Side::Client),
                None if length <= commands::LONGEST => Recognition::Short,
                _ => Recognition::Yes(Side::Server),
            }
        }
        (_, [next, ..]) => yes_if(is_type(*next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count(b"12"), Some(Count::Of(12)));
        assert_eq!(count(b"-1"), Some(Count::Null));
        for bad in [&b""[..], b"-2", b"1a", b"99999999999", b"+1"] {
            assert_eq!(count(bad), None, "{}", bad.escape_ascii());
        }
    }
}
