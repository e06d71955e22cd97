//! Cassandra's native protocol, versions 3 to 5, as `ScyllaDB` speaks it too.
//!
//! Requests and answers are paired by stream number. Statements leave without
//! their literals; one that is executed is known by the number that its
//! preparation got on this connection, and is `EXECUTE` where that was elsewhere.
//! Of compressed bodies only the operation is known, and of version 5 with
//! compression nothing.

mod body;
mod frame;
mod pair;

pub use body::Part;

use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;
use pair::Pairing;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Cql {
    framers: [Framer; 2],
    pairing: Pairing,
}

impl Protocol for Cql {
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
                self.pairing.lost(records);
            }
            Event::Closed { .. } => self.pairing.closed(side, records),
        }
    }
}
