//! Cuts frames and decodes header blocks.

use std::sync::Arc;

use super::hpack::{Decoder, Field};
use crate::exchange::Timed;
use crate::exchange::cut::{Cutter, Layout};
use crate::exchange::read::name;
use crate::protocol::{Recognition, Side, Step};
use crate::redact;
use crate::stream::View;

/// Size of a frame's header in bytes.
const HEADER: usize = 9;
/// Largest payload that is taken for one: few servers allow more than the 16 KiB
/// that is the default (RFC 9113, section 4.2).
const LARGEST: usize = 4 << 20;
/// Most of a header block that is read.
const BLOCK: usize = 64 << 10;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// What is kept of a header block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// `:method`.
    pub method: Option<Arc<str>>,
    /// `:path` without its query.
    pub path: Option<Arc<str>>,
    /// `:authority`.
    pub authority: Option<Arc<str>>,
    /// `:status`.
    pub status: Option<u16>,
    /// Whether `content-type` says gRPC.
    pub grpc: bool,
    /// `grpc-status`.
    pub grpc_status: Option<u8>,
    /// W3C `traceparent`.
    pub traceparent: Option<Arc<str>>,
}

/// What pairing needs of a frame.
#[derive(Debug)]
pub enum Part {
    /// Headers or trailers.
    Headers {
        /// The stream.
        stream: u32,
        /// What is kept of them.
        head: Head,
        /// Whether the sender's side of the stream ends.
        ends: bool,
    },
    /// A part of a body.
    Data {
        /// The stream.
        stream: u32,
        /// Whether the sender's side of the stream ends.
        ends: bool,
    },
    /// The sender gave the stream up, with that code.
    Reset {
        /// The stream.
        stream: u32,
        /// The error code.
        code: u32,
    },
    /// Anything else.
    Other,
}

/// A frame as it is cut.
#[derive(Debug)]
enum Raw {
    /// Fragments of a header block have their payload with them.
    Block {
        kind: u8,
        flags: u8,
        stream: u32,
        payload: Box<[u8]>,
        whole: bool,
    },
    Ready(Part),
}

/// A header block whose end has not come.
#[derive(Debug)]
struct Open {
    stream: u32,
    ends: bool,
    push: bool,
    block: Vec<u8>,
    start: u64,
    size: u64,
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    cutter: Cutter<Raw>,
    decoder: Decoder,
    open: Option<Open>,
}

impl Framer {
    pub(super) fn step(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        if side == Side::Client && view.bytes.first() == Some(&b'P') && self.cutter.is_free() {
            return preface(view.bytes);
        }
        let kind = view.bytes.get(3).copied().unwrap_or(DATA);
        let wanted = match kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => HEADER + BLOCK,
            RST_STREAM => HEADER + 4,
            _ => HEADER,
        };
        let step = self.cutter.step(view, &Layout { header: HEADER, wanted }, length, read);
        match step {
            Step::Emit { message, used } => self.take(message, used),
            Step::Need => Step::Need,
            Step::Skip(length) => Step::Skip(length),
            _ => Step::Lost,
        }
    }

    fn take(&mut self, raw: Timed<Raw>, used: usize) -> Step<Timed<Part>> {
        let Timed { message, start, end, size } = raw;
        let emit = |message, start, size| Step::Emit {
            message: Timed { message, start, end, size },
            used,
        };
        let (kind, flags, stream, payload, whole) = match message {
            Raw::Ready(part) => return emit(part, start, size),
            Raw::Block { kind, flags, stream, payload, whole } => {
                (kind, flags, stream, payload, whole)
            }
        };
        let Some(fragment) = fragment(kind, flags, &payload) else { return Step::Lost };
        match &mut self.open {
            Some(open) if kind == CONTINUATION && open.stream == stream => {
                open.size += size;
                if open.block.len() < BLOCK {
                    open.block.extend_from_slice(fragment);
                }
            }
            // The beginning was lost.
            None if kind == CONTINUATION => {
                self.decoder.forget();
                return emit(Part::Other, start, size);
            }
            _ => {
                let ends = kind == HEADERS && flags & END_STREAM != 0;
                let push = kind == PUSH_PROMISE;
                let block = fragment.to_vec();
                self.open = Some(Open { stream, ends, push, block, start, size });
            }
        }
        if flags & END_HEADERS == 0 && whole {
            return emit(Part::Other, start, 0);
        }
        let Some(open) = self.open.take() else { return Step::Lost };
        let head = self.head(&open.block, whole && open.block.len() < BLOCK);
        let part =
            if open.push { Part::Other } else { Part::Headers { stream, head, ends: open.ends } };
        emit(part, open.start, open.size)
    }

    fn head(&mut self, block: &[u8], whole: bool) -> Head {
        let mut head = Head::default();
        self.decoder.decode(block, |field| head.add(field));
        if !whole {
            self.decoder.forget();
        }
        head
    }
}

