//! `PostgreSQL`: the frontend/backend protocol, version 3.
//!
//! A call is a simple query, an execution of a prepared statement, a preparation
//! alone, or the connecting itself. Rows are stepped over. A connection that
//! turns to TLS is left.

mod frame;
mod pair;
mod recognise;

pub use frame::Part;

use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;
use pair::Pairing;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Postgres {
    framers: [Framer; 2],
    pairing: Pairing,
}

impl Protocol for Postgres {
    type Message = Timed<Part>;
    type Record = Call;

    fn recognise(bytes: &[u8]) -> Recognition {
        recognise::recognise(bytes)
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        if self.pairing.has_left() {
            return Step::Leave;
        }
        match side {
            Side::Client => self.framers[0].client(view),
            Side::Server if self.pairing.asked_for_encryption() => frame::encryption_reply(view),
            Side::Server => self.framers[1].server(view, self.pairing.is_idle()),
        }
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Part>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(part) => self.pairing.message(part, records),
            Event::Lost { loss, time } => {
                self.framers[side as usize] = Framer::default();
                self.pairing.lost(side, loss, time, records);
            }
            Event::Closed { .. } => self.pairing.closed(side, records),
        }
    }
}
