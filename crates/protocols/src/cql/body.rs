//! Reads the bodies of envelopes: section 4 of the protocol's description.

use std::sync::Arc;

use crate::exchange::read::{Reader, name};
use crate::protocol::Side;
use crate::sql::{self, Dialect, Statement};

pub(super) const ERROR: u8 = 0;
pub(super) const STARTUP: u8 = 1;
pub(super) const OPTIONS: u8 = 5;
pub(super) const QUERY: u8 = 7;
pub(super) const RESULT: u8 = 8;
pub(super) const PREPARE: u8 = 9;
pub(super) const EXECUTE: u8 = 10;
pub(super) const REGISTER: u8 = 11;
pub(super) const EVENT: u8 = 12;
pub(super) const BATCH: u8 = 13;
pub(super) const AUTH_RESPONSE: u8 = 15;

const COMPRESSED: u8 = 1;
const TRACING: u8 = 2;
const PAYLOAD: u8 = 4;
const WARNING: u8 = 8;

/// The number that a preparation gave to a statement; 16 bytes where it is a hash.
pub(super) type Id = Box<[u8]>;

/// What pairing needs of an envelope.
#[derive(Debug)]
pub enum Part {
    /// A request.
    Request {
        /// Its stream.
        stream: i16,
        /// Its opcode.
        opcode: u8,
        /// Its statement, or the first of a batch.
        statement: Option<Arc<Statement>>,
        /// The number of a prepared one.
        id: Option<Box<[u8]>>,
    },
    /// An answer.
    Answer {
        /// The stream of its request.
        stream: i16,
        /// What it says.
        said: Said,
    },
    /// The server tells of a change.
    Event,
}

/// What an answer says.
#[derive(Debug)]
pub enum Said {
    /// All is well.
    Done,
    /// Cut short: not known.
    Cut,
    /// The error's code.
    Failed(u32),
    /// The statement got that number.
    Prepared(Box<[u8]>),
    /// The connection is in that key space now.
    KeySpace(Arc<str>),
}

/// The header of an envelope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) stream: i16,
    pub(super) opcode: u8,
    pub(super) length: u32,
}

impl Header {
    /// Size in bytes.
    pub(super) const SIZE: usize = 9;
    /// Longest body taken for one; the server's default is 256 MB.
    const LONGEST: u32 = 256 << 20;

    /// Reads it, if `side` may send it.
    pub(super) fn read(side: Side, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (version, flags, stream) = (reader.u8()?, reader.u8()?, reader.i16()?);
        let (opcode, length) = (reader.u8()?, reader.u32()?);
        let answers = matches!(opcode, ERROR | 2 | 3 | 6 | RESULT | EVENT | 14 | 16);
        let asks = matches!(
            opcode,
            STARTUP | OPTIONS | QUERY | PREPARE | EXECUTE | REGISTER | BATCH | AUTH_RESPONSE
        );
        let direction = if side == Side::Client { 0 } else { 0x80 };
        let fits = matches!(version ^ direction, 3..=5)
            && flags < 0x20
            && (if side == Side::Client { asks } else { answers })
            && (stream >= 0 || (stream == -1 && opcode == EVENT))
            && length <= Self::LONGEST;
        fits.then_some(Self { flags, stream, opcode, length })
    }

    pub(super) fn is_compressed(self) -> bool {
        self.flags & COMPRESSED != 0
    }
}

/// Reads what is there of an envelope. `cut` tells that its beginning is not whole.
pub(super) fn read(side: Side, bytes: &[u8], cut: bool) -> Option<Part> {
    let header = Header::read(side, bytes)?;
    let body = Reader(bytes.get(Header::SIZE..)?);
    let stream = header.stream;
    Some(match side {
        Side::Client => {
            let (statement, id) = request(header, body).unwrap_or_default();
            Part::Request { stream, opcode: header.opcode, statement, id }
        }
        Side::Server if header.opcode == EVENT => Part::Event,
        Side::Server => {
            let said = answer(header, body).unwrap_or(if cut { Said::Cut } else { Said::Done });
            Part::Answer { stream, said }
        }
    })
}

type Asked = (Option<Arc<Statement>>, Option<Id>);

fn request(header: Header, mut body: Reader<'_>) -> Option<Asked> {
    if header.is_compressed() {
        return None;
    }
    if header.flags & PAYLOAD != 0 {
        payload(&mut body)?;
    }
    match header.opcode {
        QUERY | PREPARE => Some((Some(statement(&mut body)?), None)),
        EXECUTE => Some((None, Some(short_bytes(&mut body)?))),
        BATCH => {
            // The kind of batch, and how many statements there are.
            body.take(3)?;
            match body.u8()? {
                0 => Some((Some(statement(&mut body)?), None)),
                _ => Some((None, Some(short_bytes(&mut body)?))),
            }
        }
        _ => None,
    }
}

fn answer(header: Header, mut body: Reader<'_>) -> Option<Said> {
    if header.is_compressed() {
        // That it failed is known by the opcode.
        return (header.opcode == ERROR).then_some(Said::Failed(0));
    }
    if header.flags & TRACING != 0 {
        body.take(16)?;
    }
    if header.flags & WARNING != 0 {
        for _ in 0..body.u16()? {
            let length = body.u16()?;
            body.take(usize::from(length))?;
        }
    }
    if header.flags & PAYLOAD != 0 {
        payload(&mut body)?;
    }
    match header.opcode {
        ERROR => Some(Said::Failed(body.u32()?)),
        RESULT => match body.u32()? {
            3 => {
                let length = body.u16()?;
                Some(Said::KeySpace(name(body.take(usize::from(length))?)))
            }
            4 => Some(Said::Prepared(short_bytes(&mut body)?)),
            _ => Some(Said::Done),
        },
        _ => Some(Said::Done),
    }
}

/// As much of a statement as is there.
fn statement(body: &mut Reader<'_>) -> Option<Arc<Statement>> {
    let length = body.u32()? as usize;
    let text = &body.0[..length.min(body.0.len())];
    Some(Arc::new(sql::normalise(text, Dialect::Cql)))
}

fn short_bytes(body: &mut Reader<'_>) -> Option<Id> {
    let length = body.u16()?;
    Some(body.take(usize::from(length))?.into())
}

/// A map of names to bytes, stepped over.
fn payload(body: &mut Reader<'_>) -> Option<()> {
    for _ in 0..body.u16()? {
        let length = body.u16()?;
        body.take(usize::from(length))?;
        let length = body.i32()?;
        body.take(usize::try_from(length).unwrap_or(0))?;
    }
    Some(())
}
