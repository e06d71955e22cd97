//! Pairs requests with responses by number.

use super::apis;
use super::frame::Part;
use crate::exchange::read::Reader;
use crate::exchange::table::Table;
use crate::exchange::{Call, Outcome, Timed, Wire};
use crate::protocol::Side;

#[derive(Debug, Default)]
pub(super) struct Pairing {
    /// By correlation number, with API and version.
    waiting: Table<i32, (i16, i16)>,
}

impl Pairing {
    pub(super) fn awaits(&self, correlation: i32) -> bool {
        self.waiting.contains(correlation)
    }

    pub(super) fn message(&mut self, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match message {
            Part::Request { correlation, api, version, topic, silent } => {
                let call = Call::new(Wire::Kafka, apis::name(api), start, size).on(topic);
                if silent {
                    records.push(call.one_way(Side::Client));
                } else {
                    self.waiting.ask(correlation, call, (api, version), records);
                }
            }
            Part::Response { correlation, body, cut } => {
                let Some((mut call, (api, version))) = self.waiting.take(correlation, start) else {
                    return;
                };
                call.add_answer(start, end, size);
                call.outcome = match apis::error(api, version, Reader(&body)) {
                    None if cut => Outcome::Unseen,
                    None | Some(0) => Outcome::OK,
                    Some(code) => Outcome::failed(code.to_string()),
                };
                records.push(call);
            }
        }
    }

    pub(super) fn lost(&mut self) {
        self.waiting.doubt();
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.waiting.closed(side, records);
    }
}
