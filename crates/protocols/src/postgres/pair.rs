//! Pairs statements with their ends.
//!
//! Statements are answered in order. A round of the extended protocol ends with
//! `ReadyForQuery`; what an error made the server skip ends there with it.

use std::collections::HashMap;
use std::sync::Arc;

use super::frame::Part;
use crate::exchange::queue::Queue;
use crate::exchange::{Call, Outcome, Text, Timed, Wire};
use crate::protocol::{Loss, Side};
use crate::sql::Statement;

/// Most names of statements, and of portals, kept for one connection.
const MOST_NAMES: usize = 4096;

/// Keeps the place of a round without a call.
const NO_CALL: Text = Text::Borrowed("");

/// What is remembered of a statement that waits.
#[derive(Debug)]
struct Asked {
    /// In which round it was sent.
    round: u64,
    /// Ends with its round, rather than with its own message.
    with_round: bool,
}

#[derive(Debug, Default)]
pub(super) struct Pairing {
    queue: Queue<Asked>,
    round: u64,
    /// Whether the round has a call.
    called: bool,
    /// A statement parsed in this round: when, and its size.
    parsed: Option<(Arc<Statement>, u64, u64)>,
    statements: HashMap<Arc<str>, Arc<Statement>>,
    portals: HashMap<Arc<str>, Arc<Statement>>,
    database: Option<Arc<str>>,
    encryption: bool,
    left: bool,
}

impl Pairing {
    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.len() == 0
    }

    pub(super) fn asked_for_encryption(&self) -> bool {
        self.encryption
    }

    pub(super) fn message(&mut self, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        let time = (start, size);
        match message {
            Part::Startup(database) => {
                self.database = database;
                self.ask_round("CONNECT", None, time, records);
            }
            Part::EncryptionRequest => self.encryption = true,
            Part::EncryptionReply(granted) => {
                self.encryption = false;
                self.left = granted;
            }
            Part::Query(found) => {
                self.ask_round(found.verb.clone(), Some(&found), time, records);
            }
            Part::Function => self.ask_round("CALL", None, time, records),
            Part::Parse(title, found) => {
                let found = Arc::new(found);
                keep(&mut self.statements, title, &found);
                self.parsed.get_or_insert((found, start, size));
            }
            Part::Bind { portal, statement } => {
                self.portals.remove(&portal);
                if let Some(found) = self.statements.get(&statement).cloned() {
                    keep(&mut self.portals, portal, &found);
                }
            }
            Part::Execute(portal) => self.execute(&portal, time, records),
            Part::Sync => self.sync(time, records),
            Part::Complete => self.complete(Outcome::OK, (start, end, size), records),
            Part::Error(code) => {
                self.complete(Outcome::failed(code.to_string()), (start, end, size), records);
            }
            Part::Ready => self.ready((start, end, size), records),
        }
    }

    /// A call that is a round of its own.
    fn ask_round(
        &mut self,
        operation: impl Into<Text>,
        statement: Option<&Statement>,
        time: (u64, u64),
        records: &mut Vec<Call>,
    ) {
        self.ask(operation.into(), statement, time, true, records);
        self.end_round();
    }

    fn ask(
        &mut self,
        operation: Text,
        statement: Option<&Statement>,
        (start, size): (u64, u64),
        with_round: bool,
        records: &mut Vec<Call>,
    ) {
        let mut call = Call::new(Wire::Postgres, operation, start, size);
        call.target = statement.and_then(|found| found.table.clone());
        call.statement = statement.map(|found| Arc::clone(&found.text));
        call.namespace.clone_from(&self.database);
        self.called = true;
        let mut ended = Vec::new();
        self.queue.ask(call, Asked { round: self.round, with_round }, &mut ended);
        visible(ended, records);
    }

    fn execute(&mut self, portal: &str, time: (u64, u64), records: &mut Vec<Call>) {
        let found = self.portals.get(portal).cloned();
        let verb = found.as_ref().map_or("EXECUTE".into(), |found| found.verb.clone());
        // Sent with its preparation, a statement begins with it.
        let (start, size) = time;
        let time = match self.parsed.take() {
            Some((parsed, at, more)) if found.as_ref().is_some_and(|f| Arc::ptr_eq(f, &parsed)) => {
                (at, size + more)
            }
            _ => (start, size),
        };
        self.ask(verb, found.as_deref(), time, false, records);
    }

    fn sync(&mut self, time: (u64, u64), records: &mut Vec<Call>) {
        match self.parsed.take() {
            Some((found, at, size)) if !self.called => {
                self.ask("PREPARE".into(), Some(&found), (at, size + time.1), true, records);
            }
            _ if !self.called => self.ask(NO_CALL, None, time, true, records),
            _ => {}
        }
        self.end_round();
    }

    fn end_round(&mut self) {
        self.round += 1;
        self.called = false;
        self.parsed = None;
    }

    /// The server told how a statement ended.
    fn complete(
        &mut self,
        outcome: Outcome,
        (start, end, size): (u64, u64, u64),
        records: &mut Vec<Call>,
    ) {
        let Some((call, asked)) = self.queue.front(start) else { return };
        call.add_answer(start, end, size);
        if !call.outcome.is_error() {
            call.outcome = outcome;
        }
        // After an error the server skips to the end of the round.
        if !asked.with_round && !call.outcome.is_error() {
            self.finish(records);
        }
    }

    /// The round ended, and with it all that was sent in it.
    fn ready(&mut self, (start, end, size): (u64, u64, u64), records: &mut Vec<Call>) {
        let Some((first, asked)) = self.queue.front(start) else { return };
        first.add_answer(start, end, size);
        if first.outcome == Outcome::Unanswered {
            first.outcome = Outcome::OK;
        }
        let (round, outcome) = (asked.round, first.outcome.clone());
        self.finish(records);
        while let Some((next, asked)) = self.queue.front(start) {
            if asked.round != round {
                return;
            }
            next.add_answer(start, end, 0);
            next.outcome = outcome.clone();
            self.finish(records);
        }
    }

    fn finish(&mut self, records: &mut Vec<Call>) {
        let mut ended = Vec::new();
        self.queue.done(&mut ended);
        visible(ended, records);
    }

    pub(super) fn lost(&mut self, side: Side, loss: Loss, time: u64, records: &mut Vec<Call>) {
        let mut ended = Vec::new();
        self.queue.lost(side, loss, time, &mut ended);
        visible(ended, records);
        self.encryption = false;
        if side == Side::Client {
            // Names may have been given to other statements meanwhile.
            self.statements.clear();
            self.portals.clear();
            self.end_round();
        }
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        let mut ended = Vec::new();
        self.queue.closed(side, &mut ended);
        visible(ended, records);
    }
}

/// Hands on what is a call.
fn visible(ended: Vec<Call>, records: &mut Vec<Call>) {
    records.extend(ended.into_iter().filter(|call| call.operation != NO_CALL));
}

fn keep(names: &mut HashMap<Arc<str>, Arc<Statement>>, name: Arc<str>, found: &Arc<Statement>) {
    // The oldest cannot be told; a connection that keeps so many starts over.
    if names.len() >= MOST_NAMES {
        names.clear();
    }
    names.insert(name, Arc::clone(found));
}
