//! Reads messages: a header of 16 bytes, and the beginning of the body.

use crate::exchange::cut::Layout;
use crate::exchange::read::{Reader, name};
use crate::exchange::{Outcome, Text};
use crate::protocol::{Recognition, Side};

const HEADER: usize = 16;
const MAGIC: [u8; 2] = [0xda, 0xbb];
/// Longest body taken for one; the default bound is 8 MB.
const LONGEST: u32 = 64 << 20;
/// Longest name of a service, and of a method, in bytes.
const LONGEST_NAME: usize = 256;

const REQUEST: u8 = 0x80;
const TWO_WAY: u8 = 0x40;
const EVENT: u8 = 0x20;
const ENCODING: u8 = 0x1f;
const HESSIAN: u8 = 2;
const JSON: u8 = 6;

const OK: u8 = 20;

pub(super) const LAYOUT: Layout = Layout { header: HEADER, wanted: HEADER + 640 };

/// What pairing needs of a message.
#[derive(Debug)]
pub enum Part {
    /// A request.
    Request {
        /// Its number.
        number: u64,
        /// Service and method.
        operation: Text,
        /// Whether an answer is wanted.
        answered: bool,
    },
    /// An answer.
    Answer {
        /// The number of its request.
        number: u64,
        /// What it says.
        outcome: Outcome,
    },
}

/// The whole size of the message at the front, if it is one.
pub(super) fn length(bytes: &[u8]) -> Option<u64> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let length = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    (plausible(header) && length <= LONGEST).then_some(HEADER as u64 + u64::from(length))
}

/// A request has no status, an answer has one that is known.
fn plausible(header: &[u8]) -> bool {
    let status = header[3];
    let fits = if header[2] & REQUEST == 0 { status_name(status).is_some() } else { status == 0 };
    header[..2] == MAGIC && header[2] & ENCODING != 0 && fits
}

pub(super) fn read(bytes: &[u8], size: u64) -> Option<Part> {
    let (header, body) = bytes.split_at_checked(HEADER)?;
    let number = u64::from_be_bytes(*header[4..].first_chunk()?);
    let (flags, status) = (header[2], header[3]);
    if flags & REQUEST != 0 {
        let operation = if flags & EVENT != 0 {
            "HEARTBEAT".into()
        } else {
            operation(flags & ENCODING, body).unwrap_or("_OTHER".into())
        };
        return Some(Part::Request { number, operation, answered: flags & TWO_WAY != 0 });
    }
    let cut = body.is_empty() && size > HEADER as u64;
    let outcome = match status {
        OK if flags & EVENT != 0 => Outcome::OK,
        OK if thrown(flags & ENCODING, body) => Outcome::failed("EXCEPTION"),
        OK if cut => Outcome::Unseen,
        OK => Outcome::OK,
        _ => Outcome::failed(status_name(status).unwrap_or("_OTHER")),
    };
    Some(Part::Answer { number, outcome })
}

/// `service/method`: the second and fourth of the strings that begin a body. The
/// others are the versions of Dubbo and of the service.
fn operation(encoding: u8, body: &[u8]) -> Option<Text> {
    let mut reader = Reader(body);
    let mut string = || match encoding {
        HESSIAN => hessian(&mut reader),
        JSON => line(&mut reader),
        _ => None,
    };
    let (_, service, _, method) = (string()?, string()?, string()?, string()?);
    let fits = |text: &[u8]| {
        let named = |byte: &u8| byte.is_ascii_alphanumeric() || b"._$-/:*".contains(byte);
        (1..=LONGEST_NAME).contains(&text.len()) && text.iter().all(named)
    };
    (fits(service) && fits(method)).then(|| format!("{}/{}", name(service), name(method)).into())
}

/// A string of Hessian 2. Its length counts characters; names are ASCII.
fn hessian<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = match reader.u8()? {
        short @ 0..=0x1f => usize::from(short),
        high @ 0x30..=0x33 => usize::from(high - 0x30) << 8 | usize::from(reader.u8()?),
        b'S' => usize::from(reader.u16()?),
        _ => return None,
    };
    reader.take(length)
}

/// A string on a line of JSON.
fn line<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let end = memchr::memchr(b'\n', reader.0)?;
    let line = reader.take(end + 1)?[..end].trim_ascii();
    line.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Whether a good answer holds what the method threw: kinds 0 and 3 of the result,
/// without and with attachments.
fn thrown(encoding: u8, body: &[u8]) -> bool {
    match encoding {
        HESSIAN => matches!(body.first(), Some(0x90 | 0x93)),
        JSON => matches!(body.first(), Some(b'0' | b'3')),
        _ => false,
    }
}

fn status_name(status: u8) -> Option<&'static str> {
    Some(match status {
        OK => "OK",
        25 => "SERIALIZATION_ERROR",
        30 => "CLIENT_TIMEOUT",
        31 => "SERVER_TIMEOUT",
        35 => "CHANNEL_INACTIVE",
        40 => "BAD_REQUEST",
        50 => "BAD_RESPONSE",
        60 => "SERVICE_NOT_FOUND",
        70 => "SERVICE_ERROR",
        80 => "SERVER_ERROR",
        90 => "CLIENT_ERROR",
        100 => "SERVER_THREADPOOL_EXHAUSTED_ERROR",
        _ => return None,
    })
}

/// Judges bytes that begin a piece.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let Some(header) = bytes.get(..HEADER) else {
        let fits = MAGIC.iter().zip(bytes).all(|(one, other)| one == other);
        return if fits { Recognition::Short } else { Recognition::No };
    };
    if length(header).is_none() {
        return Recognition::No;
    }
    let side = if header[2] & REQUEST == 0 { Side::Server } else { Side::Client };
    Recognition::Yes(side)
}
