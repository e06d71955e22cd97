//! The binary protocol: headers of 24 bytes with lengths and an opaque number.

use super::pair::{Answer, Ends, Part};
use crate::exchange::cut::{Cutter, Layout};
use crate::exchange::{Text, Timed};
use crate::keys;
use crate::protocol::{Recognition, Side, Step};
use crate::stream::View;

const HEADER: usize = 24;
/// Longest body taken for one, in bytes.
const LONGEST: u32 = 1 << 30;

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    cutter: Cutter<Part>,
}

impl Framer {
    pub(super) fn is_free(&self) -> bool {
        self.cutter.is_free()
    }

    pub(super) fn step(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        let key = view.bytes.get(2..5).map_or(0, |bytes| {
            usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + usize::from(bytes[2])
        });
        let wanted = HEADER + key.min(512);
        self.cutter.step(view, &Layout { header: HEADER, wanted }, length, |bytes, _| match side {
            Side::Client => Some(command(bytes)),
            Side::Server => Some(answer(bytes)),
        })
    }
}

fn length(header: &[u8]) -> Option<u64> {
    let four: &[u8; 4] = header.get(8..12)?.first_chunk()?;
    let body = u32::from_be_bytes(*four);
    let inner = u32::from(u16::from_be_bytes([header[2], header[3]])) + u32::from(header[4]);
    let known = matches!(header[0], 0x80 | 0x81) && header[1] <= 0x48 && header[5] == 0;
    (known && inner <= body && body <= LONGEST).then_some(HEADER as u64 + u64::from(body))
}

fn opaque(header: &[u8]) -> Option<u32> {
    header.get(12..16)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

fn command(bytes: &[u8]) -> Part {
    let (extras, size) =
        (usize::from(bytes[4]), usize::from(u16::from_be_bytes([bytes[2], bytes[3]])));
    let key = bytes.get(HEADER + extras..bytes.len().min(HEADER + extras + size));
    let key = key.filter(|_| size > 0).map(keys::space);
    let (name, quiet) = operation(bytes[1]);
    let ends = if quiet { Ends::Never } else { Ends::Line };
    Part::Command { name: name.into(), key, ends, opaque: opaque(bytes) }
}

fn answer(bytes: &[u8]) -> Part {
    let status = u16::from_be_bytes([bytes[6], bytes[7]]);
    let named = |name: &'static str| Some(Text::Borrowed(name));
    let answer = match status {
        0 => Answer::Line(None),
        1 => Answer::Line(named("NOT_FOUND")),
        2 => Answer::Line(named("EXISTS")),
        5 => Answer::Line(named("NOT_STORED")),
        3 => Answer::Failed("TOO_LARGE".into()),
        4 => Answer::Failed("INVALID".into()),
        6 => Answer::Failed("DELTA_BADVAL".into()),
        0x20 | 0x21 => Answer::Failed("AUTH_ERROR".into()),
        0x81 => Answer::Failed("UNKNOWN_COMMAND".into()),
        0x82 => Answer::Failed("ENOMEM".into()),
        other => Answer::Failed(other.to_string().into()),
    };
    Part::Answer { answer, opaque: opaque(bytes) }
}

/// Name, and whether it is answered only when something is amiss.
fn operation(code: u8) -> (&'static str, bool) {
    const NAMES: [&str; 15] = [
        "get",
        "set",
        "add",
        "replace",
        "delete",
        "incr",
        "decr",
        "quit",
        "flush_all",
        "get",
        "noop",
        "version",
        "get",
        "get",
        "append",
    ];
    match code {
        0x0f => ("prepend", false),
        0x10 => ("stats", false),
        0x11..=0x18 => (NAMES[usize::from(code) - 0x10], true),
        0x19 => ("append", true),
        0x1a => ("prepend", true),
        0x1c => ("touch", false),
        0x1d => ("gat", false),
        0x1e => ("gat", true),
        0x20..=0x22 => ("sasl", false),
        _ => {
            let quiet = matches!(code, 0x07 | 0x09 | 0x0d);
            NAMES.get(usize::from(code)).map_or(("_OTHER", false), |name| (name, quiet))
        }
    }
}

/// Judges bytes that begin a piece with a magic byte.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let Some(header) = bytes.get(..HEADER) else {
        let fits = bytes.get(1).is_none_or(|code| *code <= 0x48)
            && bytes.get(5).is_none_or(|kind| *kind == 0);
        return if fits { Recognition::Short } else { Recognition::No };
    };
    let request = header[0] == 0x80;
    // The bucket of a request is nearly always 0, and no status is above 0x86.
    let status = u16::from_be_bytes([header[6], header[7]]);
    let key = u16::from_be_bytes([header[2], header[3]]);
    if length(header).is_none() || status > 0x400 || key > 250 {
        return Recognition::No;
    }
    Recognition::Yes(if request { Side::Client } else { Side::Server })
}
