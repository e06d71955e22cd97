//! Pairs requests with answers by stream.

use std::collections::HashMap;
use std::sync::Arc;

use super::body::{
    AUTH_RESPONSE, BATCH, EXECUTE, Id, OPTIONS, PREPARE, Part, QUERY, REGISTER, STARTUP, Said,
};
use crate::exchange::table::Table;
use crate::exchange::{Call, Outcome, Text, Timed, Wire};
use crate::protocol::Side;
use crate::sql::Statement;

/// Most prepared statements kept for one connection.
const MOST_STATEMENTS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Pairing {
    /// By stream, with the statement that is being prepared.
    waiting: Table<i16, Option<Arc<Statement>>>,
    statements: HashMap<Id, Arc<Statement>>,
    key_space: Option<Arc<str>>,
}

impl Pairing {
    pub(super) fn message(&mut self, side: Side, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match message {
            Part::Request { stream, opcode, statement, id } => {
                let known = || self.statements.get(id.as_ref()?).cloned();
                let found = statement.or_else(known);
                let verb = found.as_ref().map(|found| found.verb.clone());
                let operation = match opcode {
                    QUERY | EXECUTE => verb.unwrap_or_else(|| operation(opcode)),
                    _ => operation(opcode),
                };
                let mut call = Call::new(Wire::Cql, operation, start, size);
                call.target = found.as_ref().and_then(|found| found.table.clone());
                call.statement = found.as_ref().map(|found| Arc::clone(&found.text));
                call.namespace.clone_from(&self.key_space);
                let prepares = found.filter(|_| opcode == PREPARE);
                self.waiting.ask(stream, call, prepares, records);
            }
            Part::Answer { stream, said } => self.answer(stream, said, (start, end, size), records),
            Part::Event => {
                let call = Call::new(Wire::Cql, "EVENT", start, size);
                records.push(call.one_way(side));
            }
        }
    }

    fn answer(
        &mut self,
        stream: i16,
        said: Said,
        (start, end, size): (u64, u64, u64),
        records: &mut Vec<Call>,
    ) {
        let Some((mut call, prepares)) = self.waiting.take(stream, start) else { return };
        call.add_answer(start, end, size);
        call.outcome = match said {
            Said::Failed(0) => Outcome::failed("_OTHER"),
            Said::Failed(code) => Outcome::failed(format!("0x{code:04X}")),
            Said::Cut => Outcome::Unseen,
            _ => Outcome::OK,
        };
        match said {
            Said::Prepared(id) => {
                if let Some(found) = prepares {
                    // The oldest cannot be told; one that keeps so many starts over.
                    if self.statements.len() >= MOST_STATEMENTS {
                        self.statements.clear();
                    }
                    self.statements.insert(id, found);
                }
            }
            Said::KeySpace(found) => self.key_space = Some(found),
            _ => {}
        }
        records.push(call);
    }

    /// Numbers of streams are used again at once, so nothing that waits is safe.
    pub(super) fn lost(&mut self, records: &mut Vec<Call>) {
        self.waiting.lost(records);
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.waiting.closed(side, records);
    }
}

/// The names of the protocol's description.
fn operation(opcode: u8) -> Text {
    match opcode {
        STARTUP => "STARTUP",
        OPTIONS => "OPTIONS",
        QUERY => "QUERY",
        PREPARE => "PREPARE",
        EXECUTE => "EXECUTE",
        REGISTER => "REGISTER",
        BATCH => "BATCH",
        AUTH_RESPONSE => "AUTH_RESPONSE",
        _ => "_OTHER",
    }
    .into()
}
