//! Cuts messages and reads those that pairing needs; rows, descriptions and
//! parameters are only counted.

use std::sync::Arc;

use crate::exchange::Timed;
use crate::exchange::read::{Reader, name};
use crate::protocol::Step;
use crate::sql::{self, Dialect, Statement};
use crate::stream::{Then, View};

/// Longest message taken for one, in bytes; the server's own bound is 1 GB.
pub(super) const LONGEST: u32 = 1 << 30;
/// Codes in place of a version (protocol.h).
pub(super) const CANCEL: u32 = 80_877_102;
pub(super) const SSL: u32 = 80_877_103;
pub(super) const GSS: u32 = 80_877_104;
/// Bytes of a message that are read.
const WANTED: usize = sql::LONGEST + 256;

/// What pairing needs of a message.
#[derive(Debug)]
pub enum Part {
    /// The client connects to that database.
    Startup(Option<Arc<str>>),
    /// The client asks for encryption.
    EncryptionRequest,
    /// The server grants it, or not.
    EncryptionReply(bool),
    /// A simple query.
    Query(Statement),
    /// A statement under a name.
    Parse(Arc<str>, Statement),
    /// A portal gets a statement.
    Bind {
        /// The portal's name.
        portal: Arc<str>,
        /// The statement's name.
        statement: Arc<str>,
    },
    /// A portal is run.
    Execute(Arc<str>),
    /// A function is called by its number.
    Function,
    /// The end of a round of the extended protocol.
    Sync,
    /// One statement of a round ended well.
    Complete,
    /// One failed with that SQLSTATE.
    Error(Arc<str>),
    /// The server is ready: the round ended.
    Ready,
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// When the first byte since the last part was seen, and how many there were.
    since: Option<u64>,
    size: u64,
    passing: Option<Part>,
}

/// What a message is to us.
enum Kind {
    Read,
    Pass,
    Bad,
}

impl Framer {
    pub(super) fn client(&mut self, view: &View<'_>) -> Step<Timed<Part>> {
        if view.bytes.first() == Some(&0) && self.passing.is_none() {
            return self.startup(view);
        }
        let kind = |kind| match kind {
            b'Q' | b'P' | b'B' | b'E' | b'F' | b'S' => Kind::Read,
            b'C' | b'D' | b'H' | b'X' | b'p' | b'd' | b'c' | b'f' => Kind::Pass,
            _ => Kind::Bad,
        };
        self.typed(view, kind, client_part)
    }

    /// `idle`: nothing waits, so what comes belongs to no answer.
    pub(super) fn server(&mut self, view: &View<'_>, idle: bool) -> Step<Timed<Part>> {
        let kind = |kind| match kind {
            b'C' | b'E' | b'I' | b's' | b'Z' => Kind::Read,
            b'R' | b'K' | b'S' | b'N' | b'A' | b'1' | b'2' | b'3' | b'n' | b't' | b'T' | b'D'
            | b'G' | b'H' | b'W' | b'd' | b'c' | b'V' | b'v' => Kind::Pass,
            _ => Kind::Bad,
        };
        let step = self.typed(view, kind, server_part);
        if idle && self.passing.is_none() {
            *self = Self::default();
        }
        step
    }

