//! TLS handshakes (RFC 5246, RFC 8446): what is said before it is encrypted.
//!
//! A handshake is a call: the name that was asked for (SNI), the version that was
//! agreed on, or the alert that ended it; the application protocol (ALPN) where it is
//! said in the clear. Up to TLS 1.2 the server's certificate is seen, and is a call
//! of its own with the end of its validity. What comes after the handshake is stepped
//! over; [`Tls::is_done`] tells when there is nothing more to see.

mod certificate;
mod hello;
mod pair;

use crate::exchange::cut::{Cutter, Layout};
use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use pair::Pairing;

/// Type, version, length.
const HEADER: usize = 5;
/// Longest fragment that implementations accept (RFC 5246: 2^14 + 2048).
const LONGEST: u64 = (1 << 14) + 2048;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// One record.
#[derive(Debug)]
pub enum Part {
    /// Fragments of handshake messages.
    Handshake(Box<[u8]>),
    /// What the side writes from here on is encrypted (up to TLS 1.2).
    Cipher,
    /// Level and description; `None` when it is encrypted.
    Alert(Option<(u8, u8)>),
    /// Encrypted, of that many bytes.
    Data(u64),
    /// Anything else.
    Other,
}

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Tls {
    cutters: [Cutter<Part>; 2],
    pairing: Pairing,
}

impl Tls {
    /// Whether the handshake is over: all that follows is encrypted.
    pub fn is_done(&self) -> bool {
        self.pairing.is_done()
    }
}

fn is_record(bytes: &[u8]) -> bool {
    (20..=24).contains(&bytes[0]) && bytes[1] == 3 && bytes[2] <= 4
}

fn length(bytes: &[u8]) -> Option<u64> {
    let length = u64::from(u16::from_be_bytes([bytes[3], bytes[4]]));
    (is_record(bytes) && length <= LONGEST).then_some(HEADER as u64 + length)
}

fn read(bytes: &[u8], size: u64) -> Part {
    let body = &bytes[HEADER..];
    match (bytes[0], body) {
        (HANDSHAKE, _) => Part::Handshake(body.into()),
        (20, _) => Part::Cipher,
        (21, &[level @ (1 | 2), description]) => Part::Alert(Some((level, description))),
        (21, _) => Part::Alert(None),
        (23, _) => Part::Data(size - HEADER as u64),
        _ => Part::Other,
    }
}

impl Protocol for Tls {
    type Message = Timed<Part>;
    type Record = Call;

    /// A record of handshake that begins with a hello.
    fn recognise(bytes: &[u8]) -> Recognition {
        let fits = |at: usize, fit: fn(u8) -> bool| bytes.get(at).is_none_or(|byte| fit(*byte));
        let plausible = fits(0, |b| b == HANDSHAKE)
            && fits(1, |b| b == 3)
            && fits(2, |b| b <= 3)
            && fits(3, |b| b <= 0x48)
            && fits(5, |b| b == CLIENT_HELLO || b == SERVER_HELLO)
            && fits(6, |b| b == 0)
            && fits(9, |b| b == 3)
            && fits(10, |b| b <= 3);
        match bytes.get(5) {
            _ if !plausible => Recognition::No,
            Some(&CLIENT_HELLO) if bytes.len() > 10 => Recognition::Yes(Side::Client),
            Some(&SERVER_HELLO) if bytes.len() > 10 => Recognition::Yes(Side::Server),
            _ => Recognition::Short,
        }
    }

    /// Any record: their kinds and versions are few.
    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        match bytes.len() {
            0..3 => Recognition::Short,
            _ if is_record(bytes) => Recognition::Yes(side),
            _ => Recognition::No,
        }
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        // Of what is encrypted the header says all there is.
        let opaque = view.bytes.first() == Some(&23) || self.pairing.is_done();
        let wanted = if opaque { HEADER } else { HEADER + LONGEST as usize };
        let layout = Layout { header: HEADER, wanted };
        let any = |bytes: &[u8], size| Some(read(bytes, size));
        self.cutters[side as usize].step(view, &layout, length, any)
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Part>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(part) => self.pairing.record(side, &part, records),
            Event::Lost { .. } => {
                self.cutters[side as usize].reset();
                self.pairing.lost(records);
            }
            Event::Closed { .. } => self.pairing.closed(records),
        }
    }
}
