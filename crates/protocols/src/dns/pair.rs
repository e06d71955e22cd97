//! Pairs DNS messages by identifier and question.

use super::message::Message;
use crate::exchange::table::Table;
use crate::exchange::{Call, Outcome, Timed, Wire};
use crate::protocol::Side;

/// How long an answer over UDP is awaited, in nanoseconds: resolvers give up
/// after 5 s (`resolv.conf`), some after 10.
const PATIENCE: u64 = 10_000_000_000;

/// Identifier and type; the name is compared too.
type Key = (u16, u16);

#[derive(Debug, Default)]
pub(super) struct Pairing {
    waiting: Table<Key>,
}

impl Pairing {
    pub(super) fn message(&mut self, timed: Timed<Message>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        let key = (message.id, message.kind);
        if !message.answer {
            let call = Call::new(Wire::Dns, message.operation(), start, size).on(message.name);
            self.waiting.ask(key, call, (), records);
            return;
        }
        let asked = self.waiting.get(key, start);
        // Servers may leave the question out of an error.
        let other =
            |(call, ()): &mut (Call, ())| message.name.is_some() && call.target != message.name;
        if asked.is_none_or(other) {
            return;
        }
        let Some((mut call, ())) = self.waiting.take(key, start) else { return };
        call.add_answer(start, end, size);
        let error = message.code != 0;
        call.outcome = Outcome::Answered { error, status: Some(message.status()) };
        records.push(call);
    }

    pub(super) fn lost(&mut self, records: &mut Vec<Call>) {
        self.waiting.lost(records);
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.waiting.closed(side, records);
    }
}

/// DNS over UDP between two sockets (or one client and any server).
///
/// Datagrams are fed whole and in the order they were seen. Queries that nobody
/// answered are reported by [`Datagrams::tick`].
#[derive(Debug, Default)]
pub struct Datagrams {
    pairing: Pairing,
}

impl Datagrams {
    /// Takes a datagram of `length` bytes of which `bytes` were copied, seen at
    /// `time`; appends finished calls. False when it is not DNS.
    pub fn push(&mut self, bytes: &[u8], length: u64, time: u64, records: &mut Vec<Call>) -> bool {
        let Some(message) = Message::read(bytes) else { return false };
        let timed = Timed { message, start: time, end: time, size: length };
        self.pairing.message(timed, records);
        true
    }

    /// Gives up on queries older than ten seconds at `now`.
    pub fn tick(&mut self, now: u64, records: &mut Vec<Call>) {
        self.pairing.waiting.expire(now.saturating_sub(PATIENCE), records);
    }

    /// The socket closed: queries that wait are unanswered.
    pub fn close(&mut self, records: &mut Vec<Call>) {
        self.pairing.closed(Side::Server, records);
    }
}
