//! Pairs requests with responses: a FIFO, since HTTP/1 answers in order.
//!
//! After a loss the FIFO is closed: which answer belongs to which request can
//! then only be known where the client never sends a request before the previous
//! one was answered. Where it does (pipelining), requests and responses are
//! reported apart until the connection was quiet for a while. A response is
//! never given to a request that began after it. Pieces of the two sides should
//! therefore be fed in the order of their times, as far as they are known.

use std::collections::VecDeque;

use super::frame::Asked;
use super::types::{Answer, Exchange, Method, Part, Record, Request, Response, Times};
use crate::protocol::{Loss, Side};
use crate::stream::HoleKind;

/// Most requests that may wait for their answers on one connection.
const LONGEST_QUEUE: usize = 4096;
/// Exchanges one after the other that show a client does not pipeline.
const HABIT: u32 = 3;
/// A pause after which nothing is in flight any more, in nanoseconds.
const QUIET: u64 = 1_000_000_000;

/// The response whose head was seen and whose end was not.
#[derive(Debug)]
enum Current {
    None,
    Interim,
    Final,
    Orphan(Response),
}

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// HTTP goes on.
    Stay,
    /// CONNECT was granted: a tunnel begins.
    Tunnel,
    /// 101: another protocol begins.
    Leave,
}

/// Whether the order of requests tells which one a response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    /// It does.
    Proven,
    /// No pair was made since the last loss: it does unless there is pipelining.
    Unproven,
    /// It does not, until the connection was quiet.
    Doubt,
}

#[derive(Debug)]
pub(super) struct Pairing {
    pending: VecDeque<Exchange>,
    /// Whether the newest pending request is still being sent.
    open: bool,
    current: Current,
    /// A request was once sent before the previous one was answered.
    pipelined: bool,
    /// Exchanges after which nothing waited.
    alternations: u32,
    trust: Trust,
    last: u64,
    /// When the newest response that got no request began, or was lost.
    overtook: Option<u64>,
    server_closed: bool,
}

impl Pairing {
    pub(super) fn new() -> Self {
        Self {
            pending: VecDeque::new(),
            open: false,
            current: Current::None,
            pipelined: false,
            alternations: 0,
            trust: Trust::Proven,
            last: 0,
            overtook: None,
            server_closed: false,
        }
    }

    /// What the next response answers.
    pub(super) fn asked(&self) -> Asked {
        self.pending.front().map_or(Asked::Unknown, |front| Asked::from(&front.request.method))
    }

    /// Whether the newest request decides what its sender may send next.
    pub(super) fn is_gated(&self) -> bool {
        self.pending.back().is_some_and(|newest| {
            newest.request.upgrade || newest.request.method == Method::Connect
        })
    }

    pub(super) fn message(&mut self, side: Side, part: Part, records: &mut Vec<Record>) -> Turn {
        match (part, side) {
            (Part::Request { head, start }, _) => self.request(head, start, records),
            (Part::Response { head, start }, _) => self.response(head, start),
            (Part::End { body, time, complete }, Side::Client) => {
                self.request_end(body, time, complete);
            }
            (Part::End { body, time, complete }, Side::Server) => {
                self.last = self.last.max(time);
                return self.response_end(body, Some(time), complete, records);
            }
        }
        Turn::Stay
    }

    fn request(&mut self, request: Request, start: u64, records: &mut Vec<Record>) {
        if start.saturating_sub(self.last) >= QUIET {
            self.trust = self.trust.min(Trust::Unproven);
        }
        self.last = self.last.max(start);
        if let Some(newest) = self.pending.back() {
            let one_write = newest.times.request_start == start;
            self.sent_before_answer(one_write, records);
        }
        self.open = true;
        self.pending.push_back(Exchange {
            complete: request.complete,
            request,
            answer: Answer::Unanswered,
            interim: 0,
            times: Times { request_start: start, ..Times::default() },
            request_body: 0,
            response_body: 0,
        });
        // A request that was held back while an earlier piece was awaited: the
        // response that came meanwhile may have been its answer.
        let overtaken = self.overtook.is_some_and(|response| response >= start);
        if self.trust == Trust::Doubt || overtaken {
            self.flush(&Answer::Unseen, records);
        }
    }

    /// A request comes while another waits: pipelining, or the answer was lost and
    /// the gap will show with the server's next piece. A client that always waited
    /// so far is taken to have waited again.
    fn sent_before_answer(&mut self, one_write: bool, records: &mut Vec<Record>) {
        let waits = self.alternations >= HABIT && !self.pipelined && !one_write;
        self.pipelined |= !waits;
        if self.pending.len() >= LONGEST_QUEUE || (self.pipelined && self.trust != Trust::Proven) {
            self.trust = Trust::Doubt;
        } else if self.trust != Trust::Proven {
            self.flush(&Answer::Unseen, records);
        }
    }

