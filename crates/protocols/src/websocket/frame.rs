//! Cuts frames and joins fragments.

use crate::exchange::Timed;
use crate::exchange::cut::{Cutter, Layout};
use crate::protocol::{Recognition, Side, Step};
use crate::stream::View;

/// Longest payload taken for one, in bytes.
const LONGEST: u64 = 1 << 40;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;

/// What is told of a frame.
#[derive(Debug)]
pub enum Part {
    /// The last frame of a message.
    Message {
        /// `text`, `binary`, `close`, `ping` or `pong`.
        kind: &'static str,
        /// Why the sender closes.
        code: Option<u16>,
    },
    /// A frame that ends no message.
    Fragment,
}

#[derive(Debug)]
struct Frame {
    last: bool,
    opcode: u8,
    code: Option<u16>,
}

/// A message whose last fragment has not come.
#[derive(Debug)]
struct Open {
    kind: &'static str,
    start: u64,
    size: u64,
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    cutter: Cutter<Frame>,
    open: Option<Open>,
}

impl Framer {
    pub(super) fn step(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        let header = header_size(view.bytes);
        let close = view.bytes.first().is_some_and(|first| first & 15 == CLOSE);
        let wanted = header + if close { 2 } else { 0 };
        let layout = Layout { header, wanted };
        let step = self.cutter.step(view, &layout, |bytes| length(side, bytes), read);
        match step {
            Step::Emit { message, used } => Step::Emit { message: self.join(&message), used },
            Step::Need => Step::Need,
            Step::Skip(length) => Step::Skip(length),
            _ => Step::Lost,
        }
    }

    fn join(&mut self, timed: &Timed<Frame>) -> Timed<Part> {
        let Timed { message: Frame { last, opcode, code }, start, end, size } = *timed;
        let part = |message, start, size| Timed { message, start, end, size };
        // Control frames may come between fragments.
        if opcode >= CLOSE {
            return part(Part::Message { kind: kind(opcode), code }, start, size);
        }
        let open = if opcode == CONTINUATION {
            self.open.take().map(|open| Open { size: open.size.saturating_add(size), ..open })
        } else {
            Some(Open { kind: kind(opcode), start, size })
        };
        match open {
            Some(Open { kind, start, size }) if last => {
                part(Part::Message { kind, code: None }, start, size)
            }
            // Of a message whose beginning was lost nothing is known.
            open => {
                self.open = open;
                part(Part::Fragment, start, size)
            }
        }
    }
}

fn kind(opcode: u8) -> &'static str {
    match opcode {
        1 => "text",
        2 => "binary",
        CLOSE => "close",
        9 => "ping",
        10 => "pong",
        _ => "_OTHER",
    }
}

/// Size of the header at the front, as far as it can be told.
fn header_size(bytes: &[u8]) -> usize {
    let Some(second) = bytes.get(1) else { return 2 };
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & 0x80 == 0 { 0 } else { 4 }
}

/// The whole size of the frame at the front, if `side` may send it: a client masks
/// and a server does not (section 5.1).
fn length(side: Side, bytes: &[u8]) -> Option<u64> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (opcode, masked) = (first & 15, second & 0x80 != 0);
    let payload = match second & 0x7f {
        126 => {
            let length = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            u64::from(length).max(126)
        }
        127 => u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?),
        short => u64::from(short),
    };
    let control = opcode >= CLOSE;
    let known = matches!(opcode, 0..=2 | 8..=10)
        && first & 0x30 == 0
        && masked == (side == Side::Client)
        && (!control || (first & 0x80 != 0 && payload <= 125))
        && payload <= LONGEST;
    known.then(|| header_size(bytes) as u64 + payload)
}

fn read(bytes: &[u8], _: u64) -> Option<Frame> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let opcode = first & 15;
    let code = (opcode == CLOSE).then(|| close_code(bytes, second)).flatten();
    Some(Frame { last: first & 0x80 != 0, opcode, code })
}

/// The first two bytes of a close, unmasked.
fn close_code(bytes: &[u8], second: u8) -> Option<u16> {
    let header = header_size(bytes);
    let [high, low] = *bytes.get(header..)?.first_chunk()?;
    let mask = if second & 0x80 == 0 { [0, 0] } else { [bytes[header - 4], bytes[header - 3]] };
    Some(u16::from_be_bytes([high ^ mask[0], low ^ mask[1]]))
}

/// Whether a piece begins with a frame of that side, and goes on with another
/// where it does.
pub(super) fn resumes(side: Side, bytes: &[u8]) -> Recognition {
    let mut rest = bytes;
    for _ in 0..3 {
        if rest.len() < header_size(rest) {
            break;
        }
        let Some(size) = length(side, rest) else { return Recognition::No };
        match rest.get(size as usize..) {
            Some(after) => rest = after,
            None => return Recognition::Yes(side),
        }
    }
    if bytes.len() < header_size(bytes) { Recognition::Short } else { Recognition::Yes(side) }
}