impl Head {
    fn add(&mut self, field: &Field) {
        let (Some(key), Some(value)) = (&field.name, &field.value) else { return };
        match &**key {
            b":method" => self.method = Some(name(value)),
            b":path" => {
                let path = String::from_utf8_lossy(value);
                self.path = Some(redact::target(&path, 1024).into());
            }
            b":authority" => self.authority = Some(name(value)),
            b":status" => self.status = number(value).filter(|status| *status >= 100),
            b"traceparent" => self.traceparent = Some(name(value)),
            b"content-type" => self.grpc = value.starts_with(b"application/grpc"),
            b"grpc-status" => {
                self.grpc_status = number(value).and_then(|code| code.try_into().ok());
            }
            _ => {}
        }
    }
}

fn number(value: &[u8]) -> Option<u16> {
    std::str::from_utf8(value).ok()?.parse().ok().filter(|number| *number < 1000)
}

fn preface(bytes: &[u8]) -> Step<Timed<Part>> {
    if bytes.len() < PREFACE.len() {
        return if PREFACE.starts_with(bytes) { Step::Need } else { Step::Lost };
    }
    if bytes.starts_with(PREFACE) { Step::Skip(PREFACE.len() as u64) } else { Step::Lost }
}

/// The whole size of the frame at the front, if it is one.
fn length(bytes: &[u8]) -> Option<u64> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
    (length <= LARGEST && plausible(header, length)).then_some((HEADER + length) as u64)
}

fn stream(header: &[u8]) -> u32 {
    u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]])
}

fn read(bytes: &[u8], size: u64) -> Option<Raw> {
    let (header, payload) = bytes.split_at_checked(HEADER)?;
    let (kind, flags, stream) = (header[3], header[4], stream(header));
    Some(match kind {
        HEADERS | PUSH_PROMISE | CONTINUATION => {
            let whole = bytes.len() as u64 == size;
            Raw::Block { kind, flags, stream, payload: payload.into(), whole }
        }
        DATA => Raw::Ready(Part::Data { stream, ends: flags & END_STREAM != 0 }),
        RST_STREAM => {
            let code = payload.first_chunk().map_or(0, |four| u32::from_be_bytes(*four));
            Raw::Ready(Part::Reset { stream, code })
        }
        _ => Raw::Ready(Part::Other),
    })
}

/// The part of a header block in a frame's payload.
fn fragment(kind: u8, flags: u8, payload: &[u8]) -> Option<&[u8]> {
    if kind == CONTINUATION {
        return Some(payload);
    }
    let mut front = 0;
    let mut back = 0;
    if flags & PADDED != 0 {
        back = usize::from(*payload.first()?);
        front = 1;
    }
    if kind == PUSH_PROMISE {
        front += 4;
    } else if flags & PRIORITY != 0 {
        front += 5;
    }
    payload.get(front..payload.len().checked_sub(back)?)
}

