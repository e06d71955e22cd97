//! Pairs requests with the messages to their reply subjects.

use super::frame::Part;
use crate::exchange::table::Table;
use crate::exchange::{Call, Outcome, Timed, Wire};
use crate::protocol::Side;

#[derive(Debug, Default)]
pub(super) struct Pairing {
    /// By who asked (0 for the client) and the number of the reply subject.
    waiting: Table<(u8, u64)>,
}

impl Pairing {
    pub(super) fn message(&mut self, side: Side, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match message {
            Part::Message { subject, reply } => {
                let key = (side.peer() as u8, subject.number);
                if let Some((mut call, ())) = self.waiting.take(key, start) {
                    call.add_answer(start, end, size);
                    call.outcome = Outcome::OK;
                    records.push(call);
                    return;
                }
                let operation = if reply.is_some() { "request" } else { "publish" };
                let call = Call::new(Wire::Nats, operation, start, size).on(Some(subject.shown));
                match reply {
                    Some(reply) => {
                        let call = Call { from: side, ..call };
                        self.waiting.ask((side as u8, reply.number), call, (), records);
                    }
                    None => records.push(call.one_way(side)),
                }
            }
            Part::Subscribe(subject) => {
                let call = Call::new(Wire::Nats, "subscribe", start, size);
                records.push(call.on(Some(subject.shown)).one_way(side));
            }
            Part::Error(reason) => {
                let call = Call::new(Wire::Nats, "error", start, size).one_way(side);
                records.push(Call { outcome: Outcome::failed(reason), ..call });
            }
            Part::Other => {}
        }
    }

    pub(super) fn lost(&mut self) {
        self.waiting.doubt();
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.waiting.closed(side, records);
    }
}
