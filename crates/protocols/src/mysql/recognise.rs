//! Judges bytes that begin a piece.

use crate::protocol::{Recognition, Side};
use crate::sql;

/// A greeting, a command (number 0), or the first packet of an answer (number 1).
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let Some(&[a, b, c, number]) = bytes.first_chunk() else { return Recognition::Short };
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    let payload = &bytes[4..];
    let whole = payload.len() >= length;
    let payload = &payload[..payload.len().min(length)];
    if length == 0 || number > 1 {
        return Recognition::No;
    }
    let Some(&first) = payload.first() else { return Recognition::Short };
    let (side, found) = match number {
        0 if first == 0x0a && length > 20 => (Side::Server, greeting(payload)),
        0 => (Side::Client, command(first, &payload[1..], length, whole)),
        _ => (Side::Server, answer(first, bytes, length)),
    };
    match found {
        Some(true) => Recognition::Yes(side),
        None if !whole || number == 1 => Recognition::Short,
        _ => Recognition::No,
    }
}

/// A version in text, then 8 random bytes that end with a zero.
fn greeting(payload: &[u8]) -> Option<bool> {
    let version = &payload[1..];
    let end = version.iter().take(64).position(|byte| *byte == 0);
    let shown = &version[..end.unwrap_or(version.len().min(64))];
    let text =
        shown.iter().all(u8::is_ascii_graphic) && shown.first().is_none_or(u8::is_ascii_digit);
    match end {
        None if version.len() < 64 && text => None,
        Some(end) if text && end > 0 => version.get(end + 13).map(|filler| *filler == 0),
        _ => Some(false),
    }
}

fn command(command: u8, arguments: &[u8], length: usize, whole: bool) -> Option<bool> {
    /// Enough to see a verb.
    const ENOUGH: usize = 24;
    match command {
        0x03 | 0x16 => {
            let text = arguments.strip_prefix(b"\x00\x01").unwrap_or(arguments);
            if !whole && text.len() < ENOUGH {
                return None;
            }
            Some(sql::begins(text))
        }
        0x01 | 0x09 | 0x0d | 0x0e | 0x1f => Some(length == 1),
        0x02 => Some(length < 80 && arguments.iter().all(u8::is_ascii_graphic)).filter(|_| whole),
        0x17 if length >= 10 => arguments.get(5..9).map(|count| count == [1, 0, 0, 0]),
        0x19 | 0x1a => Some(length == 5),
        _ => Some(false),
    }
}

fn answer(first: u8, bytes: &[u8], length: usize) -> Option<bool> {
    let payload = &bytes[4..];
    match first {
        // OK, or a prepared statement: both have at least seven bytes, and few.
        0 => Some((7..512).contains(&length)),
        0xff => payload.get(3).map(|mark| *mark == b'#' && length > 9),
        // A number of columns; then a column of the catalogue `def`.
        1..=0xfa if length == 1 => {
            payload.get(1..9).map(|next| next[3] == 2 && next[4..] == *b"\x03def")
        }
        _ => Some(false),
    }
}
