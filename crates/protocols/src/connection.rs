//! Drives a protocol over the two streams of a connection.

use crate::protocol::{Event, Loss, Protocol, Recognition, Side, Step};
use crate::stream::{ByteStream, Counts, HoleKind, Limits, Piece, Then};

/// How much of one direction was understood, in bytes unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Belong to a message that was framed (bodies stepped over included).
    pub framed: u64,
    /// Could not be attributed to a message.
    pub unframed: u64,
    /// Holes (not bytes) that messages may hide in.
    pub losses: u64,
    /// Times (not bytes) the place was lost because the bytes made no sense.
    pub malformed: u64,
    /// What was pushed, and what was absent, by reason.
    pub stream: Counts,
}

struct Half {
    stream: ByteStream,
    searching: bool,
    closed: bool,
    coverage: Coverage,
}

impl Half {
    fn new(stream: ByteStream, searching: bool) -> Self {
        Self { stream, searching, closed: false, coverage: Coverage::default() }
    }

    /// Looks for a piece that begins with a message of `side`.
    fn search<P: Protocol>(&mut self, protocol: &P, side: Side) -> Found {
        loop {
            let view = self.stream.view();
            if view.bytes.is_empty() {
                let Then::Hole(kind) = view.then else { return Found::Nothing };
                return Found::Hole(kind, view.time);
            }
            if view.boundary {
                match protocol.resumes(side, view.bytes) {
                    Recognition::Yes(found) if found == side => {
                        self.searching = false;
                        return Found::Message;
                    }
                    Recognition::Short if view.then == Then::More => return Found::Nothing,
                    _ => {}
                }
            }
            self.coverage.unframed += self.stream.drop_front();
        }
    }
}

/// What a search came upon.
enum Found {
    Message,
    /// Messages may be hidden in it, so pairing has to know.
    Hole(HoleKind, u64),
    /// Not enough bytes to tell.
    Nothing,
}

/// A connection under one protocol.
///
/// Memory is bounded by [`Limits`] per direction plus what the protocol keeps.
pub struct Connection<P> {
    protocol: P,
    halves: [Half; 2],
    left: bool,
}

impl<P: Protocol> Connection<P> {
    /// A connection seen from its first byte: positions begin at 0.
    pub fn from_start(protocol: P, limits: Limits) -> Self {
        let half = || Half::new(ByteStream::from_start(limits), false);
        Self { protocol, halves: [half(), half()], left: false }
    }

    /// A connection joined in the middle: each direction begins with the first
    /// piece that starts with a message.
    pub fn joined_late(mut protocol: P, limits: Limits) -> Self {
        let half = || Half::new(ByteStream::joined_late(limits), true);
        let event = Event::Lost { loss: Loss::Hole(HoleKind::Missing), time: 0 };
        protocol.pair(Side::Client, event, &mut Vec::new());
        Self { protocol, halves: [half(), half()], left: false }
    }

    /// Takes a piece that `side` wrote; appends finished records.
    pub fn push(&mut self, side: Side, piece: Piece<'_>, records: &mut Vec<P::Record>) {
        self.halves[side as usize].stream.push(piece);
        self.advance(side, records);
    }

    /// Takes note that `side` closed its direction at `time`.
    pub fn close(&mut self, side: Side, time: u64, records: &mut Vec<P::Record>) {
        self.halves[side as usize].stream.end(time);
        self.advance(side, records);
    }

    /// Stops waiting for pieces that are overdue at `now`. Call it now and then
    /// for idle connections; busy ones do it themselves.
    pub fn tick(&mut self, now: u64, records: &mut Vec<P::Record>) {
        for side in [Side::Client, Side::Server] {
            self.halves[side as usize].stream.give_up_waiting(now);
            self.advance(side, records);
        }
    }

    /// How much of what `side` wrote was understood.
    pub fn coverage(&self, side: Side) -> Coverage {
        let half = &self.halves[side as usize];
        let framed = half.stream.consumed().saturating_sub(half.coverage.unframed);
        Coverage { framed, stream: half.stream.counts(), ..half.coverage }
    }

    /// The protocol's state.
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// Whether the connection has changed to another protocol for good.
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// Bytes of memory held by the two streams.
    pub fn memory(&self) -> usize {
        self.halves.iter().map(|half| half.stream.memory()).sum()
    }

    /// Runs one side as far as it goes, then the other where it waited for it.
    fn advance(&mut self, side: Side, records: &mut Vec<P::Record>) {
        let mut side = side;
        while self.run(side, records) {
            side = side.peer();
        }
        if self.left {
            self.drop_all();
        }
    }

    /// True when anything was done.
    fn run(&mut self, side: Side, records: &mut Vec<P::Record>) -> bool {
        let mut progress = false;
        while !self.left && self.step(side, records) {
            progress = true;
        }
        progress
    }

    fn step(&mut self, side: Side, records: &mut Vec<P::Record>) -> bool {
        let half = &mut self.halves[side as usize];
        if half.stream.is_skipping() {
            return false;
        }
        if half.searching {
            match half.search(&self.protocol, side) {
                Found::Message => {}
                Found::Nothing => return self.close_once(side, records),
                Found::Hole(kind, time) => {
                    self.lose(side, Loss::Hole(kind), time, records);
                    return true;
                }
            }
        }
        let view = half.stream.view();
        let (then, time) = (view.then, view.time);
        match self.protocol.frame(side, &view) {
            Step::Need => match then {
                Then::More => return false,
                Then::Hole(kind) => self.lose(side, Loss::Hole(kind), time, records),
                Then::End => return self.close_once(side, records),
            },
            Step::Wait => return false,
            Step::Skip(length) => half.stream.skip(length),
            Step::Emit { message, used } => {
                half.stream.skip(used as u64);
                self.protocol.pair(side, Event::Message(message), records);
            }
            Step::Search => half.searching = true,
            Step::Lost => self.lose(side, Loss::Malformed, time, records),
            Step::Leave => self.left = true,
        }
        true
    }

    fn lose(&mut self, side: Side, loss: Loss, time: u64, records: &mut Vec<P::Record>) {
        let half = &mut self.halves[side as usize];
        match loss {
            Loss::Hole(_) => half.coverage.losses += 1,
            Loss::Malformed => half.coverage.malformed += 1,
        }
        half.coverage.unframed += half.stream.drop_front();
        half.searching = true;
        self.protocol.pair(side, Event::Lost { loss, time }, records);
    }

    /// Reports the close of a side, once, when all it wrote is consumed.
    fn close_once(&mut self, side: Side, records: &mut Vec<P::Record>) -> bool {
        let half = &mut self.halves[side as usize];
        let view = half.stream.view();
        if view.then != Then::End || half.closed {
            return false;
        }
        let time = view.last;
        half.closed = true;
        half.searching = true;
        self.protocol.pair(side, Event::Closed { time }, records);
        true
    }

    fn drop_all(&mut self) {
        for half in &mut self.halves {
            loop {
                let dropped = half.stream.drop_front();
                if dropped == 0 {
                    break;
                }
                half.coverage.unframed += dropped;
            }
        }
    }
}
