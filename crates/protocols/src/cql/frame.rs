//! Cuts envelopes, bare (versions 3 and 4, and the start of 5) or in frames.
//!
//! A frame of version 5 carries a CRC over its header, so at every place the bytes
//! themselves tell which of the two is there.

use super::body::{self, BATCH, EXECUTE, Header, OPTIONS, PREPARE, Part, QUERY, RESULT, STARTUP};
use crate::exchange::Timed;
use crate::exchange::cut::{Cutter, Layout};
use crate::protocol::{Recognition, Side, Step};
use crate::sql;
use crate::stream::{HoleKind, Then, View};

/// Bytes of an envelope that are read.
const LAYOUT: Layout = Layout { header: Header::SIZE, wanted: Header::SIZE + 4 + sql::LONGEST };
/// Size of the CRC behind a frame's payload.
const TRAILER: u64 = 4;

/// The frame whose payload comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outer {
    /// Bytes of its header.
    header: usize,
    payload: u64,
}

impl Outer {
    /// Reads a frame's header; `None` where there is none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let plain = bytes.get(..6).filter(|six| crc24(&six[..3]) == number(&six[3..]));
        let packed = || bytes.get(..8).filter(|eight| crc24(&eight[..5]) == number(&eight[5..]));
        let header = plain.or_else(packed)?;
        // 17 bits of length lead in both.
        let payload = u64::from(number(&header[..3]) & 0x1_ffff);
        Some(Self { header: header.len(), payload })
    }

    fn is_compressed(self) -> bool {
        self.header == 8
    }

    fn size(self) -> u64 {
        self.header as u64 + self.payload + TRAILER
    }
}

/// A number of up to four bytes, the lowest first.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// The checksum of a frame's header (protocol version 5, section 2.2).
fn crc24(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x0197_4f0b;
    bytes.iter().fold(0x0087_5060, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc, _| {
            let next = crc << 1;
            if next & 0x0100_0000 == 0 { next } else { next ^ POLYNOMIAL }
        })
    })
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    cutter: Cutter<Part>,
    /// What is left of a frame's payload.
    inside: Option<u64>,
    /// What is left of an envelope, in frames to come.
    rest: u64,
}

impl Framer {
    pub(super) fn step(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        match self.inside {
            Some(0) => {
                self.inside = None;
                Step::Skip(TRAILER)
            }
            Some(left) if self.cutter.is_free() => self.framed(side, view, left),
            None if self.rest > 0 || self.cutter.is_free() => self.begin(side, view),
            _ => self.envelope(side, view),
        }
    }

    /// At a place where a frame or a bare envelope begins.
    fn begin(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        if view.bytes.len() < 8 && view.then == Then::More {
            return Step::Need;
        }
        match Outer::read(view.bytes) {
            Some(outer) if self.rest > 0 => {
                self.rest = self.rest.saturating_sub(outer.payload.max(1));
                Step::Skip(outer.size())
            }
            Some(outer) if outer.is_compressed() => Step::Skip(outer.size()),
            Some(outer) => {
                self.inside = Some(outer.payload);
                Step::Skip(outer.header as u64)
            }
            None if self.rest > 0 => Step::Lost,
            None => self.envelope(side, view),
        }
    }

    /// Inside a frame: an envelope may end in it, or go on in the next.
    fn framed(&mut self, side: Side, view: &View<'_>, left: u64) -> Step<Timed<Part>> {
        let there = (left.min(view.bytes.len() as u64)) as usize;
        let then = if there as u64 == left { Then::Hole(HoleKind::Truncated) } else { view.then };
        let inner = View { bytes: &view.bytes[..there], then, ..*view };
        match self.envelope(side, &inner) {
            Step::Need if there as u64 == left => Step::Lost,
            Step::Emit { message, used } => {
                self.inside = Some(left - used as u64);
                Step::Emit { message, used }
            }
            Step::Skip(size) => {
                self.inside = Some(left.saturating_sub(size));
                self.rest = size.saturating_sub(left);
                Step::Skip(size.min(left))
            }
            other => other,
        }
    }

    fn envelope(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        let length = |bytes: &[u8]| {
            Header::read(side, bytes).map(|header| Header::SIZE as u64 + u64::from(header.length))
        };
        self.cutter.step(view, &LAYOUT, length, |bytes, size| {
            let cut = (bytes.len() as u64) < size.min(LAYOUT.wanted as u64);
            body::read(side, bytes, cut)
        })
    }
}

