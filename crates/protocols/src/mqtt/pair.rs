//! Pairs what is acknowledged with its acknowledgement.

use super::frame::{Kind, Part};
use crate::exchange::table::Table;
use crate::exchange::{Call, Outcome, Timed, Wire};
use crate::protocol::Side;

/// Who asked (0 for the client), what, and under which number.
type Key = (u8, Kind, u16);

#[derive(Debug, Default)]
pub(super) struct Pairing {
    waiting: Table<Key>,
}

impl Pairing {
    pub(super) fn message(&mut self, side: Side, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match message {
            Part::Ask { kind, number, operation, topic } => {
                let call = Call::new(Wire::Mqtt, operation, start, size).on(topic);
                let key = (side as u8, kind, number);
                self.waiting.ask(key, Call { from: side, ..call }, (), records);
            }
            Part::Tell(topic) => {
                let call = Call::new(Wire::Mqtt, "publish", start, size).on(topic);
                records.push(call.one_way(side));
            }
            Part::Answer(kind, number, code) => {
                let key = (side.peer() as u8, kind, number);
                let Some((mut call, ())) = self.waiting.take(key, start) else { return };
                call.add_answer(start, end, size);
                call.outcome = outcome(kind, code);
                records.push(call);
            }
            Part::Half(number, code) => {
                let key = (side.peer() as u8, Kind::Publish, number);
                let Some((call, ())) = self.waiting.get(key, start) else { return };
                call.add_answer(start, end, size);
                if code >= 0x80
                    && let Some((mut call, ())) = self.waiting.take(key, start)
                {
                    call.outcome = outcome(Kind::Publish, code);
                    records.push(call);
                }
            }
            Part::Disconnect(code) => {
                let mut call = Call::new(Wire::Mqtt, "disconnect", start, size).one_way(side);
                if code >= 0x80 {
                    call.outcome = Outcome::failed(code.to_string());
                }
                records.push(call);
            }
            Part::Other => {}
        }
    }

    pub(super) fn lost(&mut self, records: &mut Vec<Call>) {
        self.waiting.lost(records);
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.waiting.closed(side, records);
    }
}

/// Codes from 0x80 on are failures. Those that a server of 3.1.1 answers a login
/// with are shown as it sent them.
fn outcome(kind: Kind, code: u8) -> Outcome {
    match code {
        0..=0x7f => Outcome::OK,
        0x81..=0x85 if kind == Kind::Connect => Outcome::failed((code & 0x7f).to_string()),
        _ => Outcome::failed(code.to_string()),
    }
}
