//! What a protocol is to the tap: three functions.
//!
//! *Recognise* looks at the first bytes of a piece. *Frame* cuts a stream into
//! messages without keeping their bodies. *Pair* turns the messages of both
//! sides into records. The shape follows Pixie's `FindFrameBoundary`,
//! `ParseFrame` and `StitchFrames`; unlike there, framing may step over bytes
//! that were never copied, and pairing is told about every loss.

use crate::stream::{HoleKind, View};

/// Who wrote the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that opened the connection, or sends requests.
    Client,
    /// The side that answers.
    Server,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What the first bytes of a piece say about a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognition {
    /// Not this protocol.
    No,
    /// Too short to tell.
    Short,
    /// This protocol, written by that side.
    Yes(Side),
}

/// Why the place in a stream was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Bytes that framing needs are absent.
    Hole(HoleKind),
    /// The bytes make no sense.
    Malformed,
}

/// What the framer wants next. Every step but `Need` and `Wait` must change the
/// framer's state or consume bytes, or the driver would not end.
#[derive(Debug)]
pub enum Step<M> {
    /// More bytes. Where none can come, the place is lost.
    Need,
    /// That many bytes are of no interest (they may be absent).
    Skip(u64),
    /// A message (or a part of one) that ends `used` bytes into the view.
    Emit {
        /// The message.
        message: M,
        /// How many bytes of the view it used.
        used: usize,
    },
    /// The other side must go first (its answer decides how to go on).
    Wait,
    /// What follows is not ours until a piece begins with a message again.
    Search,
    /// The bytes make no sense.
    Lost,
    /// The connection has changed to another protocol for good.
    Leave,
}

/// What pairing is told, in the order in which it happened on each side.
#[derive(Debug)]
pub enum Event<M> {
    /// The framer emitted this.
    Message(M),
    /// Framing lost its place; messages may be hidden.
    Lost {
        /// Why.
        loss: Loss,
        /// When, in nanoseconds.
        time: u64,
    },
    /// This side closed; nothing more comes from it.
    Closed {
        /// When, in nanoseconds.
        time: u64,
    },
}

/// One protocol on one connection; the value holds the connection's state.
pub trait Protocol {
    /// What framing emits.
    type Message;
    /// What pairing emits.
    type Record;

    /// Judges bytes that begin a piece. Must be strict: it is how a lost place is
    /// found again, and a false yes invents a message.
    fn recognise(bytes: &[u8]) -> Recognition;

    /// Judges bytes that begin a piece of `side` on a connection known to speak this
    /// protocol, after the place was lost. May lean on what is known of it.
    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        let _ = side;
        Self::recognise(bytes)
    }

    /// Takes the next step in the stream that `side` writes.
    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Self::Message>;

    /// Takes in what happened on `side` and appends finished records.
    fn pair(&mut self, side: Side, event: Event<Self::Message>, records: &mut Vec<Self::Record>);
}
