//! Cuts messages (four bytes of length) and reads their headers.

use std::sync::Arc;

use super::apis::{self, MOST_API, MOST_VERSION, PRODUCE};
use crate::exchange::Timed;
use crate::exchange::cut::{Cutter, Layout};
use crate::exchange::read::{Reader, name};
use crate::protocol::{Recognition, Side, Step};
use crate::stream::View;

/// Longest message taken for one, in bytes; the server's default is 100 MB.
const LONGEST: u32 = 1 << 28;
/// Longest request by which Kafka is recognised if it does not carry records, as only Produce
/// does, in bytes.
const LONGEST_WITHOUT_RECORDS: u32 = 1 << 20;
/// Longest request of a client without a name by which Kafka is recognised: it begins with
/// what versions and topics there are.
const LONGEST_NAMELESS: usize = 1024;
/// Bytes of a message that are read: the header and the first topic.
const WANTED: usize = 1024;
/// Bytes of a response that are read: up to the first error.
const WANTED_ANSWER: usize = 320;
/// Longest name of a topic, in bytes.
const LONGEST_TOPIC: usize = 249;

/// What pairing needs of a message.
#[derive(Debug)]
pub enum Part {
    /// A request.
    Request {
        /// Its number.
        correlation: i32,
        /// The API.
        api: i16,
        /// Its version.
        version: i16,
        /// The first topic.
        topic: Option<Arc<str>>,
        /// No response will come.
        silent: bool,
    },
    /// A response.
    Response {
        /// The number of its request.
        correlation: i32,
        /// The start of its body.
        body: Box<[u8]>,
        /// The start was cut short: what it says is not known.
        cut: bool,
    },
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    cutter: Cutter<Part>,
}

impl Framer {
    pub(super) fn step(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        let layout = match side {
            Side::Client => Layout { header: 4, wanted: WANTED },
            Side::Server => Layout { header: 4, wanted: WANTED_ANSWER },
        };
        self.cutter.step(view, &layout, length, |bytes, size| match side {
            Side::Client => request(&bytes[4..]),
            Side::Server => {
                let (number, body) = bytes[4..].split_first_chunk()?;
                let cut = (bytes.len() as u64) < size.min(WANTED_ANSWER as u64);
                let body = body[..body.len().min(WANTED_ANSWER)].into();
                Some(Part::Response { correlation: i32::from_be_bytes(*number), body, cut })
            }
        })
    }
}

/// The whole size of the message at the front, if it is one.
pub(super) fn length(bytes: &[u8]) -> Option<u64> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?);
    (4..=LONGEST).contains(&length).then_some(u64::from(length) + 4)
}

fn request(message: &[u8]) -> Option<Part> {
    let mut reader = Reader(message);
    let (api, version, correlation) = (reader.i16()?, reader.i16()?, reader.i32()?);
    if !(0..=MOST_API).contains(&api) || !(0..=MOST_VERSION).contains(&version) {
        return None;
    }
    let body = body(api, version, reader);
    let topic = body.topic.filter(|topic| (1..=LONGEST_TOPIC).contains(&topic.len())).map(name);
    Some(Part::Request { correlation, api, version, topic, silent: body.silent })
}

fn body(api: i16, version: i16, mut reader: Reader<'_>) -> apis::Body<'_> {
    let header = |reader: &mut Reader<'_>| {
        let client = reader.i16()?;
        reader.take(usize::try_from(client).unwrap_or(0))?;
        if apis::is_flexible(api, version)? {
            apis::tags(reader)?;
        }
        Some(())
    };
    match header(&mut reader) {
        Some(()) => apis::request(api, version, reader),
        None => apis::Body::default(),
    }
}

/// Whether a message may begin so, as far as its numbers are there.
fn begins(mut reader: Reader<'_>) -> bool {
    let longest = |api| if api == PRODUCE { LONGEST } else { LONGEST_WITHOUT_RECORDS };
    let Some(length) = reader.u32() else {
        return reader.0.first().is_none_or(|first| *first <= 0x10);
    };
    (10..=LONGEST).contains(&length)
        && reader.i16().is_none_or(|api| (0..=MOST_API).contains(&api) && length <= longest(api))
        && reader.i16().is_none_or(|version| (0..=MOST_VERSION).contains(&version))
        && reader.i32().is_none_or(|number| number >= 0)
}

/// Judges a message of `size` bytes whose client has no name. So few small numbers are found in
/// anything: the message has to be there, and whatever follows has to begin like one.
fn nameless(bytes: &[u8], size: usize) -> Recognition {
    // So many zeros are found in many a frame of HTTP/2.
    if size > LONGEST_NAMELESS || bytes[4..8] == [0; 4] {
        return Recognition::No;
    }
    match bytes.get(size..) {
        None => Recognition::Short,
        Some(next) if begins(Reader(next)) => Recognition::Yes(Side::Client),
        Some(_) => Recognition::No,
    }
}

/// Judges bytes that begin a piece: a request with a plausible header.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let mut reader = Reader(bytes);
    if !begins(Reader(bytes)) {
        return Recognition::No;
    }
    // A number that is there in part was not taken by the reader.
    let length = reader.u32();
    let client = reader.take(8).and_then(|_| reader.i16());
    let (Some(length), Some(client)) = (length, client) else { return Recognition::Short };
    let size = usize::try_from(client).unwrap_or(0);
    if client < -1 || size as u64 + 10 > u64::from(length) || size > 255 {
        return Recognition::No;
    }
    if size == 0 {
        return nameless(bytes, length as usize + 4);
    }
    let shown = &reader.0[..size.min(reader.0.len())];
    if !shown.iter().all(u8::is_ascii_graphic) {
        return Recognition::No;
    }
    if shown.len() < size { Recognition::Short } else { Recognition::Yes(Side::Client) }
}
