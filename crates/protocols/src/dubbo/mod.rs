//! Dubbo 2: requests and answers, paired by their number.
//!
//! The operation is the service with its method; arguments and results are stepped
//! over. Both are read where the body is Hessian 2 (the default) or JSON; of other
//! encodings only the header's status is known. Either side may ask whether the
//! other lives.

mod frame;

pub use frame::Part;

use crate::exchange::cut::Cutter;
use crate::exchange::table::Table;
use crate::exchange::{Call, Timed, Wire};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Dubbo {
    cutters: [Cutter<Part>; 2],
    /// By who asked and number: each side counts by itself.
    waiting: Table<(bool, u64)>,
}

impl Dubbo {
    fn message(&mut self, side: Side, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match message {
            Part::Request { number, operation, answered } => {
                let mut call = Call::new(Wire::Dubbo, operation, start, size);
                call.from = side;
                if answered {
                    self.waiting.ask((side == Side::Server, number), call, (), records);
                } else {
                    records.push(call.one_way(side));
                }
            }
            Part::Answer { number, outcome } => {
                let asker = side.peer() == Side::Server;
                let Some((mut call, ())) = self.waiting.take((asker, number), start) else {
                    return;
                };
                call.add_answer(start, end, size);
                call.outcome = outcome;
                records.push(call);
            }
        }
    }
}

impl Protocol for Dubbo {
    type Message = Timed<Part>;
    type Record = Call;

    fn recognise(bytes: &[u8]) -> Recognition {
        frame::recognise(bytes)
    }

    /// What begins like a message is one, whichever side asks.
    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        match frame::recognise(bytes) {
            Recognition::Yes(_) => Recognition::Yes(side),
            found => found,
        }
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        self.cutters[side as usize].step(view, &frame::LAYOUT, frame::length, frame::read)
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Part>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(part) => self.message(side, part, records),
            Event::Lost { .. } => {
                self.cutters[side as usize].reset();
                // Numbers only grow.
                self.waiting.doubt();
            }
            Event::Closed { .. } => self.waiting.closed(side, records),
        }
    }
}
