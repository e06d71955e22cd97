//! Pairs answers that come in the order of the requests.
//!
//! After a loss the queue is closed, by the rules of HTTP/1's pairing: which
//! answer belongs to which request can then only be known where the client never
//! sends a request before the previous one was answered, or after a pause.

use std::collections::VecDeque;

use super::call::{Call, Outcome};
use crate::protocol::{Loss, Side};
use crate::stream::HoleKind;

/// Most requests that may wait for their answers on one connection.
const LONGEST_QUEUE: usize = 8192;
/// Exchanges one after the other that show a client does not pipeline.
const HABIT: u32 = 3;
/// A pause after which nothing is in flight any more, in nanoseconds.
const QUIET: u64 = 1_000_000_000;

/// Whether the order of requests tells which one an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    /// It does.
    Proven,
    /// No pair was made since the last loss: it does unless there is pipelining.
    Unproven,
    /// It does not, until the connection was quiet.
    Doubt,
}

/// The calls of one connection that wait for their answers. `X` is what else the
/// protocol must remember of one.
#[derive(Debug)]
pub(crate) struct Queue<X = ()> {
    waiting: VecDeque<(Call, X)>,
    pipelined: bool,
    alternations: u32,
    trust: Trust,
    last: u64,
    /// When the newest answer that got no request began, or was lost.
    overtook: Option<u64>,
    server_closed: bool,
}

impl<X> Default for Queue<X> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            pipelined: false,
            alternations: 0,
            trust: Trust::Proven,
            last: 0,
            overtook: None,
            server_closed: false,
        }
    }
}

impl<X> Queue<X> {
    /// A request comes.
    pub(crate) fn ask(&mut self, call: Call, more: X, records: &mut Vec<Call>) {
        let start = call.times.start;
        if start.saturating_sub(self.last) >= QUIET {
            self.trust = self.trust.min(Trust::Unproven);
        }
        self.last = self.last.max(start);
        if let Some((newest, _)) = self.waiting.back() {
            let one_write = newest.times.start == start;
            self.sent_before_answer(one_write, records);
        }
        self.waiting.push_back((call, more));
        let overtaken = self.overtook.is_some_and(|answer| answer >= start);
        if self.trust == Trust::Doubt || overtaken || self.server_closed {
            let outcome = if self.server_closed { Outcome::Unanswered } else { Outcome::Unseen };
            self.flush(&outcome, records);
        }
    }

    /// A request comes while another waits: pipelining, or the answer was lost and
    /// the gap will show with the server's next piece. A client that always waited
    /// so far is taken to have waited again.
    fn sent_before_answer(&mut self, one_write: bool, records: &mut Vec<Call>) {
        let waits = self.alternations >= HABIT && !self.pipelined && !one_write;
        self.pipelined |= !waits;
        if self.waiting.len() >= LONGEST_QUEUE || (self.pipelined && self.trust != Trust::Proven) {
            self.trust = Trust::Doubt;
        } else if self.trust != Trust::Proven {
            self.flush(&Outcome::Unseen, records);
        }
    }

    /// The call that the next answer belongs to, if it began before `time`.
    pub(crate) fn front(&mut self, time: u64) -> Option<&mut (Call, X)> {
        self.last = self.last.max(time);
        let front = self.waiting.front_mut().filter(|(call, _)| call.times.start <= time);
        if front.is_none() {
            self.overtook = self.overtook.max(Some(time));
        }
        front
    }

    /// The front call is answered; its outcome and times are set. Returns what
    /// else was remembered of it.
    pub(crate) fn done(&mut self, records: &mut Vec<Call>) -> Option<X> {
        let (call, more) = self.waiting.pop_front()?;
        if self.waiting.is_empty() {
            self.trust = Trust::Proven;
            self.alternations = self.alternations.saturating_add(1);
        } else {
            self.pipelined = true;
        }
        records.push(call);
        Some(more)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The call that has waited longest, whether or not its answer has begun.
    pub(crate) fn oldest(&mut self) -> Option<&mut (Call, X)> {
        self.waiting.front_mut()
    }

    /// Bytes were lost on `side`.
    pub(crate) fn lost(&mut self, side: Side, loss: Loss, time: u64, records: &mut Vec<Call>) {
        if side == Side::Server {
            self.overtook = self.overtook.max(Some(time));
        }
        let truncated = loss == Loss::Hole(HoleKind::Truncated);
        let certain = truncated && side == Side::Client && !self.pipelined;
        if !certain {
            self.flush(&Outcome::Unseen, records);
        }
        let trust = if self.pipelined { Trust::Doubt } else { Trust::Unproven };
        self.trust = self.trust.max(trust);
    }

    /// `side` closed. Calls end when the answering side does.
    pub(crate) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.server_closed |= side == Side::Server;
        if self.server_closed {
            self.flush(&Outcome::Unanswered, records);
        }
    }

    /// Ends everything that waits. An answer whose beginning was seen stays one.
    pub(crate) fn flush(&mut self, outcome: &Outcome, records: &mut Vec<Call>) {
        for (mut call, _) in self.waiting.drain(..) {
            if call.outcome == Outcome::Unanswered {
                call.outcome = outcome.clone();
            }
            records.push(call);
        }
    }
}
