//! Cuts frames: type, channel, size, payload, and a byte that ends them.

use std::sync::Arc;

use super::methods::{self, Role};
use crate::exchange::Timed;
use crate::exchange::cut::{Cutter, Layout};
use crate::exchange::read::Reader;
use crate::protocol::{Recognition, Side, Step};
use crate::stream::View;

const HEADER: usize = 7;
/// Bytes of a method that are read.
const WANTED: usize = 512;
/// Largest payload taken for one, in bytes; the server's default is 128 KiB.
const LARGEST: u32 = 16 << 20;
const END: u8 = 0xce;
const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";

const METHOD: u8 = 1;

/// What pairing needs of a frame.
#[derive(Debug)]
pub enum Part {
    /// A method on a channel.
    Method {
        /// The channel; 0 is the connection.
        channel: u16,
        /// The class.
        class: u16,
        /// The method in it.
        method: u16,
        /// Its name.
        name: &'static str,
        /// What it is to pairing.
        role: Role,
        /// What it is about.
        target: Option<Arc<str>>,
        /// Why a channel or the connection is closed; 200 is no failure.
        code: Option<u16>,
    },
    /// Content, a heartbeat, a method that is not known.
    Other,
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    cutter: Cutter<Part>,
}

impl Framer {
    pub(super) fn step(&mut self, view: &View<'_>) -> Step<Timed<Part>> {
        let bytes = view.bytes;
        if bytes.first() == Some(&b'A') && self.cutter.is_free() {
            // The server sends it too, to refuse a version.
            let known = GREETING.iter().take(4).zip(bytes).all(|(one, other)| one == other);
            return match (known, bytes.len() >= GREETING.len()) {
                (true, true) => Step::Skip(GREETING.len() as u64),
                (true, false) => Step::Need,
                (false, _) => Step::Lost,
            };
        }
        let wanted = if bytes.first() == Some(&METHOD) { WANTED } else { HEADER };
        self.cutter.step(view, &Layout { header: HEADER, wanted }, length, |bytes, size| {
            let whole = bytes.len() as u64 == size;
            if whole && bytes.last() != Some(&END) {
                return None;
            }
            let payload = &bytes[HEADER..bytes.len() - usize::from(whole)];
            let channel = u16::from_be_bytes([bytes[1], bytes[2]]);
            let found = if bytes[0] == METHOD { method(channel, payload) } else { None };
            Some(found.unwrap_or(Part::Other))
        })
    }
}

/// The whole size of the frame at the front, if it is one.
fn length(header: &[u8]) -> Option<u64> {
    let size = u32::from_be_bytes(*header.get(3..7)?.first_chunk()?);
    let fits = match header[0] {
        METHOD => size >= 4,
        2 => size >= 14,
        3 => true,
        8 => size == 0 && header[1] == 0 && header[2] == 0,
        _ => false,
    };
    (fits && size <= LARGEST).then_some(HEADER as u64 + u64::from(size) + 1)
}

fn method(channel: u16, payload: &[u8]) -> Option<Part> {
    let mut reader = Reader(payload);
    let (class, method) = (reader.u16()?, reader.u16()?);
    let arguments = reader.0;
    let known = methods::find(class, method)?;
    let code = match (class, method) {
        (10, 50) | (20, 40) => Some(reader.u16().unwrap_or(200)),
        _ => None,
    };
    let silent = methods::is_silent(class, method, arguments);
    Some(Part::Method {
        channel,
        class,
        method,
        name: known.name,
        role: if silent { Role::Tell } else { known.role },
        target: methods::target(class, method, arguments),
        code,
    })
}

/// Judges bytes that begin a connection, or a piece of the server's.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    /// A method frame on channel 0 with `connection.start`.
    const START: [Option<u8>; 11] = [
        Some(1),
        Some(0),
        Some(0),
        Some(0),
        None,
        None,
        None,
        Some(0),
        Some(10),
        Some(0),
        Some(10),
    ];
    if GREETING.iter().zip(bytes).all(|(one, other)| one == other) {
        let whole = bytes.len() >= GREETING.len();
        return if whole { Recognition::Yes(Side::Client) } else { Recognition::Short };
    }
    let begins = START.iter().zip(bytes).all(|(one, other)| one.is_none_or(|one| one == *other));
    if !begins {
        Recognition::No
    } else if bytes.len() < START.len() {
        Recognition::Short
    } else {
        Recognition::Yes(Side::Server)
    }
}

/// Whether a piece begins with a frame that ends as it should, and whose method,
/// if it is one, is known.
pub(super) fn resumes(side: Side, bytes: &[u8]) -> Recognition {
    let Some(header) = bytes.get(..HEADER) else { return Recognition::Short };
    let Some(size) = length(header) else { return Recognition::No };
    if bytes.get(size as usize - 1).is_some_and(|end| *end != END) {
        return Recognition::No;
    }
    let numbers = (bytes.get(7..9), bytes.get(9..11));
    match (header[0], numbers) {
        (METHOD, (Some(class), Some(method))) => {
            let number = |two: &[u8]| u16::from_be_bytes([two[0], two[1]]);
            let known = methods::find(number(class), number(method)).is_some();
            if known { Recognition::Yes(side) } else { Recognition::No }
        }
        (METHOD, _) => Recognition::Short,
        // Content whose end is out of sight could be anything.
        _ if bytes.len() as u64 >= size => Recognition::Yes(side),
        _ => Recognition::No,
    }
}
