//! HTTP/2 (RFC 9113) and gRPC over it.
//!
//! Streams are paired by their numbers, so any number of them may be under way.
//! Joined late, or after a loss, header fields that refer to an unseen table are
//! left out; a request is counted when its method or path is known. Header values
//! other than the few that are kept never leave this module.

mod frame;
pub mod hpack;
mod huffman;
mod pair;

pub use frame::Part;

use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;
use pair::Pairing;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Http2 {
    framers: [Framer; 2],
    pairing: Pairing,
}

impl Http2 {
    /// After an upgrade from HTTP/1 (h2c): `request` is answered on stream 1.
    pub(crate) fn upgraded(request: Call) -> Self {
        Self { framers: <[Framer; 2]>::default(), pairing: Pairing::upgraded(request) }
    }
}

impl Protocol for Http2 {
    type Message = Timed<Part>;
    type Record = Call;

    fn recognise(bytes: &[u8]) -> Recognition {
        frame::recognise(bytes)
    }

    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        frame::resumes(side, bytes)
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        self.framers[side as usize].step(side, view)
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Part>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(part) => self.pairing.message(side, part, records),
            Event::Lost { .. } => {
                self.framers[side as usize] = Framer::default();
                self.pairing.lost();
            }
            Event::Closed { .. } => self.pairing.closed(side, records),
        }
    }
}
