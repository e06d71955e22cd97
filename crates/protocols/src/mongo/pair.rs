//! Pairs commands with answers by number.

use super::frame::{Command, Part};
use crate::exchange::table::Table;
use crate::exchange::{Call, Text, Timed, Wire};
use crate::protocol::Side;

#[derive(Debug, Default)]
pub(super) struct Pairing {
    waiting: Table<u32>,
}

impl Pairing {
    pub(super) fn message(&mut self, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match message {
            Part::Command(number, command) => {
                let Command { operation, collection, database, silent } = command;
                let operation = operation.unwrap_or(Text::Borrowed("_OTHER"));
                let call = Call::new(Wire::Mongo, operation, start, size).on(collection);
                let call = Call { namespace: database, ..call };
                if silent {
                    records.push(call.one_way(Side::Client));
                } else {
                    self.waiting.ask(number, call, (), records);
                }
            }
            Part::Answer(number, outcome) => {
                let Some((mut call, ())) = self.waiting.take(number, start) else { return };
                call.add_answer(start, end, size);
                call.outcome = outcome;
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