/// What the standard says of a frame's length and stream, type by type (section
/// 6). Flags that are not defined must be ignored, and are sent.
fn plausible(header: &[u8], length: usize) -> bool {
    let (kind, stream) = (header[3], stream(header));
    match kind {
        HEADERS => stream != 0 && length > 0,
        DATA | CONTINUATION => stream != 0,
        2 => stream != 0 && length == 5,
        RST_STREAM => stream != 0 && length == 4,
        4 => stream == 0 && length.is_multiple_of(6),
        PUSH_PROMISE => stream != 0 && length >= 4,
        6 => stream == 0 && length == 8,
        7 => stream == 0 && length >= 8,
        8 => length == 4,
        // Extensions, of which few exist (ALTSVC, ORIGIN, PRIORITY_UPDATE).
        10 | 12 | 16 => length < 16 << 10,
        _ => false,
    }
}

/// The flags that are defined: for telling a frame from other bytes.
fn strict(header: &[u8]) -> bool {
    let flags = match header[3] {
        DATA => END_STREAM | PADDED,
        HEADERS => END_STREAM | END_HEADERS | PADDED | PRIORITY,
        4 | 6 => 1,
        PUSH_PROMISE => END_HEADERS | PADDED,
        CONTINUATION => END_HEADERS,
        _ => 0,
    };
    header[5] & 0x80 == 0 && header[4] & !flags == 0
}

/// Judges the first bytes of a connection, or of a piece that tells its side.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    if PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]) {
        let whole = bytes.len() >= PREFACE.len();
        return if whole { Recognition::Yes(Side::Client) } else { Recognition::Short };
    }
    let Some(header) = bytes.get(..HEADER) else { return short(bytes) };
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
    // A frame that begins a connection, or tells its side, is short.
    if header[0] != 0 || !plausible(header, length) || !strict(header) {
        return Recognition::No;
    }
    let rest = &bytes[HEADER..];
    match header[3] {
        4 if header[4] == 0 && (6..=60).contains(&length) => settings(rest, length),
        HEADERS if header[4] & (PADDED | PRIORITY) == 0 => match rest.first() {
            None => Recognition::Short,
            // `:method` GET or POST, `:status`.
            Some(0x82 | 0x83) => Recognition::Yes(Side::Client),
            Some(0x88..=0x8e) => Recognition::Yes(Side::Server),
            Some(_) => Recognition::No,
        },
        _ => Recognition::No,
    }
}

fn short(bytes: &[u8]) -> Recognition {
    let fits = bytes.first().is_none_or(|first| *first == 0)
        && bytes.get(3).is_none_or(|kind| matches!(*kind, 4 | HEADERS));
    if fits { Recognition::Short } else { Recognition::No }
}

/// The server's first frame: every setting has a known number (sections 6.5.2 and
/// RFC 8441, RFC 9218).
fn settings(rest: &[u8], length: usize) -> Recognition {
    let known = |one: &[u8]| one[0] == 0 && matches!(one[1], 1..=9);
    if !rest[..rest.len().min(length)].chunks_exact(6).all(known) {
        Recognition::No
    } else if rest.len() < length {
        Recognition::Short
    } else {
        Recognition::Yes(Side::Server)
    }
}

/// Whether a piece begins with a frame, and goes on with another where it does.
pub(super) fn resumes(side: Side, bytes: &[u8]) -> Recognition {
    if bytes.starts_with(b"PRI *") {
        return recognise(bytes);
    }
    let mut rest = bytes;
    for _ in 0..3 {
        let Some(header) = rest.get(..HEADER) else { break };
        let Some(size) = length(header).filter(|_| strict(header)) else {
            return Recognition::No;
        };
        match rest.get(size as usize..) {
            Some(after) => rest = after,
            None => return Recognition::Yes(side),
        }
    }
    if bytes.len() < HEADER { Recognition::Short } else { Recognition::Yes(side) }
}
