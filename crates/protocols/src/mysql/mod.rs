//! `MySQL` and `MariaDB`: the client/server protocol, version 10.
//!
//! The server speaks first, then the client logs in, then commands and answers
//! alternate. Rows are stepped over. A connection that turns to TLS or to
//! compression is left.

mod frame;
mod login;
mod pair;
mod recognise;
mod result;

pub use frame::Part;

use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;
use pair::Pairing;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Mysql {
    framers: [Framer; 2],
    pairing: Pairing,
}

impl Protocol for Mysql {
    type Message = Timed<Part>;
    type Record = Call;

    fn recognise(bytes: &[u8]) -> Recognition {
        recognise::recognise(bytes)
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        if self.pairing.has_left() {
            return Step::Leave;
        }
        let phase = self.pairing.phase();
        match side {
            Side::Client => self.framers[0].client(view, phase),
            Side::Server => self.framers[1].server(view, phase, self.pairing.answered()),
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
