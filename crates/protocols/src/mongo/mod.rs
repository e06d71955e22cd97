//! `MongoDB`: `OP_MSG`, and the old `OP_QUERY` that drivers still begin with.
//!
//! Kept are the command, its collection and database, and the code of a failure.
//! Documents are stepped over. A compressed message is paired, its content is not
//! known.

mod bson;
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
pub struct Mongo {
    framers: [Framer; 2],
    pairing: Pairing,
}

impl Protocol for Mongo {
    type Message = Timed<Part>;
    type Record = Call;

    fn recognise(bytes: &[u8]) -> Recognition {
        frame::recognise(bytes)
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
