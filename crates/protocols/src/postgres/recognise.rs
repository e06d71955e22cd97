//! Judges bytes that begin a piece.

use super::frame::{CANCEL, GSS, LONGEST, SSL};
use crate::protocol::{Recognition, Side};
use crate::sql;

/// A message's type and length, then what its body must look like.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let Some(&[first, a, b, c, d]) = bytes.first_chunk() else {
        return short(bytes);
    };
    if first == 0 {
        return startup(bytes);
    }
    let length = u32::from_be_bytes([a, b, c, d]);
    if !(4..=LONGEST).contains(&length) {
        return Recognition::No;
    }
    let body = &bytes[5..];
    let whole = body.len() as u64 >= u64::from(length) - 4;
    let body = &body[..body.len().min(length as usize - 4)];
    match client(first, length, body, whole) {
        Some(true) => return Recognition::Yes(Side::Client),
        None => return Recognition::Short,
        Some(false) => {}
    }
    match server(first, length, body) {
        Some(true) => Recognition::Yes(Side::Server),
        Some(false) => Recognition::No,
        None if whole => Recognition::No,
        None => Recognition::Short,
    }
}

fn short(bytes: &[u8]) -> Recognition {
    match bytes {
        [] | [0] | [0, 0, ..] => Recognition::Short,
        [first] | [first, 0, ..] if b"QPBESRZTCI12nNsX".contains(first) => Recognition::Short,
        _ => Recognition::No,
    }
}

fn startup(bytes: &[u8]) -> Recognition {
    let [0, 0, _, _, rest @ ..] = bytes else { return Recognition::No };
    let length = u16::from_be_bytes([bytes[2], bytes[3]]);
    let Some(&code) = rest.first_chunk() else {
        let codes = [[0, 3, 0, 0], SSL.to_be_bytes(), CANCEL.to_be_bytes(), GSS.to_be_bytes()];
        let fits =
            (8..=10_000).contains(&length) && codes.iter().any(|code| code.starts_with(rest));
        return if fits { Recognition::Short } else { Recognition::No };
    };
    let fits = match u32::from_be_bytes(code) {
        SSL | GSS => length == 8,
        CANCEL => (16..=300).contains(&length),
        0x0003_0000..=0x0003_00ff => match rest.get(4) {
            None => return Recognition::Short,
            Some(first) => length > 8 && first.is_ascii_lowercase(),
        },
        _ => false,
    };
    if fits { Recognition::Yes(Side::Client) } else { Recognition::No }
}

/// Whether a client could have sent it; `None` when that cannot be told yet.
fn client(kind: u8, length: u32, body: &[u8], whole: bool) -> Option<bool> {
    /// Enough to see a verb.
    const ENOUGH: usize = 24;
    let statement = |text: &[u8]| {
        if !whole && text.len() < ENOUGH && text.iter().all(u8::is_ascii) {
            return None;
        }
        Some(sql::begins(text))
    };
    match kind {
        b'Q' => statement(body),
        b'P' => match memchr::memchr(0, body) {
            Some(end) if printable(&body[..end]) => statement(&body[end + 1..]),
            None if !whole && body.len() < 64 && printable(body) => None,
            _ => Some(false),
        },
        b'B' => match memchr::memchr(0, body) {
            Some(end) if printable(&body[..end]) => {
                let name = &body[end + 1..];
                match memchr::memchr(0, name) {
                    Some(end) => match name.get(end + 1..end + 3) {
                        Some(formats) => Some(printable(&name[..end]) && formats[0] == 0),
                        None => whole.then_some(false),
                    },
                    None => whole.then_some(false),
                }
            }
            None if !whole && body.len() < 64 && printable(body) => None,
            _ => Some(false),
        },
        b'S' => Some(length == 4),
        _ => Some(false),
    }
}

/// Whether a server could have sent it; `None` when that cannot be told yet.
fn server(kind: u8, length: u32, body: &[u8]) -> Option<bool> {
    let first = || body.first().copied();
    match kind {
        b'Z' => Some(length == 5 && matches!(first()?, b'I' | b'T' | b'E')),
        b'R' => Some((8..=2000).contains(&length) && *body.get(..4)?.last()? <= 12 && body[0] == 0),
        b'1' | b'2' | b'n' | b's' | b'I' => Some(length == 4),
        b'E' | b'N' => Some(length < 65536 && first()? == b'S'),
        b'S' => Some(length < 4096 && first()?.is_ascii_lowercase()),
        b'C' => Some(length < 128 && first()?.is_ascii_uppercase()),
        b'T' => {
            let fields = u16::from_be_bytes([first()?, *body.get(1)?]);
            Some(u32::from(fields) * 19 + 6 <= length && (1..=1664).contains(&fields))
        }
        _ => Some(false),
    }
}

fn printable(name: &[u8]) -> bool {
    name.iter().all(|byte| !byte.is_ascii_control())
}
