//! One connection: which side wrote what, where in its stream, and the parser.

use taproot_probes::payload::{Ends, Open, Piece, Role as End, Verdict};
use taproot_protocols::any::{Any, Kind, Record};
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
    /// Bytes and pieces since the protocol was last known.
    unknown: (u64, u32),
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
            unknown: (0, 0),
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
        let mut all = Covered::default();
        for side in [Side::Client, Side::Server] {
            let coverage = self.connection.coverage(side);
            let stream = coverage.stream;
            let absent = stream.missing + stream.truncated + stream.overflow;
            // A hole in a body that was stepped over hides nothing.
            let unseen = absent.min(coverage.unframed);
            let unparsed = coverage.unframed - unseen;
            all.add(Covered { parsed: coverage.framed, unparsed, unseen, encrypted: 0 });
        }
        let new = Covered {
            parsed: all.parsed.saturating_sub(self.told.parsed),
            unparsed: all.unparsed.saturating_sub(self.told.unparsed),
            unseen: all.unseen.saturating_sub(self.told.unseen),
            encrypted: 0,
        };
        self.told = all;
        new
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
