//! Pairs commands with answers, and follows the login.

use std::collections::HashMap;
use std::sync::Arc;

use super::frame::{LoginPart, Part, shape};
use super::login::Login;
use super::result::{Answer, Shape};
use crate::exchange::queue::Queue;
use crate::exchange::read::name;
use crate::exchange::{Call, Outcome, Timed, Wire};
use crate::protocol::{Loss, Side};
use crate::sql::{self, Dialect, Statement};

/// Most prepared statements kept for one connection.
const MOST_STATEMENTS: usize = 4096;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The server is to speak first.
    Greeting,
    /// The client is to log in.
    Login,
    /// The login goes to and fro.
    LoggingIn,
    /// Commands and answers.
    Command,
}

/// What is remembered of a command that waits.
#[derive(Debug)]
struct Asked {
    answer: Answer,
    prepares: Option<Arc<Statement>>,
    database: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Pairing {
    queue: Queue<Asked>,
    phase: Phase,
    statements: HashMap<u32, Arc<Statement>>,
    database: Option<Arc<str>>,
    compresses: bool,
    left: bool,
}

impl Default for Pairing {
    fn default() -> Self {
        Self {
            queue: Queue::default(),
            phase: Phase::Greeting,
            statements: HashMap::new(),
            database: None,
            compresses: false,
            left: false,
        }
    }
}

impl Pairing {
    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The answer that the server is giving.
    pub(super) fn answered(&mut self) -> Option<&mut Answer> {
        self.queue.oldest().map(|(_, asked)| &mut asked.answer)
    }

    pub(super) fn message(&mut self, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match message {
            Part::Greeting { compresses } => {
                self.compresses = compresses;
                self.phase = Phase::Login;
            }
            Part::Login(LoginPart(login)) => self.login(login, start, size, records),
            Part::Command(command, arguments) => {
                self.command(command, &arguments, (start, size), records);
            }
            Part::Done(statement) => self.done(statement, (start, end, size), records),
            Part::Failed(code) => {
                let failed = Outcome::failed(code.to_string());
                if self.phase == Phase::Greeting {
                    // Refused before a word was said: too many connections.
                    let mut call = Call::new(Wire::Mysql, "CONNECT", start, 0);
                    call.add_answer(start, end, size);
                    call.outcome = failed;
                    records.push(call);
                } else {
                    self.answer(failed, (start, end, size), records);
                }
            }
        }
    }

    fn login(&mut self, login: Login, start: u64, size: u64, records: &mut Vec<Call>) {
        let Login::Plain { compressed, database } = login else {
            self.left = true;
            return;
        };
        self.compresses &= compressed;
        self.phase = Phase::LoggingIn;
        let call = Call::new(Wire::Mysql, "CONNECT", start, size);
        self.ask(call, Shape::Login, None, database, records);
    }

    fn ask(
        &mut self,
        mut call: Call,
        shape: Shape,
        prepares: Option<Arc<Statement>>,
        database: Option<Arc<str>>,
        records: &mut Vec<Call>,
    ) {
        call.namespace = database.clone().or_else(|| self.database.clone());
        let asked = Asked { answer: Answer::new(shape), prepares, database };
        self.queue.ask(call, asked, records);
    }

    fn command(
        &mut self,
        command: u8,
        arguments: &[u8],
        (start, size): (u64, u64),
        records: &mut Vec<Call>,
    ) {
        let number = arguments.first_chunk().map(|four| u32::from_le_bytes(*four));
        let mut found = None;
        let verb = match command {
            0x03 | 0x16 => {
                found = Some(Arc::new(sql::normalise(query(arguments), Dialect::Mysql)));
                found.as_ref().filter(|_| command == 0x03).map(|found| found.verb.clone())
            }
            0x17 | 0xfa | 0x1c => {
                found = number.and_then(|number| self.statements.get(&number).cloned());
                found.as_ref().map(|found| found.verb.clone())
            }
            _ => None,
        };
        let mut call = Call::new(
            Wire::Mysql,
            verb.unwrap_or_else(|| command_name(command).into()),
            start,
            size,
        );
        call.target = found.as_ref().and_then(|found| found.table.clone());
        call.statement = found.as_ref().map(|found| Arc::clone(&found.text));
        let Some(shape) = shape(command) else {
            if let (0x19, Some(number)) = (command, number) {
                self.statements.remove(&number);
            }
            call.namespace.clone_from(&self.database);
            records.push(call.one_way(Side::Client));
            return;
        };
        // What follows is the stream of changes, not answers.
        self.left |= matches!(command, 0x12 | 0x1e);
        let database = (command == 0x02).then(|| name(arguments));
        let prepares = found.filter(|_| command == 0x16);
        self.ask(call, shape, prepares, database, records);
    }

    fn done(&mut self, statement: Option<u32>, time: (u64, u64, u64), records: &mut Vec<Call>) {
        let Some(asked) = self.answer(Outcome::OK, time, records) else { return };
        if let (Some(number), Some(found)) = (statement, asked.prepares) {
            if self.statements.len() >= MOST_STATEMENTS {
                self.statements.clear();
            }
            self.statements.insert(number, found);
        }
        if let Some(database) = asked.database {
            self.database = Some(database);
        }
        if self.phase == Phase::LoggingIn {
            self.phase = Phase::Command;
            self.left |= self.compresses;
        }
    }

    fn answer(
        &mut self,
        outcome: Outcome,
        (start, end, size): (u64, u64, u64),
        records: &mut Vec<Call>,
    ) -> Option<Asked> {
        let (call, _) = self.queue.front(start)?;
        call.add_answer(start, end, size);
        call.outcome = outcome;
        self.queue.done(records)
    }

    pub(super) fn lost(&mut self, side: Side, loss: Loss, time: u64, records: &mut Vec<Call>) {
        self.queue.lost(side, loss, time, records);
        // A place is found again among commands only.
        self.phase = Phase::Command;
        self.statements.clear();
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.queue.closed(side, records);
    }
}

/// The statement of a query. With query attributes (8.0.23) a number of them and
/// the number of sets stand before it; without any these are 0 and 1.
fn query(arguments: &[u8]) -> &[u8] {
    arguments.strip_prefix(b"\x00\x01").unwrap_or(arguments)
}

/// The names of the manual, without `COM_`.
fn command_name(command: u8) -> &'static str {
    match command {
        0x01 => "QUIT",
        0x02 => "USE",
        0x04 => "FIELD_LIST",
        0x07 => "REFRESH",
        0x08 => "SHUTDOWN",
        0x09 => "STATISTICS",
        0x0a => "PROCESS_INFO",
        0x0c => "PROCESS_KILL",
        0x0d => "DEBUG",
        0x0e => "PING",
        0x11 => "CHANGE_USER",
        0x12 => "BINLOG_DUMP",
        0x15 => "REGISTER_SLAVE",
        0x16 => "PREPARE",
        0x17 | 0xfa => "EXECUTE",
        0x18 => "SEND_LONG_DATA",
        0x19 => "CLOSE",
        0x1a => "RESET",
        0x1b => "SET_OPTION",
        0x1c => "FETCH",
        0x1e => "BINLOG_DUMP_GTID",
        0x1f => "RESET_CONNECTION",
        _ => "_OTHER",
    }
}
