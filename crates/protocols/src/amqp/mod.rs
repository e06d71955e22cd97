//! AMQP 0-9-1, as `RabbitMQ` speaks it.
//!
//! Synchronous methods are paired by channel; publications and deliveries want no
//! answer. When the server closes a channel or the connection with a failure, what
//! waits on it failed.

mod frame;
mod methods;
mod pair;

pub use frame::Part;

use crate::exchange::{Call, Timed};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;
use pair::Pairing;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Amqp {
    framers: [Framer; 2],
    pairing: Pairing,
}

impl Protocol for Amqp {
    type Message = Timed<Part>;
    type Record = Call;

    fn recognise(bytes: &[u8]) -> Recognition {
        frame::recognise(bytes)
    }

    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        frame::resumes(side, bytes)
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        self.framers[side as usize].step(view)
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
