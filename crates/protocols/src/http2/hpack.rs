//! Header compression (RFC 7541), for one who may have joined late.
//!
//! Entries of the dynamic table are numbered from the newest, so what was
//! inserted since the last loss is always known by its right number, and an older
//! one is known to be unknown. Nothing else is needed to go on after a loss.

use std::collections::VecDeque;
use std::sync::Arc;

use super::huffman;

/// Most that is kept of the table, in bytes as the standard counts them: what an
/// encoder may use unless told otherwise is 4,096, and few are told more.
const LARGEST: usize = 64 << 10;
/// Longest string that is decoded, in bytes.
const LONGEST: usize = 8 << 10;
/// What the standard adds to the size of an entry.
const OVERHEAD: usize = 32;

type Bytes = Arc<[u8]>;

/// One header; `None` where the table that it refers to was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name, lower case on the wire.
    pub name: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
}

/// The decoder of one direction.
#[derive(Debug)]
pub struct Decoder {
    entries: VecDeque<Field>,
    size: usize,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: LARGEST }
    }
}

impl Decoder {
    /// Forgets the table: bytes were lost that may have changed it.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
    }

    /// Decodes a header block and hands over its fields. False when its end is
    /// missing or makes no sense; what came before was handed over, and the table
    /// is forgotten.
    pub fn decode(&mut self, mut block: &[u8], mut each: impl FnMut(&Field)) -> bool {
        while !block.is_empty() {
            if self.field(&mut block, &mut each).is_none() {
                self.forget();
                return false;
            }
        }
        true
    }

    fn field(&mut self, block: &mut &[u8], each: &mut impl FnMut(&Field)) -> Option<()> {
        let first = *block.first()?;
        if first & 0x80 != 0 {
            let index = integer(block, 7)?;
            each(&self.entry(index)?);
            return Some(());
        }
        if first & 0xe0 == 0x20 {
            let limit = integer(block, 5)?;
            self.limit = limit.min(LARGEST);
            self.evict();
            return Some(());
        }
        let inserts = first & 0x40 != 0;
        let index = integer(block, if inserts { 6 } else { 4 })?;
        let name = if index == 0 { Some(string(block)?) } else { self.entry(index)?.name };
        let field = Field { name, value: Some(string(block)?) };
        each(&field);
        if inserts {
            self.size += size(&field);
            self.entries.push_front(field);
            self.evict();
        }
        Some(())
    }

    /// The entry under that number, the newest of the dynamic table first.
    fn entry(&self, index: usize) -> Option<Field> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            let bytes = |text: &str| Some(Bytes::from(text.as_bytes()));
            return Some(Field { name: bytes(name), value: bytes(value) });
        }
        let unknown = Field { name: None, value: None };
        Some(self.entries.get(index - STATIC.len()).cloned().unwrap_or(unknown))
    }

    fn evict(&mut self) {
        while self.size > self.limit
            && let Some(old) = self.entries.pop_back()
        {
            self.size -= size(&old);
        }
    }
}

fn size(field: &Field) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
    length(&field.name) + length(&field.value) + OVERHEAD
}

/// An integer whose first `bits` bits are in the first byte (section 5.1).
fn integer(block: &mut &[u8], bits: u32) -> Option<usize> {
    let (&first, mut rest) = block.split_first()?;
    let mask = (1_usize << bits) - 1;
    let mut number = usize::from(first) & mask;
    if number == mask {
        for shift in (0..28).step_by(7) {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *block = rest;
                return Some(number);
            }
        }
        return None;
    }
    *block = rest;
    Some(number)
}

/// A string, plain or by Huffman's code (section 5.2).
fn string(block: &mut &[u8]) -> Option<Bytes> {
    let coded = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (raw, rest) = block.split_at_checked(length)?;
    *block = rest;
    if !coded {
        return Some(raw[..raw.len().min(LONGEST)].into());
    }
    let mut plain = Vec::with_capacity((length * 8 / 5).min(LONGEST));
    huffman::decode(raw, &mut plain, LONGEST)?;
    Some(plain.into())
}

/// The static table (appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(decoder: &mut Decoder, block: &[u8]) -> (Vec<String>, bool) {
        let mut all = Vec::new();
        let show = |bytes: &Option<Bytes>| {
            bytes.as_ref().map_or("?".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let whole =
            decoder.decode(block, |field| all.push(show(&field.name) + "=" + &show(&field.value)));
        (all, whole)
    }

    /// RFC 7541, C.4.1 and C.4.2.
    const FIRST: &[u8] = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    const SECOND: &[u8] = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";

    #[test]
    fn the_examples_of_the_standard() {
        let mut decoder = Decoder::default();
        let (first, _) = texts(&mut decoder, FIRST);
        let expected = [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"];
        assert_eq!(first, expected);
        let (second, whole) = texts(&mut decoder, SECOND);
        assert_eq!(second[3..], [":authority=www.example.com", "cache-control=no-cache"]);
        assert!(whole);
    }

    #[test]
    fn joined_late_an_older_entry_is_unknown_and_a_newer_is_right() {
        let mut decoder = Decoder::default();
        let (second, whole) = texts(&mut decoder, SECOND);
        assert_eq!((second[3].as_str(), whole), ("?=?", true));
        assert_eq!(texts(&mut decoder, b"\xbe\xbf").0, ["cache-control=no-cache", "?=?"]);
    }

    #[test]
    fn a_cut_block_gives_its_beginning() {
        let mut decoder = Decoder::default();
        let (found, whole) = texts(&mut decoder, &FIRST[..9]);
        assert_eq!((found.len(), whole), (3, false));
        assert_eq!(texts(&mut decoder, b"\x80"), (vec![], false));
        assert_eq!(texts(&mut decoder, b"\x7f\xff\xff\xff\xff\xff\xff"), (vec![], false));
    }
}
