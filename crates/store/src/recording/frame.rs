//! A frame: checked head, compressed payload.

use super::FRAME_LIMIT;
use crate::RecordingError;
use std::io::{self, Read};

/// Bytes of a frame's head.
pub(super) const HEAD: usize = 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header = 1,
    Batch = 2,
    End = 3,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        [Self::Header, Self::Batch, Self::End].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// What is at the current place of a file.
pub(super) enum Frame {
    /// A sound frame: its kind, its payload, and its size in the file.
    Whole(Kind, Vec<u8>, u64),
    /// The file ends within a frame.
    Torn,
    /// The file ends exactly here.
    Nothing,
    /// Bytes that no writer wrote.
    Damaged(String),
}

/// A frame as bytes. The payload must not exceed [`FRAME_LIMIT`].
pub(super) fn encode(kind: Kind, payload: &[u8]) -> Result<Vec<u8>, RecordingError> {
    let packed = lz4_flex::block::compress(payload);
    let largest = payload.len().max(packed.len());
    if largest > FRAME_LIMIT {
        return Err(RecordingError::TooLarge { bytes: largest, limit: FRAME_LIMIT });
    }
    let words = [kind as u32, packed.len() as u32, payload.len() as u32, crc32fast::hash(&packed)];
    let mut out = Vec::with_capacity(HEAD + packed.len());
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out.extend(packed);
    Ok(out)
}

/// Reads the next frame. At most [`FRAME_LIMIT`] bytes are reserved for it, and
/// for its stored form no more than the file really holds.
pub(super) fn read(from: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; HEAD];
    match fill(from, &mut head)? {
        0 => return Ok(Frame::Nothing),
        HEAD => {}
        _ => return Ok(Frame::Torn),
    }
    let head = match Head::parse(&head) {
        Ok(head) => head,
        Err(what) => return Ok(Frame::Damaged(what)),
    };
    let mut packed = Vec::new();
    from.take(u64::from(head.stored)).read_to_end(&mut packed)?;
    if packed.len() < head.stored as usize {
        return Ok(Frame::Torn);
    }
    Ok(match head.unpack(&packed) {
        Ok(payload) => Frame::Whole(head.kind, payload, (HEAD + packed.len()) as u64),
        Err(what) => Frame::Damaged(what),
    })
}

struct Head {
    kind: Kind,
    stored: u32,
    raw: u32,
    checksum: u32,
}

impl Head {
    fn parse(bytes: &[u8; HEAD]) -> Result<Self, String> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if crc32fast::hash(&bytes[..HEAD - 4]) != word(HEAD - 4) {
            return Err("the checksum of a frame's head does not match".into());
        }
        let (stored, raw) = (word(4), word(8));
        if stored.max(raw) as usize > FRAME_LIMIT {
            return Err(format!("a frame of {} bytes is larger than the limit", stored.max(raw)));
        }
        let kind = Kind::from_number(word(0)).ok_or("a frame of unknown kind")?;
        Ok(Self { kind, stored, raw, checksum: word(12) })
    }

    fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        if crc32fast::hash(packed) != self.checksum {
            return Err("the checksum of a frame does not match".into());
        }
        let payload = lz4_flex::block::decompress(packed, self.raw as usize)
            .map_err(|e| format!("a frame cannot be unpacked: {e}"))?;
        if payload.len() == self.raw as usize {
            Ok(payload)
        } else {
            Err("a frame unpacks to another length than it says".into())
        }
    }
}

/// Reads until `buf` is full or the file ends; returns how much was read.
pub(super) fn fill(from: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match from.read(&mut buf[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
