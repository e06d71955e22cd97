//! Pairs commands with replies, and tells pushed messages from replies.

use std::sync::Arc;

use super::commands::{self, Key};
use super::frame::Part;
use crate::exchange::queue::Queue;
use crate::exchange::{Call, Outcome, Text, Timed, Wire};
use crate::keys;
use crate::protocol::{Loss, Side};

/// What the client said about replies (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replies {
    On,
    Off,
    /// None to the next command.
    Skip,
}

/// What else is remembered of a command that waits.
#[derive(Debug)]
enum Asked {
    Plain,
    /// That many confirmations are still to come.
    Subscription(u64),
    Monitor,
    Database(Arc<str>),
}

#[derive(Debug)]
pub(super) struct Pairing {
    queue: Queue<Asked>,
    replies: Replies,
    monitor: bool,
    subscribed: bool,
    database: Option<Arc<str>>,
    left: bool,
}

impl Default for Pairing {
    fn default() -> Self {
        Self {
            queue: Queue::default(),
            replies: Replies::On,
            monitor: false,
            subscribed: false,
            database: None,
            left: false,
        }
    }
}

impl Pairing {
    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    pub(super) fn command(&mut self, timed: &Timed<Part>, records: &mut Vec<Call>) {
        let part = &timed.message;
        let (operation, key) =
            commands::find(part.leaf(0)).unwrap_or((Text::Borrowed("_OTHER"), Key::None));
        let target = (key == Key::First && part.leaves > 1).then(|| keys::space(part.leaf(1)));
        let asked = asked(&operation, part);
        self.left |= matches!(&*operation, "PSYNC" | "SYNC");
        let mut call = Call::new(Wire::Redis, operation, timed.start, timed.size).on(target);
        call.namespace.clone_from(&self.database);
        if self.left || self.is_silent(part) {
            records.push(call.one_way(Side::Client));
        } else {
            self.queue.ask(call, asked, records);
        }
    }

    /// Whether no reply will come to this command.
    fn is_silent(&mut self, part: &Part) -> bool {
        let is = |index, word: &str| part.leaf(index).eq_ignore_ascii_case(word.as_bytes());
        if is(0, "CLIENT") && is(1, "REPLY") {
            self.replies = match part.leaf(2).first() {
                Some(b'o' | b'O') if is(2, "OFF") => Replies::Off,
                Some(b's' | b'S') if self.replies == Replies::On => Replies::Skip,
                Some(b's' | b'S') => self.replies,
                _ => Replies::On,
            };
            return self.replies != Replies::On;
        }
        let silent = self.replies != Replies::On;
        if self.replies == Replies::Skip {
            self.replies = Replies::On;
        }
        silent
    }

    pub(super) fn reply(&mut self, timed: &Timed<Part>, records: &mut Vec<Call>) {
        let part = &timed.message;
        let confirms = confirmation(part);
        self.subscribed |= confirms;
        if !confirms && (part.kind == b'>' || self.is_message(part)) {
            let operation = pushed(part.leaf(0));
            let target = (operation != "_OTHER").then(|| keys::space(part.leaf(1)));
            let call = Call::new(Wire::Redis, operation, timed.start, timed.size);
            records.push(call.on(target).one_way(Side::Server));
            return;
        }
        if self.monitor && self.queue.len() == 0 {
            return;
        }
        let Some((call, asked)) = self.queue.front(timed.start) else { return };
        call.add_answer(timed.start, timed.end, timed.size);
        if let Asked::Subscription(left) = asked {
            *left = left.saturating_sub(1);
            if confirms && *left > 0 {
                return;
            }
        } else if confirms && part.kind == b'>' {
            return;
        }
        call.outcome = outcome(part);
        let failed = call.outcome.is_error();
        match self.queue.done(records) {
            Some(Asked::Database(name)) if !failed => self.database = Some(name),
            Some(Asked::Monitor) if !failed => self.monitor = true,
            _ => {}
        }
    }

    /// Under RESP2 a subscriber gets messages as plain arrays.
    fn is_message(&self, part: &Part) -> bool {
        let shape = (part.leaf(0), part.leaves);
        (self.subscribed || self.queue.len() == 0)
            && part.kind == b'*'
            && matches!(shape, (b"message" | b"smessage", 3) | (b"pmessage", 4))
    }

    pub(super) fn lost(&mut self, side: Side, loss: Loss, time: u64, records: &mut Vec<Call>) {
        self.queue.lost(side, loss, time, records);
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.queue.closed(side, records);
    }
}

fn asked(operation: &str, part: &Part) -> Asked {
    match operation {
        "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE"
        | "SUNSUBSCRIBE" => Asked::Subscription((part.leaves - 1).max(1)),
        "MONITOR" => Asked::Monitor,
        "SELECT" if part.leaf(1).iter().all(u8::is_ascii_digit) => {
            Asked::Database(crate::exchange::read::name(part.leaf(1)))
        }
        _ => Asked::Plain,
    }
}

/// Whether the value confirms a (un)subscription.
fn confirmation(part: &Part) -> bool {
    let word = part.leaf(0);
    matches!(part.kind, b'*' | b'>')
        && part.leaves == 3
        && matches!(
            word,
            b"subscribe"
                | b"psubscribe"
                | b"ssubscribe"
                | b"unsubscribe"
                | b"punsubscribe"
                | b"sunsubscribe"
        )
}

/// What a pushed message is called.
fn pushed(word: &[u8]) -> Text {
    match word {
        b"message" => "message".into(),
        b"pmessage" => "pmessage".into(),
        b"smessage" => "smessage".into(),
        b"invalidate" => "invalidate".into(),
        _ => "_OTHER".into(),
    }
}

/// An error's first word is its code (`WRONGTYPE`, `MOVED`, `ERR`).
fn outcome(part: &Part) -> Outcome {
    if !matches!(part.kind, b'-' | b'!') {
        return Outcome::OK;
    }
    let word = part.leaf(0).split(|byte| *byte == b' ').next().unwrap_or_default();
    let code = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    match std::str::from_utf8(word) {
        Ok("ERR") => Outcome::failed("ERR"),
        Ok(word) if !word.is_empty() && word.bytes().all(|byte| code(&byte)) => {
            Outcome::failed(word.to_owned())
        }
        _ => Outcome::failed("_OTHER"),
    }
}
