//! Walks the elements of a BSON document whose end may be missing
//! (<https://bsonspec.org/spec.html>).

/// One element of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    kind: u8,
    pub(super) name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The value, if it is a string.
    pub(super) fn text(&self) -> Option<&'a [u8]> {
        (self.kind == 2).then(|| self.value.get(4..)?.split_last().map(|(_, text)| text))?
    }

    /// The value, if it is a number; fractions are cut off.
    pub(super) fn number(&self) -> Option<i64> {
        match self.kind {
            1 => self.value.first_chunk().map(|eight| f64::from_le_bytes(*eight) as i64),
            8 => self.value.first().map(|byte| i64::from(*byte)),
            16 => self.value.first_chunk().map(|four| i64::from(i32::from_le_bytes(*four))),
            18 => self.value.first_chunk().map(|eight| i64::from_le_bytes(*eight)),
            _ => None,
        }
    }

    /// The elements of the value, if it is a document or an array.
    pub(super) fn elements(&self) -> Elements<'a> {
        if matches!(self.kind, 3 | 4) { elements(self.value) } else { Elements(&[]) }
    }
}

/// The elements of a document, as far as they are whole.
pub(super) struct Elements<'a>(&'a [u8]);

/// Of a document with its length.
pub(super) fn elements(document: &[u8]) -> Elements<'_> {
    Elements(document.get(4..).unwrap_or_default())
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&kind, rest) = self.0.split_first()?;
        let end = memchr::memchr(0, rest)?;
        let (name, rest) = (&rest[..end], &rest[end + 1..]);
        let size = size(kind, rest)?;
        // A document that was cut is still walked as far as it goes.
        let (value, rest) = match rest.split_at_checked(size) {
            Some(split) => split,
            None if matches!(kind, 3 | 4) => (rest, &rest[..0]),
            None => return None,
        };
        self.0 = rest;
        Some(Element { kind, name, value })
    }
}

/// The size of a value.
fn size(kind: u8, value: &[u8]) -> Option<usize> {
    let length = || {
        let length = i32::from_le_bytes(*value.first_chunk()?);
        usize::try_from(length).ok()
    };
    match kind {
        1 | 9 | 17 | 18 => Some(8),
        2 | 13 | 14 => length()?.checked_add(4),
        3 | 4 | 15 => length().filter(|length| *length >= 5),
        5 => length()?.checked_add(5),
        6 | 10 | 0x7f | 0xff => Some(0),
        7 => Some(12),
        8 => Some(1),
        11 => {
            let first = memchr::memchr(0, value)?;
            let second = memchr::memchr(0, &value[first + 1..])?;
            Some(first + second + 2)
        }
        12 => length()?.checked_add(16),
        16 => Some(4),
        19 => Some(16),
        _ => None,
    }
}
