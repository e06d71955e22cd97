//! Redis: RESP2 and RESP3.
//!
//! Values are stepped over wherever they are large; kept are the command, the
//! key space of its key, and the first word of an error. Pushed messages (publish
//! and subscribe, invalidations) are calls of the server that want no answer.
//! Replication (`PSYNC`) ends the parsing: what follows is a copy of the data.

mod commands;
mod frame;
mod pair;

pub(crate) use commands::ping;
pub use frame::Part;

use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;
use pair::Pairing;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Redis {
    framers: [Framer; 2],
    pairing: Pairing,
}

impl Protocol for Redis {
    type Message = Timed<Part>;
    type Record = Call;

    /// Without what other protocols say as well: `+OK`, `-ERR` and a typed `PING`.
    fn recognise(bytes: &[u8]) -> Recognition {
        match bytes.first() {
            Some(b'+' | b'-') => frame::only_here(bytes),
            _ => frame::recognise(bytes),
        }
    }

    /// A confirmed subscription reads like a command, so the side decides.
    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        let found = match (frame::recognise(bytes), side) {
            (Recognition::No, Side::Client) => ping(bytes),
            (found, _) => found,
        };
        match (found, side) {
            (Recognition::Yes(_), Side::Server) => Recognition::Yes(side),
            (found, _) => found,
        }
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        if self.pairing.has_left() {
            return Step::Leave;
        }
        self.framers[side as usize].step(side, view)
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Part>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(part) if side == Side::Client => self.pairing.command(&part, records),
            Event::Message(part) => self.pairing.reply(&part, records),
            Event::Lost { loss, time } => {
                self.framers[side as usize] = Framer::default();
                self.pairing.lost(side, loss, time, records);
            }
            Event::Closed { .. } => self.pairing.closed(side, records),
        }
    }
}
