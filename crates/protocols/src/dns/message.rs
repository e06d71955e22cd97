//! Reads the header and the first question of a DNS message.

use std::fmt::Write;
use std::sync::Arc;

use crate::exchange::Text;
use crate::exchange::read::Reader;
use crate::protocol::{Recognition, Side};

/// Size of the fixed header in bytes.
pub(super) const HEADER: usize = 12;
/// Bytes that hold header and first question; the rest is not read.
pub(super) const WANTED: usize = HEADER + LONGEST_NAME + 4;
/// Longest name on the wire (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 255;

/// What is kept of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The identifier.
    pub id: u16,
    /// Whether it is an answer.
    pub answer: bool,
    /// The operation code: 0 is a query, 4 a notification, 5 an update.
    pub opcode: u8,
    /// The code of the answer without its extension.
    pub code: u8,
    /// The first question: its name, lower case, without the last dot.
    pub name: Option<Arc<str>>,
    /// The first question's type.
    pub kind: u16,
}

impl Message {
    /// Reads a message whose end may be missing. `None` when it is not DNS.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let questions = reader.u16()?;
        reader.take(6)?;
        let opcode = (flags >> 11) as u8 & 15;
        let (name, kind) = if questions == 0 { (None, 0) } else { question(reader)? };
        Some(Self { id, answer: flags & 0x8000 != 0, opcode, code: flags as u8 & 15, name, kind })
    }

    /// The question's type, or what else is asked for (RFC 1035, 1996, 2136).
    pub fn operation(&self) -> Text {
        const KINDS: &[(u16, &str)] = &[
            (1, "A"),
            (2, "NS"),
            (5, "CNAME"),
            (6, "SOA"),
            (10, "NULL"),
            (12, "PTR"),
            (13, "HINFO"),
            (15, "MX"),
            (16, "TXT"),
            (28, "AAAA"),
            (33, "SRV"),
            (35, "NAPTR"),
            (41, "OPT"),
            (43, "DS"),
            (44, "SSHFP"),
            (46, "RRSIG"),
            (47, "NSEC"),
            (48, "DNSKEY"),
            (52, "TLSA"),
            (64, "SVCB"),
            (65, "HTTPS"),
            (249, "TKEY"),
            (250, "TSIG"),
            (251, "IXFR"),
            (252, "AXFR"),
            (255, "ANY"),
            (257, "CAA"),
        ];
        match self.opcode {
            0 => {}
            2 => return "STATUS".into(),
            4 => return "NOTIFY".into(),
            5 => return "UPDATE".into(),
            6 => return "DSO".into(),
            other => return format!("OPCODE{other}").into(),
        }
        match KINDS.iter().find(|(kind, _)| *kind == self.kind) {
            Some((_, name)) => (*name).into(),
            None => format!("TYPE{}", self.kind).into(),
        }
    }

    /// The name of the answer's code (RFC 1035, 2136).
    pub fn status(&self) -> Text {
        const CODES: [&str; 12] = [
            "NOERROR",
            "FORMERR",
            "SERVFAIL",
            "NXDOMAIN",
            "NOTIMP",
            "REFUSED",
            "YXDOMAIN",
            "YXRRSET",
            "NXRRSET",
            "NOTAUTH",
            "NOTZONE",
            "DSOTYPENI",
        ];
        match CODES.get(usize::from(self.code)) {
            Some(name) => (*name).into(),
            None => format!("RCODE{}", self.code).into(),
        }
    }
}

/// Name and type of the question at the front.
fn question(mut reader: Reader<'_>) -> Option<(Option<Arc<str>>, u16)> {
    let mut name = String::new();
    let mut size = 0;
    loop {
        let length = usize::from(reader.u8()?);
        size += length + 1;
        // The first question has no earlier name to point at (RFC 1035, 4.1.4).
        if length > 63 || size > LONGEST_NAME {
            return None;
        }
        if length == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        label(reader.take(length)?, &mut name);
    }
    if name.is_empty() {
        name.push('.');
    }
    let kind = reader.u16()?;
    reader.u16()?;
    Some((Some(name.into()), kind))
}

/// Letters lower case, what is not printable escaped (RFC 4343).
fn label(label: &[u8], out: &mut String) {
    for byte in label {
        if byte.is_ascii_graphic() && *byte != b'.' {
            out.push(char::from(byte.to_ascii_lowercase()));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\{byte:03}");
        }
    }
}

/// Judges a message of `length` bytes of which `bytes` are there.
pub(super) fn recognise(bytes: &[u8], length: usize) -> Recognition {
    if length < HEADER {
        return Recognition::No;
    }
    let Some(header) = bytes.get(..HEADER) else {
        let fits = bytes.get(2).is_none_or(|flags| matches!(flags >> 3 & 15, 0 | 4 | 5))
            && bytes.get(3).is_none_or(|bits| bits & 0x40 == 0)
            && bytes.get(4).is_none_or(|count| *count == 0);
        return if fits { Recognition::Short } else { Recognition::No };
    };
    let (flags, bits) = (header[2], header[3]);
    let opcode = flags >> 3 & 15;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // Z is zero, one question, and a query carries no answers.
    let plausible = matches!(opcode, 0 | 4 | 5)
        && bits & 0x40 == 0
        && count(4) == 1
        && (flags & 0x80 != 0 || (bits.trailing_zeros() >= 4 && (opcode == 5 || count(6) <= 1)))
        && count(10) <= 64;
    if !plausible {
        return Recognition::No;
    }
    let side = if flags & 0x80 == 0 { Side::Client } else { Side::Server };
    match question(Reader(&bytes[HEADER..])) {
        Some((_, kind)) if kind != 0 => Recognition::Yes(side),
        None if bytes.len() < length.min(WANTED) && could_be_name(&bytes[HEADER..]) => {
            Recognition::Short
        }
        _ => Recognition::No,
    }
}

/// Whether the labels that are there are no longer than labels may be.
fn could_be_name(mut bytes: &[u8]) -> bool {
    while let [length @ 1..64, rest @ ..] = bytes {
        bytes = rest.get(usize::from(*length)..).unwrap_or_default();
    }
    matches!(bytes, [] | [0, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03WwW\x04shop\x00\x00\x1c\x00\x01";

    #[test]
    fn reads_a_question() {
        let message = Message::read(QUERY).expect("a message");
        assert_eq!((message.name.as_deref(), &*message.operation()), (Some("www.shop"), "AAAA"));
        assert_eq!(recognise(QUERY, QUERY.len()), Recognition::Yes(Side::Client));
    }

    #[test]
    fn a_cut_question_is_short_and_a_pointer_is_refused() {
        for cut in 0..QUERY.len() {
            assert_eq!(recognise(&QUERY[..cut], QUERY.len()), Recognition::Short, "{cut}");
            assert_eq!(Message::read(&QUERY[..cut]), None);
        }
        let mut pointer = QUERY.to_vec();
        pointer[12] = 0xc0;
        assert_eq!(Message::read(&pointer), None);
        assert_eq!(recognise(&pointer, pointer.len()), Recognition::No);
    }

    #[test]
    fn what_is_not_printable_is_escaped() {
        let mut name = String::new();
        label(b"a.b\x00", &mut name);
        assert_eq!(name, "a\\046b\\000");
    }
}
