//! Cuts control packets and reads those that pairing needs.

use std::sync::Arc;

use crate::exchange::cut::{Cutter, Layout};
use crate::exchange::read::Reader;
use crate::exchange::{Text, Timed};
use crate::keys;
use crate::protocol::{Recognition, Side, Step};
use crate::stream::View;

/// Bytes of a packet that are read: header, topic, number.
const WANTED: usize = 512;

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;

/// Which exchange a number belongs to: publications and subscriptions are
/// numbered by their sender, each side for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The login.
    Connect,
    /// A publication.
    Publish,
    /// A subscription, or its end.
    Subscribe,
}

/// What pairing needs of a packet.
#[derive(Debug)]
pub enum Part {
    /// Something that is answered under a number.
    Ask {
        /// What.
        kind: Kind,
        /// Its number.
        number: u16,
        /// Its name.
        operation: Text,
        /// The topic.
        topic: Option<Arc<str>>,
    },
    /// A publication that is not.
    Tell(Option<Arc<str>>),
    /// The answer: its number, and a code above 0x80 for a failure.
    Answer(Kind, u16, u8),
    /// Half of an answer of quality 2.
    Half(u16, u8),
    /// The side says goodbye, with that reason.
    Disconnect(u8),
    /// Anything else.
    Other,
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    cutter: Cutter<Part>,
}

impl Framer {
    pub(super) fn step(&mut self, _: Side, view: &View<'_>) -> Step<Timed<Part>> {
        // The length takes one to four bytes.
        let header = 1 + length_size(view.bytes.get(1..).unwrap_or_default());
        self.cutter.step(view, &Layout { header, wanted: WANTED }, length, |bytes, _| {
            read(bytes[0], bytes.get(header..)?)
        })
    }
}

/// Bytes of a remaining length, the last of which has no high bit.
fn length_size(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|byte| **byte & 0x80 != 0).count() + 1
}

/// The whole size of the packet at the front, if it is one.
fn length(bytes: &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    let size = length_size(rest);
    let number = rest.get(..size)?;
    if number[size - 1] & 0x80 != 0 || !flags_fit(first) {
        return None;
    }
    let join = |sum: u64, byte: &u8| sum << 7 | u64::from(byte & 0x7f);
    let length = number.iter().rev().fold(0, join);
    fits(first >> 4, length).then_some(1 + size as u64 + length)
}

/// The fixed flags of each type (MQTT 5, table 2-2).
fn flags_fit(first: u8) -> bool {
    match first >> 4 {
        0 => false,
        PUBLISH => first & 6 != 6,
        // 3.1 sets the quality where later versions fix it to 1.
        6 | SUBSCRIBE | UNSUBSCRIBE => matches!(first & 15, 2 | 10),
        _ => first.trailing_zeros() >= 4,
    }
}

/// The least and most that a type may hold.
fn fits(kind: u8, length: u64) -> bool {
    match kind {
        CONNECT => (10..1 << 17).contains(&length),
        PUBLISH => length >= 2,
        CONNACK | 4..=7 | 9 | 11 => (2..1 << 16).contains(&length),
        SUBSCRIBE | UNSUBSCRIBE => (5..1 << 20).contains(&length),
        12 | 13 => length == 0,
        _ => length < 1 << 16,
    }
}

fn read(first: u8, body: &[u8]) -> Option<Part> {
    let mut reader = Reader(body);
    let kind = first >> 4;
    let ask = |kind, number, operation: &'static str, topic| {
        Some(Part::Ask { kind, number, operation: operation.into(), topic })
    };
    match kind {
        CONNECT => ask(Kind::Connect, 0, "connect", None),
        CONNACK => {
            reader.u8()?;
            Some(Part::Answer(Kind::Connect, 0, connect_code(reader.u8()?)))
        }
        PUBLISH => {
            let length = usize::from(reader.u16()?);
            // Under MQTT 5 an alias may stand for the topic.
            let topic = Some(reader.take(length)?).filter(|topic| !topic.is_empty());
            let topic = topic.map(keys::topic);
            if first & 6 == 0 {
                return Some(Part::Tell(topic));
            }
            ask(Kind::Publish, reader.u16()?, "publish", topic)
        }
        4 | 7 => Some(Part::Answer(Kind::Publish, reader.u16()?, reader.u8().unwrap_or(0))),
        5 => Some(Part::Half(reader.u16()?, reader.u8().unwrap_or(0))),
        SUBSCRIBE | UNSUBSCRIBE => {
            let number = reader.u16()?;
            let operation = if kind == SUBSCRIBE { "subscribe" } else { "unsubscribe" };
            ask(Kind::Subscribe, number, operation, filter(reader))
        }
        9 | 11 => {
            let number = reader.u16()?;
            // Behind the properties of MQTT 5 the last byte is a code, too.
            Some(Part::Answer(Kind::Subscribe, number, reader.0.last().copied().unwrap_or(0)))
        }
        14 => Some(Part::Disconnect(reader.u8().unwrap_or(0))),
        _ => Some(Part::Other),
    }
}

