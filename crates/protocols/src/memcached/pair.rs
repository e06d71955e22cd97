//! Pairs commands with answers: in order, quiet ones aside.

use std::sync::Arc;

use crate::exchange::queue::Queue;
use crate::exchange::{Call, Outcome, Text, Timed, Wire};
use crate::protocol::{Loss, Side};

/// How the answer to a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// With one line (or one binary message).
    Line,
    /// With `END` (or an error).
    End,
    /// It has none, unless something is amiss.
    Never,
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// More lines follow.
    More,
    /// `END`.
    End,
    /// The whole answer, with its code where it is no plain yes.
    Line(Option<Text>),
    /// An error.
    Failed(Text),
}

/// What pairing needs of a message.
#[derive(Debug)]
pub enum Part {
    /// A command.
    Command {
        /// Its name, as in the text protocol.
        name: Text,
        /// The space of its first key.
        key: Option<Arc<str>>,
        /// How its answer ends.
        ends: Ends,
        /// The number that comes back with the answer (binary).
        opaque: Option<u32>,
    },
    /// An answer, or a line of one.
    Answer {
        /// What it says.
        answer: Answer,
        /// The number of its command (binary).
        opaque: Option<u32>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Pairing {
    queue: Queue<(Ends, Option<u32>)>,
}

impl Pairing {
    pub(super) fn message(&mut self, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match message {
            Part::Command { name, key, ends, opaque } => {
                let call = Call::new(Wire::Memcached, name, start, size).on(key);
                if ends == Ends::Never {
                    records.push(call.one_way(Side::Client));
                } else {
                    self.queue.ask(call, (ends, opaque), records);
                }
            }
            Part::Answer { answer, opaque } => {
                self.answer(answer, opaque, (start, end, size), records);
            }
        }
    }

    fn answer(
        &mut self,
        answer: Answer,
        opaque: Option<u32>,
        (start, end, size): (u64, u64, u64),
        records: &mut Vec<Call>,
    ) {
        // An answer to a quiet command, which was counted when it was sent.
        let oldest = self.queue.oldest();
        if oldest.is_some_and(|(_, (_, asked))| *asked != opaque) && opaque.is_some() {
            return;
        }
        let Some((call, (ends, _))) = self.queue.front(start) else { return };
        let first = call.times.answer.is_none();
        call.add_answer(start, end, size);
        call.outcome = match answer {
            Answer::More => return,
            Answer::Failed(code) => Outcome::failed(code),
            Answer::Line(status) => Outcome::Answered { error: false, status },
            // Nothing before it: none of the keys is there.
            Answer::End if first && *ends == Ends::End && call.target.is_some() => {
                Outcome::Answered { error: false, status: Some("miss".into()) }
            }
            Answer::End => Outcome::OK,
        };
        self.queue.done(records);
    }

    pub(super) fn lost(&mut self, side: Side, loss: Loss, time: u64, records: &mut Vec<Call>) {
        self.queue.lost(side, loss, time, records);
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.queue.closed(side, records);
    }
}