    fn request_end(&mut self, body: u64, time: u64, complete: bool) {
        self.last = self.last.max(time);
        if std::mem::take(&mut self.open)
            && let Some(newest) = self.pending.back_mut()
        {
            newest.times.request_end = Some(time);
            newest.request_body = body;
            newest.complete &= complete;
        }
    }

    fn response(&mut self, response: Response, start: u64) {
        self.last = self.last.max(start);
        let front = self.pending.front_mut().filter(|front| front.times.request_start <= start);
        self.current = match front {
            Some(front) if response.is_interim() => {
                front.interim += 1;
                Current::Interim
            }
            Some(front) => {
                front.times.response_start = Some(start);
                front.complete &= response.complete;
                front.answer = Answer::Response(response);
                Current::Final
            }
            None => {
                self.overtook = self.overtook.max(Some(start));
                Current::Orphan(response)
            }
        };
    }

    fn response_end(
        &mut self,
        body: u64,
        time: Option<u64>,
        complete: bool,
        records: &mut Vec<Record>,
    ) -> Turn {
        match std::mem::replace(&mut self.current, Current::None) {
            Current::None | Current::Interim => Turn::Stay,
            Current::Orphan(response) => {
                if !response.is_interim() {
                    records.push(Record::Orphan(response));
                }
                Turn::Stay
            }
            Current::Final => self.answered(body, time, complete, records),
        }
    }

    fn answered(
        &mut self,
        body: u64,
        time: Option<u64>,
        complete: bool,
        records: &mut Vec<Record>,
    ) -> Turn {
        let Some(mut exchange) = self.pending.pop_front() else { return Turn::Stay };
        if self.pending.is_empty() {
            // Answered before it was sent to its end (an early refusal).
            exchange.complete &= !std::mem::take(&mut self.open);
            self.trust = Trust::Proven;
            self.alternations = self.alternations.saturating_add(1);
        } else {
            self.pipelined = true;
        }
        exchange.times.response_end = time;
        exchange.response_body = body;
        exchange.complete &= complete;
        let turn = turn(&exchange);
        records.push(Record::Exchange(exchange));
        turn
    }

    pub(super) fn lost(&mut self, side: Side, loss: Loss, time: u64, records: &mut Vec<Record>) {
        self.cut(side, records);
        if side == Side::Server {
            self.overtook = self.overtook.max(Some(time));
        }
        // A request whose head was cut by the copy limit is still the one that is
        // answered next; a cut on the other side may have hidden the answer.
        let truncated = loss == Loss::Hole(HoleKind::Truncated);
        let certain = truncated && side == Side::Client && !self.pipelined;
        if !certain {
            self.flush(&Answer::Unseen, records);
        }
        let trust = if self.pipelined { Trust::Doubt } else { Trust::Unproven };
        self.trust = self.trust.max(trust);
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Record>) {
        self.cut(side, records);
        self.server_closed |= side == Side::Server;
        if self.server_closed {
            self.flush(&Answer::Unanswered, records);
        }
    }

    /// The message under way on `side` ends here, incomplete.
    fn cut(&mut self, side: Side, records: &mut Vec<Record>) {
        match side {
            Side::Server => {
                self.response_end(0, None, false, records);
            }
            Side::Client if std::mem::take(&mut self.open) => {
                if let Some(newest) = self.pending.back_mut() {
                    newest.complete = false;
                }
            }
            Side::Client => {}
        }
    }

    /// Ends everything that waits. An answer whose head was seen stays an answer.
    fn flush(&mut self, answer: &Answer, records: &mut Vec<Record>) {
        for mut exchange in self.pending.drain(..) {
            if exchange.answer == Answer::Unanswered {
                exchange.answer = answer.clone();
            }
            exchange.complete = false;
            records.push(Record::Exchange(exchange));
        }
        self.open = false;
        if matches!(self.current, Current::Final | Current::Interim) {
            self.current = Current::None;
        }
    }
}

fn turn(exchange: &Exchange) -> Turn {
    let Answer::Response(response) = &exchange.answer else { return Turn::Stay };
    match response.status {
        101 => Turn::Leave,
        200..300 if exchange.request.method == Method::Connect => Turn::Tunnel,
        _ => Turn::Stay,
    }
}
