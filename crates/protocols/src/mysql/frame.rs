//! Cuts packets (three bytes of length, a number, a payload) and reads those
//! that pairing needs.

use super::login::{self, Login};
use super::pair::Phase;
use super::result::{Answer, FULL, Shape, Verdict, error};
use crate::exchange::Timed;
use crate::protocol::Step;
use crate::sql;
use crate::stream::{Then, View};

/// Size of a packet's header in bytes.
const HEADER: usize = 4;
/// Bytes of a client's packet that are read.
const WANTED: usize = HEADER + 1 + sql::LONGEST;
/// Bytes of a server's packet that are read: enough for the status of an OK.
const WANTED_ANSWER: usize = HEADER + 32;

/// What pairing needs of a packet.
#[derive(Debug)]
pub enum Part {
    /// The server's first packet.
    Greeting {
        /// The server can compress.
        compresses: bool,
    },
    /// The client logs in.
    Login(LoginPart),
    /// A command: its number and the start of its arguments.
    Command(u8, Box<[u8]>),
    /// An answer ended well; the number of a prepared statement, if it is one.
    Done(Option<u32>),
    /// An answer ended with that error.
    Failed(std::sync::Arc<str>),
}

/// A login, opaque to others.
#[derive(Debug)]
pub struct LoginPart(pub(super) Login);

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    since: Option<u64>,
    size: u64,
    passing: Option<Part>,
    /// The last packet was full: the next belongs to it.
    continued: bool,
}

/// One packet at the front.
struct Packet<'a> {
    number: u8,
    length: usize,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet at `at`, once `wanted` of it is there. `Err` tells to wait.
    fn at(view: &View<'a>, at: usize, wanted: usize) -> Option<Self> {
        let &[a, b, c, number] = view.bytes.get(at..)?.first_chunk()?;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        let size = HEADER + length;
        let there = &view.bytes[at..(at + size).min(view.bytes.len())];
        let enough = there.len() >= size.min(wanted) || view.then != Then::More;
        enough.then(|| Self { number, length, payload: &there[HEADER..] })
    }
}

impl Framer {
    pub(super) fn client(&mut self, view: &View<'_>, phase: Phase) -> Step<Timed<Part>> {
        if let Some(part) = self.passing.take() {
            return self.emit(part, 0, view.last);
        }
        let Some(packet) = Packet::at(view, 0, WANTED) else { return Step::Need };
        let used = HEADER + packet.length;
        let follows = std::mem::replace(&mut self.continued, packet.length == FULL);
        // More of a long packet, or of a file or a login that the server asked for.
        if follows || (phase == Phase::Command && packet.number != 0) {
            return Step::Skip(used as u64);
        }
        let part = match phase {
            Phase::Login => match login::read(packet.payload) {
                Some(login) => Part::Login(LoginPart(login)),
                None => return Step::Lost,
            },
            Phase::LoggingIn => return Step::Skip(used as u64),
            Phase::Command => match packet.payload.split_first() {
                Some((command, arguments)) => Part::Command(*command, arguments.into()),
                None => return Step::Lost,
            },
            Phase::Greeting => return Step::Wait,
        };
        self.since = Some(view.time);
        self.hand_over(part, used, view)
    }

    pub(super) fn server(
        &mut self,
        view: &View<'_>,
        phase: Phase,
        mut answered: Option<&mut Answer>,
    ) -> Step<Timed<Part>> {
        if let Some(part) = self.passing.take() {
            return self.emit(part, 0, view.last);
        }
        let mut at = 0;
        while let Some(packet) = Packet::at(view, at, WANTED_ANSWER) {
            let follows = std::mem::replace(&mut self.continued, packet.length == FULL);
            at += HEADER + packet.length;
            if phase == Phase::Greeting {
                return self.greeting(&packet, at, view);
            }
            let verdict = match answered.as_deref_mut() {
                Some(answer) if !follows => judge(answer, phase, &packet),
                // What trails an answer that has ended already.
                _ => Verdict::More,
            };
            if !follows && answered.is_some() {
                self.since.get_or_insert(view.time);
            }
            let part = match verdict {
                Verdict::More if at < view.bytes.len() => continue,
                Verdict::More => break,
                Verdict::Done(statement) => Part::Done(statement),
                Verdict::Failed(code) => Part::Failed(code),
                Verdict::Bad => return Step::Lost,
            };
            return self.hand_over(part, at, view);
        }
        if at == 0 {
            return Step::Need;
        }
        if answered.is_some() {
            self.size += at as u64;
        }
        Step::Skip(at as u64)
    }

    fn greeting(&mut self, packet: &Packet<'_>, used: usize, view: &View<'_>) -> Step<Timed<Part>> {
        self.since = Some(view.time);
        match packet.payload.first() {
            Some(10) if packet.number == 0 => {
                let compresses = login::can_compress(packet.payload);
                self.hand_over(Part::Greeting { compresses }, used, view)
            }
            Some(0xff) => self.hand_over(Part::Failed(error(packet.payload)), used, view),
            _ => Step::Lost,
        }
    }

    /// Emits now where all is there, else after the rest was stepped over.
    fn hand_over(&mut self, part: Part, used: usize, view: &View<'_>) -> Step<Timed<Part>> {
        if used <= view.bytes.len() {
            return self.emit(part, used, view.time);
        }
        self.passing = Some(part);
        self.size += used as u64;
        Step::Skip(used as u64)
    }

    fn emit(&mut self, message: Part, used: usize, end: u64) -> Step<Timed<Part>> {
        let start = self.since.unwrap_or(end);
        let size = self.size + used as u64;
        *self = Self { continued: self.continued, ..Self::default() };
        Step::Emit { message: Timed { message, start, end, size }, used }
    }
}

/// What a packet means for the answer. One begins with number 1; what comes before
/// it trails the answer before.
fn judge(answer: &mut Answer, phase: Phase, packet: &Packet<'_>) -> Verdict {
    match packet.number {
        0 if answer.is_fresh() => Verdict::Bad,
        number if answer.is_fresh() && phase == Phase::Command && number != 1 => Verdict::More,
        _ => answer.packet(packet.payload, packet.length),
    }
}

/// What a command makes the server send; `None` for nothing.
pub(super) fn shape(command: u8) -> Option<Shape> {
    match command {
        0x01 | 0x18 | 0x19 => None,
        0x04 | 0x1c => Some(Shape::Rows),
        0x09 | 0x16 => Some(Shape::One),
        0x11 => Some(Shape::Login),
        _ => Some(Shape::Result),
    }
}
