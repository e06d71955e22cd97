//! One connection: which side wrote what, where in its stream, and the parser.

use taproot_probes::payload::{Ends, Open, Piece, Role as End, Verdict};
use taproot_protocols::any::{Any, Kind, Record};
use taproot_protocols::exchange::{Call, Outcome, Times, Wire};
use taproot_protocols::stream::{self, Limits};
use taproot_protocols::{Connection, Protocol, Recognition, Side};

use super::tally::{Book, Covered};

/// Where the streams of a connection begin that was joined in the middle: below lies
/// what is sent again of before.
const MIDDLE: u64 = 1 << 32;

/// Bytes and pieces after which a connection is taken to speak nothing that is known.
const PATIENCE: (u64, u32) = (64 << 10, 32);
/// The only request of HTTP/1 that is for the parsers: what comes after it is not HTTP/1.
const TUNNEL: &[u8] = b"CONNECT ";

/// A place that was told: modulo 2^32, and in full.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u32,
    position: u64,
}

/// Who speaks, and where it is counted.
#[derive(Clone)]
pub(super) struct Parties {
    pub(super) ends: Ends,
    /// What the observed end is.
    pub(super) local: Side,
    book: Book,
    /// The other end, where it is observed too and is the same stream.
    twin: Option<(u64, Book)>,
}

impl Parties {
    pub(super) fn new(ends: Ends, local: Side, book: Book) -> Self {
        Self { ends, local, book, twin: None }
    }

    /// The connection that is the other end of this one.
    pub(super) fn twin(&self) -> Option<u64> {
        self.twin.as_ref().map(|(id, _)| *id)
    }

    /// Where it is counted: this end, and the other one.
    pub(super) fn books(&self) -> impl Iterator<Item = &Book> {
        std::iter::once(&self.book).chain(self.twin.as_ref().map(|(_, book)| book))
    }

    /// The same, with where it is counted.
    pub(super) fn other_end(&self) -> Option<&(u64, Book)> {
        self.twin.as_ref()
    }
}

/// One connection under a parser.
pub(super) struct Conversation {
    connection: Connection<Any>,
    parties: Parties,
    places: [Option<Place>; 2],
    /// What of the connection's coverage was told already.
    told: Covered,
    /// Bytes that the full ring had no room for, by side.
    ring_lost: [u64; 2],
    /// Absent bytes so far, by [reason](super::tally::UNSEEN), and those of them that
    /// hide no message as far as is known.
    absent: ([u64; 4], [u64; 4]),
    /// Bytes and pieces since the protocol was last known.
    unknown: (u64, u32),
    /// When each side spoke first, of one that is seen from its first byte on, until that
    /// was told.
    first: Option<[Option<u64>; 2]>,
    /// It asked for a tunnel.
    tunnel: bool,
    /// What the kernel was told to hand over.
    said: Option<Verdict>,
    /// When it last said something.
    pub(super) last: u64,
}

/// Which side the observed end is: by its socket, or by what it says.
pub(super) fn side_of(open: &Open, piece: &Piece<'_>) -> Option<Side> {
    let told = match open.role {
        End::Client => Some(Side::Client),
        End::Server => Some(Side::Server),
        End::Unknown => None,
    };
    told.or_else(|| match Any::recognise(piece.bytes) {
        Recognition::Yes(writer) if piece.outbound => Some(writer),
        Recognition::Yes(writer) => Some(writer.peer()),
        _ => None,
    })
}

impl Conversation {
    /// One that is seen from its first byte on, or from the middle.
    pub(super) fn new(parties: Parties, pristine: bool, time: u64) -> Self {
        let limits = Limits::default();
        let connection = if pristine {
            Connection::from_start(Any::default(), limits)
        } else {
            Connection::joined_late(Any::default(), limits)
        };
        let place = pristine.then_some(Place { offset: 0, position: 0 });
        Self {
            connection,
            parties,
            places: [place; 2],
            told: Covered::default(),
            ring_lost: [0; 2],
            absent: ([0; 4], [0; 4]),
            unknown: (0, 0),
            first: pristine.then_some([None; 2]),
            tunnel: false,
            said: None,
            last: time,
        }
    }