/// Judges bytes that begin a piece.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    if bytes.len() >= 6
        && let Some(outer) = Outer::read(bytes).filter(|outer| !outer.is_compressed())
    {
        return match bytes.get(outer.header) {
            None => Recognition::Short,
            Some(5) => Recognition::Yes(Side::Client),
            Some(0x85) => Recognition::Yes(Side::Server),
            Some(_) => Recognition::No,
        };
    }
    let side = match bytes.first() {
        None => return Recognition::Short,
        Some(3..=5) => Side::Client,
        Some(0x83..=0x85) => Side::Server,
        // It may be a frame yet: 17 bits of length and a flag lead.
        Some(_) if bytes.len() < 6 && bytes.get(2).is_none_or(|high| *high < 4) => {
            return Recognition::Short;
        }
        Some(_) => return Recognition::No,
    };
    if bytes.len() < Header::SIZE {
        return if bytes.get(1).is_none_or(|flags| *flags < 0x20) || bytes.len() < 6 {
            Recognition::Short
        } else {
            Recognition::No
        };
    }
    let Some(header) = Header::read(side, bytes) else { return Recognition::No };
    let body = &bytes[Header::SIZE..];
    let length = header.length as usize;
    match body_fits(header, &body[..body.len().min(length)]) {
        Some(true) => Recognition::Yes(side),
        None if body.len() < length => Recognition::Short,
        _ => Recognition::No,
    }
}

/// Whether a body is what its opcode says; `None` where that cannot be told yet.
fn body_fits(header: Header, body: &[u8]) -> Option<bool> {
    /// Enough to see a verb.
    const ENOUGH: usize = 28;
    let length = header.length;
    let word = || body.first_chunk().map(|four| u32::from_be_bytes(*four));
    if header.is_compressed() {
        return Some(false);
    }
    match header.opcode {
        OPTIONS | 2 => Some(length == 0),
        STARTUP => {
            let key = b"\0\x0bCQL_VERSION";
            let other = b"\0\x0bCOMPRESSION";
            let start = body.get(2..2 + key.len())?;
            Some(body[0] == 0 && (start == key || start == other || body[1] > 1))
        }
        QUERY | PREPARE if header.flags & !2 == 0 => {
            if word()?.saturating_add(4) > length {
                return Some(false);
            }
            let whole = body.len() == length as usize;
            (whole || body.len() >= ENOUGH).then(|| sql::begins(&body[4..]))
        }
        EXECUTE if header.flags & !2 == 0 => Some(*body.get(..2)? == [0, 16] && length > 20),
        BATCH if header.flags & !2 == 0 => {
            let [kind, _, _, first, ..] = *body.first_chunk::<4>()?;
            Some(kind < 3 && first < 2 && length > 8)
        }
        RESULT if header.flags == 0 => Some((1..=5).contains(&word()?) && length < 256 << 20),
        body::ERROR if header.flags == 0 => Some(word()? < 0x2600 && (6..65536).contains(&length)),
        6 | 3 => Some(header.flags == 0 && body.first().copied()? == 0 && length > 4),
        _ => Some(false),
    }
}

/// Whether a piece begins with a frame, or with an envelope of that side.
pub(super) fn resumes(side: Side, bytes: &[u8]) -> Recognition {
    if bytes.len() < Header::SIZE {
        return Recognition::Short;
    }
    let known = match Outer::read(bytes) {
        // One that goes on with an envelope says nothing by itself.
        Some(outer) => {
            outer.is_compressed() || Header::read(side, &bytes[outer.header..]).is_some()
        }
        None => Header::read(side, bytes).is_some(),
    };
    if known { Recognition::Yes(side) } else { Recognition::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum is that of Cassandra's `Crc.java`.
    #[test]
    fn a_header_is_told_by_its_checksum() {
        let mut bytes = [9, 0, 2, 0xa4, 0xc8, 0xc1];
        assert_eq!(Outer::read(&bytes), Some(Outer { header: 6, payload: 9 }));
        bytes[0] = 8;
        assert_eq!(Outer::read(&bytes), None);
    }
}
