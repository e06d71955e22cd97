//! Kafka: requests and responses, paired by their correlation number.
//!
//! Read are the header and as much of the body as tells the topic and the error;
//! records and their keys are stepped over.

mod apis;
mod frame;
mod pair;

pub use frame::Part;

use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;
use pair::Pairing;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Kafka {
    framers: [Framer; 2],
    pairing: Pairing,
}

impl Protocol for Kafka {
    type Message = Timed<Part>;
    type Record = Call;

    /// Only requests: a response is a number and a body that says nothing of its
    /// kind.
    fn recognise(bytes: &[u8]) -> Recognition {
        frame::recognise(bytes)
    }

    /// A response is one whose number is awaited.
    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        match (side, bytes.get(4..8)) {
            (Side::Client, _) => frame::recognise(bytes),
            (Side::Server, None) => Recognition::Short,
            (Side::Server, Some(number)) => {
                let number = i32::from_be_bytes([number[0], number[1], number[2], number[3]]);
                let awaited = frame::length(bytes).is_some() && self.pairing.awaits(number);
                if awaited { Recognition::Yes(side) } else { Recognition::No }
            }
        }
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        self.framers[side as usize].step(side, view)
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Part>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(part) => self.pairing.message(part, records),
            Event::Lost { .. } => {
                self.framers[side as usize] = Framer::default();
                self.pairing.lost();
            }
            Event::Closed { .. } => self.pairing.closed(side, records),
        }
    }
}