    /// What is spoken, as far as it is known.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.connection.protocol().kind()
    }

    /// Bytes of memory that its streams hold.
    pub(super) fn memory(&self) -> usize {
        self.connection.memory()
    }

    /// Takes a segment; appends what it finishes.
    pub(super) fn push(&mut self, piece: &Piece<'_>, records: &mut Vec<Record>) {
        let local = self.parties.local;
        let side = if piece.outbound { local } else { local.peer() };
        self.last = piece.time;
        self.tunnel |= self.kind().is_none() && piece.bytes.starts_with(TUNNEL);
        self.ring_lost[side as usize] += u64::from(piece.lost);
        if let Some(first) = &mut self.first
            && piece.length > 0
        {
            first[side as usize].get_or_insert(piece.time);
        }
        self.unknown.0 += u64::from(piece.length);
        self.unknown.1 = self.unknown.1.saturating_add(1);
        let position = self.position(side, piece.offset);
        let (length, bytes, time) = (u64::from(piece.length), piece.bytes, piece.time);
        self.connection.push(side, stream::Piece { position, length, bytes, time }, records);
        if piece.fin {
            self.connection.close(side, time, records);
        }
    }

    /// What is wanted of it, where that has changed.
    pub(super) fn verdict(&mut self) -> Option<Verdict> {
        let wanted = if self.connection.protocol().is_opaque() {
            Verdict::Nothing
        } else if self.kind().is_some() {
            self.unknown = (0, 0);
            Verdict::All
        } else if self.unknown.0 >= PATIENCE.0 || self.unknown.1 >= PATIENCE.1 {
            Verdict::Glance
        } else {
            return None;
        };
        (self.said.replace(wanted) != Some(wanted)).then_some(wanted)
    }

    /// What is told of a connection whose protocol is not known: how long the server took
    /// for its first byte. Once, when nothing more is expected of it (`over`), or when it
    /// was looked at for long enough and both sides have spoken.
    pub(super) fn unknown(&mut self, over: bool) -> Option<Call> {
        if self.kind().is_some() {
            self.first = None;
        }
        let [asked, answered] = self.first?;
        let given_up = self.said == Some(Verdict::Glance);
        let (Some(start), true) = (asked, over || (given_up && answered.is_some())) else {
            return None;
        };
        self.first = None;
        // A server that speaks first answers nothing: there is no latency to be told.
        let answer = answered.filter(|answer| *answer >= start);
        let silent = answered.is_none();
        let spoken = Outcome::Answered { error: false, status: None };
        Some(Call {
            wire: Wire::Unknown,
            from: Side::Client,
            operation: "first byte".into(),
            target: None,
            statement: None,
            namespace: None,
            traceparent: None,
            // It may be a protocol without answers.
            outcome: if silent { Outcome::OneWay } else { spoken },
            times: Times { start, answer, end: answer },
            request_size: 0,
            answer_size: 0,
        })
    }

    /// Whether what it carries may be something else than HTTP/1.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// From now on what is counted is counted at the other end as well.
    pub(super) fn join(&mut self, id: u64, book: Book) {
        self.parties.twin = Some((id, book));
    }

    /// Who speaks.
    pub(super) fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Where its calls are counted.
    pub(super) fn books(&self) -> impl Iterator<Item = &Book> {
        self.parties.books()
    }

    /// Nothing more comes.
    pub(super) fn close(&mut self, time: u64, records: &mut Vec<Record>) {
        for side in [Side::Client, Side::Server] {
            self.connection.close(side, time, records);
        }
    }

    /// Stops waiting for what is overdue.
    pub(super) fn tick(&mut self, now: u64, records: &mut Vec<Record>) {
        self.connection.tick(now, records);
    }

    /// Bytes since this was last asked.
    pub(super) fn newly_covered(&mut self) -> Covered {
        let (mut parsed, mut unparsed, mut hidden) = (0, 0, 0);
        let mut absent = [0; 4];
        for side in [Side::Client, Side::Server] {
            let coverage = self.connection.coverage(side);
            let stream = coverage.stream;
            let ring = self.ring_lost[side as usize].min(stream.missing);
            let reasons = [ring, stream.truncated, stream.missing - ring, stream.overflow];
            // A hole in a body that was stepped over hides nothing.
            let unseen = reasons.iter().sum::<u64>().min(coverage.unframed);
            hidden += unseen;
            unparsed += coverage.unframed - unseen;
            parsed += coverage.framed;
            absent.iter_mut().zip(reasons).for_each(|(sum, more)| *sum += more);
        }
        let new = Covered {
            parsed: parsed.saturating_sub(self.told.parsed),
            unparsed: unparsed.saturating_sub(self.told.unparsed),
            unseen: self.blame(absent, hidden),
            encrypted: 0,
        };
        self.told.add(new);
        new
    }

    /// Finds reasons for bytes that may hide messages, of which there are `hidden` by
    /// now, among those that are `absent`.
    fn blame(&mut self, absent: [u64; 4], hidden: u64) -> [u64; 4] {
        let (before, open) = &mut self.absent;
        let mut left = hidden.saturating_sub(self.told.unseen.iter().sum());
        let mut out = [0; 4];
        for reason in 0..out.len() {
            open[reason] += absent[reason].saturating_sub(before[reason]);
            out[reason] = left.min(open[reason]);
            open[reason] -= out[reason];
            left -= out[reason];
        }
        *before = absent;
        out
    }

    /// A place in full: what lies less than 2 GiB before the last one was sent again.
    fn position(&mut self, side: Side, offset: u32) -> u64 {
        let place = self.places[side as usize].get_or_insert(Place { offset, position: MIDDLE });
        let step = i64::from(offset.wrapping_sub(place.offset).cast_signed());
        let position = place.position.saturating_add_signed(step);
        *place = Place { offset, position };
        position
    }
}