    /// Messages behind a type byte and four bytes of length.
    fn typed(
        &mut self,
        view: &View<'_>,
        kind: impl Fn(u8) -> Kind,
        read: impl Fn(u8, &[u8]) -> Option<Part>,
    ) -> Step<Timed<Part>> {
        if let Some(part) = self.passing.take() {
            return self.emit(part, 0, view.last);
        }
        let mut at = 0;
        while let Some(&[first, a, b, c, d]) = view.bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let length = u32::from_be_bytes([a, b, c, d]);
            if !(4..=LONGEST).contains(&length) {
                return Step::Lost;
            }
            let size = length as usize + 1;
            let there = &view.bytes[at..(at + size).min(view.bytes.len())];
            match kind(first) {
                Kind::Bad => return Step::Lost,
                Kind::Pass => {
                    self.since.get_or_insert(view.time);
                    at += size;
                    if at >= view.bytes.len() {
                        break;
                    }
                }
                Kind::Read => {
                    if there.len() < size.min(WANTED) && view.then == Then::More {
                        break;
                    }
                    self.since.get_or_insert(view.time);
                    let Some(part) = read(first, &there[5..]) else { return Step::Lost };
                    let used = at + size;
                    if used <= view.bytes.len() {
                        return self.emit(part, used, view.time);
                    }
                    self.passing = Some(part);
                    self.size += used as u64;
                    return Step::Skip(used as u64);
                }
            }
        }
        if at == 0 {
            return Step::Need;
        }
        self.size += at as u64;
        Step::Skip(at as u64)
    }

    fn emit(&mut self, message: Part, used: usize, end: u64) -> Step<Timed<Part>> {
        let start = self.since.unwrap_or(end);
        let size = self.size + used as u64;
        *self = Self::default();
        Step::Emit { message: Timed { message, start, end, size }, used }
    }

    /// The first message of a connection has no type.
    fn startup(&mut self, view: &View<'_>) -> Step<Timed<Part>> {
        let mut reader = Reader(view.bytes);
        let (Some(length), Some(code)) = (reader.u32(), reader.u32()) else { return Step::Need };
        if !(8..=10_000).contains(&length) {
            return Step::Lost;
        }
        let Some(body) = reader.take(length as usize - 8) else { return Step::Need };
        let part = match code {
            SSL | GSS => Part::EncryptionRequest,
            CANCEL => return Step::Skip(u64::from(length)),
            _ if code >> 16 == 3 => Part::Startup(database(body)),
            _ => return Step::Lost,
        };
        self.emit(part, length as usize, view.time)
    }
}

/// The one byte that answers a request for encryption. An error message means a
/// server that does not know it.
pub(super) fn encryption_reply(view: &View<'_>) -> Step<Timed<Part>> {
    let granted = match view.bytes.first() {
        None => return Step::Need,
        Some(b'S' | b'G') => true,
        Some(b'N') => false,
        Some(_) => return Step::Lost,
    };
    let time = view.time;
    let message = Part::EncryptionReply(granted);
    Step::Emit { message: Timed { message, start: time, end: time, size: 1 }, used: 1 }
}

/// The database of a startup message; without one it is named like the user.
fn database(body: &[u8]) -> Option<Arc<str>> {
    let mut reader = Reader(body);
    let (mut user, mut database) = (None, None);
    while let (Some(key), Some(value)) = (reader.until_zero(), reader.until_zero()) {
        match key {
            b"user" => user = Some(value),
            b"database" => database = Some(value),
            _ => {}
        }
    }
    database.or(user).map(name)
}

fn client_part(kind: u8, body: &[u8]) -> Option<Part> {
    let mut reader = Reader(body);
    Some(match kind {
        b'Q' => Part::Query(statement(body)),
        b'P' => {
            let title = name(reader.until_zero()?);
            Part::Parse(title, statement(reader.0))
        }
        b'B' => {
            let portal = name(reader.until_zero()?);
            Part::Bind { portal, statement: name(reader.until_zero()?) }
        }
        b'E' => Part::Execute(name(reader.until_zero()?)),
        b'F' => Part::Function,
        b'S' if body.is_empty() => Part::Sync,
        _ => return None,
    })
}

fn statement(body: &[u8]) -> Statement {
    let end = memchr::memchr(0, body).unwrap_or(body.len());
    sql::normalise(&body[..end], Dialect::Postgres)
}

fn server_part(kind: u8, body: &[u8]) -> Option<Part> {
    Some(match kind {
        b'Z' if matches!(body, [b'I' | b'T' | b'E']) => Part::Ready,
        b'E' => Part::Error(sqlstate(body)),
        b'C' if body.is_empty() => return None,
        b'C' | b'I' | b's' => Part::Complete,
        _ => return None,
    })
}

/// The field `C` of an error: five letters or digits.
fn sqlstate(body: &[u8]) -> Arc<str> {
    let mut reader = Reader(body);
    while let Some(field) = reader.u8().filter(|field| *field != 0) {
        let Some(value) = reader.until_zero() else { break };
        if field == b'C' && value.len() == 5 && value.iter().all(u8::is_ascii_alphanumeric) {
            return name(value);
        }
    }
    "_OTHER".into()
}
