//! DNS (RFC 1035, RFC 6891) over UDP and TCP.
//!
//! Over UDP every datagram is a message: [`Datagrams`] pairs them. Over TCP each
//! is behind two bytes of length (RFC 7766): [`Dns`] is that protocol. Both pair
//! by identifier and question, so an answer to another question is never taken.

mod message;
mod pair;

pub use message::Message;
pub use pair::Datagrams;

use crate::exchange::cut::{Cutter, Layout};
use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use pair::Pairing;

const LAYOUT: Layout = Layout { header: 2, wanted: 2 + message::WANTED };

/// The state of one connection of DNS over TCP.
#[derive(Debug, Default)]
pub struct Dns {
    cutters: [Cutter<Message>; 2],
    pairing: Pairing,
}

impl Protocol for Dns {
    type Message = Timed<Message>;
    type Record = Call;

    fn recognise(bytes: &[u8]) -> Recognition {
        match bytes {
            [] | [_] => Recognition::Short,
            [high, low, message @ ..] => {
                message::recognise(message, usize::from(u16::from_be_bytes([*high, *low])))
            }
        }
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Message>> {
        self.cutters[side as usize].step(
            view,
            &LAYOUT,
            |bytes| {
                let length = u64::from(u16::from_be_bytes([bytes[0], bytes[1]]));
                (length >= message::HEADER as u64).then_some(length + 2)
            },
            |bytes, _| Message::read(&bytes[2..]),
        )
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Message>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(message) => self.pairing.message(message, records),
            Event::Lost { .. } => {
                self.cutters[side as usize].reset();
                self.pairing.lost(records);
            }
            Event::Closed { .. } => self.pairing.closed(side, records),
        }
    }
}