/// The first topic filter of a subscription. Under MQTT 5 properties stand before
/// it; without any that is one zero byte, which no length of a filter begins with
/// in front of a printable second one.
fn filter(reader: Reader<'_>) -> Option<Arc<str>> {
    let text = |mut reader: Reader<'_>| {
        let length = usize::from(reader.u16()?);
        let text = reader.take(length)?;
        let plain = !text.is_empty() && text.iter().all(|byte| !byte.is_ascii_control());
        plain.then(|| keys::topic(text))
    };
    let properties = usize::from(*reader.0.first()?);
    let behind = reader.0.get(1 + properties..).map(Reader);
    text(reader).or_else(|| behind.and_then(text))
}

/// Codes of 3.1.1 begin at 1; they are told apart from those of 5 by their size.
fn connect_code(code: u8) -> u8 {
    if (1..=5).contains(&code) { code | 0x80 } else { code }
}

/// Judges bytes that begin a connection or a piece of one.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let Some(&first) = bytes.first() else { return Recognition::Short };
    let header = 1 + length_size(&bytes[1..]);
    match first >> 4 {
        CONNECT if first == 0x10 => connect(bytes, header),
        CONNACK if first == 0x20 => match bytes {
            [_] | [_, 2..=127] | [_, 2..=127, 0 | 1] => Recognition::Short,
            [_, 2, 0 | 1, 0..=5] => Recognition::Yes(Side::Server),
            [_, 3..=127, 0 | 1, code, ..] if *code == 0 || *code >= 0x80 => {
                Recognition::Yes(Side::Server)
            }
            _ => Recognition::No,
        },
        _ => Recognition::No,
    }
}

fn connect(bytes: &[u8], header: usize) -> Recognition {
    const NAMES: [&[u8]; 2] = [b"\0\x04MQTT", b"\0\x06MQIsdp"];
    if bytes.len() > header && length(bytes).is_none() {
        return Recognition::No;
    }
    let name = bytes.get(header..).unwrap_or_default();
    let begins = |known: &&&[u8]| known.iter().zip(name).all(|(one, other)| one == other);
    match NAMES.iter().find(begins) {
        Some(known) if name.len() >= known.len() => Recognition::Yes(Side::Client),
        Some(_) => Recognition::Short,
        None => Recognition::No,
    }
}

/// Whether a piece begins with a packet that this side may send, and goes on with
/// another where it does.
pub(super) fn resumes(side: Side, bytes: &[u8]) -> Recognition {
    let mut rest = bytes;
    for _ in 0..3 {
        let Some(&first) = rest.first() else { break };
        let kind = first >> 4;
        let fits = match side {
            Side::Client => !matches!(kind, 0 | CONNACK | 9 | 11 | 13),
            Side::Server => !matches!(kind, 0 | CONNECT | SUBSCRIBE | UNSUBSCRIBE | 12),
        };
        if !fits || !flags_fit(first) {
            return Recognition::No;
        }
        if rest.len() < 5 && rest.len() <= length_size(&rest[1..]) {
            break;
        }
        let Some(size) = length(rest) else { return Recognition::No };
        if kind == PUBLISH && topic_is_odd(rest) {
            return Recognition::No;
        }
        match rest.get(size as usize..) {
            Some(after) => rest = after,
            None => return Recognition::Yes(side),
        }
    }
    if bytes.len() < 2 { Recognition::Short } else { Recognition::Yes(side) }
}

/// A topic holds no wildcards and no control characters.
fn topic_is_odd(packet: &[u8]) -> bool {
    let header = 1 + length_size(&packet[1..]);
    let mut reader = Reader(packet.get(header..).unwrap_or_default());
    let Some(length) = reader.u16() else { return false };
    let topic = &reader.0[..reader.0.len().min(usize::from(length))];
    topic.iter().any(|byte| byte.is_ascii_control() || matches!(byte, b'+' | b'#'))
}
