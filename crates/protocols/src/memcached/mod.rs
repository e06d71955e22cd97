//! Memcached: the text protocol (with meta commands) and the binary one.

mod binary;
mod pair;
mod text;

use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use pair::Pairing;
use text::Framer;

pub use pair::Part;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Memcached {
    framers: [Framer; 2],
    binary: [binary::Framer; 2],
    pairing: Pairing,
}

impl Protocol for Memcached {
    type Message = Timed<Part>;
    type Record = Call;

    fn recognise(bytes: &[u8]) -> Recognition {
        match bytes.first() {
            None => Recognition::Short,
            Some(0x80 | 0x81) => binary::recognise(bytes),
            Some(_) => text::recognise(bytes),
        }
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        let at = side as usize;
        let begins = self.framers[at].is_free() && self.binary[at].is_free();
        let binary = match view.bytes.first() {
            Some(first) if begins => matches!(first, 0x80 | 0x81),
            _ => !self.binary[at].is_free(),
        };
        if binary { self.binary[at].step(side, view) } else { self.framers[at].step(side, view) }
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Part>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(part) => self.pairing.message(part, records),
            Event::Lost { loss, time } => {
                self.framers[side as usize] = Framer::default();
                self.binary[side as usize] = binary::Framer::default();
                self.pairing.lost(side, loss, time, records);
            }
            Event::Closed { .. } => self.pairing.closed(side, records),
        }
    }
}
