//! Connections: bytes to parsers, counts, and what is still wanted of each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::HashMap;
use taproot_model::Role;
use taproot_probes::payload::{Datagram, Ends, Open, Piece, Plain, Record, Verdict};
use taproot_protocols::any::{self, Kind};
use taproot_protocols::{Call, Side};

use super::conversation::{Conversation, Parties, side_of};
use super::lookups::Lookups;
use super::sealed::{Counter, Handshake, Seals};
use super::tally::{Books, Page, Sample};
use crate::names::Seen;

/// Connections remembered at most, and of these under a parser.
const MOST: usize = 65_536;
const MOST_PARSED: usize = 16_384;
/// Pieces after which the side of a connection is taken to be not to be told.
const PATIENCE: u32 = 32;
/// Bytes that the streams of all connections may hold together.
const MEMORY: usize = 24 << 20;
/// A connection that said nothing for so long is forgotten, nanoseconds; it is told
/// again when it goes on.
const IDLE: u64 = 15 * 60 * 1_000_000_000;

enum Entry {
    /// Met, but which side is which is not known.
    Met(Open, u32),
    Parsed(Box<Conversation>),
    /// The other end of one that is parsed, and when it was met.
    Other(u64, u64),
    /// It carries TLS, since then: what it says is told from within.
    Sealed(u64),
    /// Nothing more is wanted of it, since then.
    Left(u64),
}

/// What a connection within one network namespace has in common with its other end,
/// which has it the other way round.
type Loop = (u64, (IpAddr, u16), (IpAddr, u16));

/// What was counted since the last harvest.
#[derive(Debug, Default)]
pub(crate) struct Harvest {
    pub(crate) pages: Vec<Page>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) losses: Vec<(&'static str, u64)>,
}

/// Every connection that was told.
#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<u64, Entry>,
    /// Those under a parser, by what their other end would say of them.
    loops: HashMap<Loop, u64>,
    parsed: usize,
    seals: Seals,
    lookups: Lookups,
    books: Books,
    decisions: Vec<(u64, Verdict)>,
    ended: Vec<u64>,
    losses: BTreeMap<&'static str, u64>,
    memory: usize,
    records: Vec<any::Record>,
    calls: Vec<Call>,
}

fn end_of(open: &Open, local: Side) -> Seen {
    let ends = &open.ends;
    let (port, role) = match local {
        Side::Client => (ends.remote_port, Role::Client),
        Side::Server => (ends.local_port, Role::Server),
    };
    Seen {
        netns: ends.netns,
        cgroup: ends.cgroup,
        local: ends.local,
        remote: ends.remote,
        port,
        role,
    }
}

fn loop_of(ends: &Ends) -> Loop {
    (ends.netns, (ends.local, ends.local_port), (ends.remote, ends.remote_port))
}

fn other_end_of(ends: &Ends) -> Loop {
    (ends.netns, (ends.remote, ends.remote_port), (ends.local, ends.local_port))
}

impl Table {
    /// Takes a record of the kernel.
    pub(super) fn take(&mut self, record: Record<'_>) {
        match record {
            Record::Open(open) => self.open(open),
            Record::Piece(piece) => self.piece(&piece),
            Record::Close { id, time } => self.close(id, time),
            Record::Datagram(datagram) => self.datagram(&datagram),
            Record::Plain(plain) => self.plain(&plain),
            Record::Passed { id, bytes } => self.seals.passed(id, bytes),
        }
    }

    /// What is wanted of connections since this was last asked, in that order.
    pub(super) fn decisions(&mut self) -> impl Iterator<Item = (u64, Verdict)> + use<'_> {
        self.decisions.drain(..)
    }

    /// What is wanted of what connections carry inside of TLS, likewise.
    pub(super) fn plain_decisions(&mut self) -> impl Iterator<Item = (u64, Verdict)> + use<'_> {
        self.seals.decisions()
    }

    /// Connections that ended since this was last asked.
    pub(super) fn ended(&mut self) -> impl Iterator<Item = u64> + use<'_> {
        self.ended.drain(..)
    }

    fn lose(&mut self, reason: &'static str, amount: u64) {
        *self.losses.entry(reason).or_default() += amount;
    }

    fn open(&mut self, open: Open) {
        if self.entries.contains_key(&open.id) {
            self.remove(open.id, open.time);
        }
        if self.entries.len() >= MOST {
            self.lose("table_full_connections", 1);
            return;
        }
        if !open.pristine {
            self.lose("joined_late_connections", 1);
        }
        if let Some(twin) = self.joins(&open) {
            self.entries.insert(open.id, Entry::Other(twin, open.time));
            self.decisions.push((open.id, Verdict::Nothing));
        } else {
            self.entries.insert(open.id, Entry::Met(open, 0));
        }
    }

    /// The connection that this is the other end of, in the same network namespace,
    /// where it is parsed already: one stream, which need not be parsed twice.
    fn joins(&mut self, open: &Open) -> Option<u64> {
        let id = *self.loops.get(&loop_of(&open.ends))?;
        let Some(Entry::Parsed(twin)) = self.entries.get_mut(&id) else { return None };
        let end = end_of(open, twin.parties().local.peer());
        twin.join(open.id, self.books.book(end));
        Some(id)
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        match self.entries.get_mut(&piece.id) {
            Some(Entry::Parsed(_)) => self.converse(piece),
            Some(Entry::Met(open, pieces)) => {
                *pieces += 1;
                let (open, given_up) = (*open, *pieces == PATIENCE);
                if let Some(local) = side_of(&open, piece) {
                    self.begin(open, local, piece);
                } else {
                    self.lose("side_unknown_bytes", u64::from(piece.length));
                    if given_up {
                        self.decisions.push((piece.id, Verdict::Glance));
                    }
                }
            }
            Some(Entry::Left(_) | Entry::Sealed(_) | Entry::Other(..)) => {}
            None => self.stranger(piece),
        }
    }

    /// A connection that was forgotten, or that had no room when it was told.
    fn stranger(&mut self, piece: &Piece<'_>) {
        self.lose("not_known_bytes", u64::from(piece.length));
        if self.entries.len() < MOST {
            self.entries.insert(piece.id, Entry::Left(piece.time));
            self.decisions.push((piece.id, Verdict::Again));
        }
    }

    fn begin(&mut self, open: Open, local: Side, piece: &Piece<'_>) {
        if self.parsed >= MOST_PARSED {
            self.lose("parsers_full_connections", 1);
            self.leave(open.id, open.time, Verdict::Nothing);
            return;
        }
        let parties = self.parties(&open, local);
        let conversation = Box::new(Conversation::new(parties, open.pristine, open.time));
        self.entries.insert(open.id, Entry::Parsed(conversation));
        self.loops.insert(other_end_of(&open.ends), open.id);
        self.parsed += 1;
        self.converse(piece);
    }

    fn parties(&mut self, open: &Open, local: Side) -> Parties {
        Parties::new(open.ends, local, self.books.book(end_of(open, local)))
    }

    /// Feeds a piece to its parser, counts, and judges what is still wanted.
    fn converse(&mut self, piece: &Piece<'_>) {
        let Some(Entry::Parsed(conversation)) = self.entries.get_mut(&piece.id) else { return };
        let held = conversation.memory();
        conversation.push(piece, &mut self.records);
        count(&mut self.records, conversation, &mut self.books);
        if let Some(call) = conversation.unknown(false) {
            self.books.count(conversation.books(), &call);
        }
        self.memory = (self.memory + conversation.memory()).saturating_sub(held);
        match conversation.verdict() {
            Some(Verdict::Nothing) => return self.leave(piece.id, piece.time, Verdict::Nothing),
            Some(verdict) => self.decisions.push((piece.id, verdict)),
            None => {}
        }
        if conversation.kind() == Some(Kind::Http1) && !conversation.is_tunnel() {
            // The http programs count it; an upgrade is told from there.
            self.leave(piece.id, piece.time, Verdict::Http1);
        } else if self.memory + self.seals.memory() > MEMORY {
            self.lose("memory_connections", 1);
            self.remove(piece.id, piece.time);
            self.entries.insert(piece.id, Entry::Left(piece.time));
            self.decisions.push((piece.id, Verdict::Again));
        }
    }

    /// Nothing more is wanted of a connection, or nothing until it changes.
    fn leave(&mut self, id: u64, time: u64, mut verdict: Verdict) {
        if let Some(Entry::Parsed(mut conversation)) = self.entries.insert(id, Entry::Left(time)) {
            let twin = conversation.parties().twin();
            self.release(&conversation);
            let parties = conversation.parties().clone();
            if conversation.kind() == Some(Kind::Tls)
                && self.seal(id, parties, Handshake::Over(time), time)
            {
                verdict = Verdict::Sealed;
            }
            self.decisions.extend(twin.map(|twin| (twin, verdict)));
            if verdict != Verdict::Http1 {
                cover(&mut conversation);
            }
        }
        self.decisions.push((id, verdict));
    }

    /// A connection is no longer under a parser.
    fn release(&mut self, conversation: &Conversation) {
        self.loops.remove(&other_end_of(&conversation.parties().ends));
        self.parsed -= 1;
        self.memory = self.memory.saturating_sub(conversation.memory());
    }

    fn close(&mut self, id: u64, time: u64) {
        self.remove(id, time);
        let mut counter = Counter { books: &mut self.books, records: &mut self.records };
        self.seals.close(id, time, &mut counter);
        self.ended.push(id);
    }

    /// Forgets a connection; what waits in it is told.
    fn remove(&mut self, id: u64, time: u64) {
        let Some(Entry::Parsed(mut conversation)) = self.entries.remove(&id) else { return };
        self.release(&conversation);
        conversation.close(time, &mut self.records);
        count(&mut self.records, &conversation, &mut self.books);
        if let Some(call) = conversation.unknown(true) {
            self.books.count(conversation.books(), &call);
        }
        cover(&mut conversation);
    }

    /// A connection carries TLS, and is under a parser no more or nearly so.
    fn seal(&mut self, id: u64, parties: Parties, handshake: Handshake, time: u64) -> bool {
        let room = self.seals.seal(id, parties, handshake);
        if !room {
            self.lose("parsers_full_connections", 1);
        } else if handshake != Handshake::Begun {
            self.entries.insert(id, Entry::Sealed(time));
        }
        room
    }

    /// Takes what a connection carries inside of TLS.
    fn plain(&mut self, plain: &Plain<'_>) {
        let (id, time) = (plain.piece.id, plain.piece.time);
        if !self.seals.knows(id) && !self.carries(plain) {
            return;
        }
        let mut counter = Counter { books: &mut self.books, records: &mut self.records };
        self.seals.push(plain, &mut counter);
        if self.memory + self.seals.memory() > MEMORY {
            self.seals.give_up(id, time, &mut counter);
            self.lose("memory_connections", 1);
        }
    }

    /// Learns that a connection carries TLS by its plaintext: it was joined late, or is
    /// still shaking hands.
    fn carries(&mut self, plain: &Plain<'_>) -> bool {
        let piece = &plain.piece;
        let id = match self.entries.get(&piece.id) {
            Some(Entry::Other(twin, _)) => *twin,
            _ => piece.id,
        };
        match self.entries.get(&id) {
            Some(Entry::Parsed(conversation)) => {
                let parties = conversation.parties().clone();
                if conversation.kind() == Some(Kind::Tls) {
                    return self.seal(id, parties, Handshake::Begun, piece.time);
                }
                // What its parser was shown is encrypted, and no part of what is said.
                self.release_unread(id, piece.time);
                self.seal(id, parties, Handshake::Unseen, piece.time)
            }
            Some(Entry::Met(open, _)) => {
                let open = *open;
                let Some(local) = side_of(&open, piece) else {
                    self.lose("side_unknown_bytes", u64::from(piece.length));
                    return false;
                };
                let parties = self.parties(&open, local);
                self.leave(id, piece.time, Verdict::Sealed);
                self.seal(id, parties, Handshake::Unseen, piece.time)
            }
            // The other end told it all, and is gone.
            Some(Entry::Sealed(_) | Entry::Other(..)) => false,
            Some(Entry::Left(_)) => {
                self.lose("not_known_bytes", u64::from(piece.length));
                false
            }
            None => {
                self.stranger(piece);
                false
            }
        }
    }

    /// Takes a connection away from its parser without a word.
    fn release_unread(&mut self, id: u64, time: u64) {
        if let Some(Entry::Parsed(conversation)) = self.entries.insert(id, Entry::Left(time)) {
            let twin = conversation.parties().twin();
            self.decisions.extend(twin.map(|twin| (twin, Verdict::Sealed)));
            self.release(&conversation);
        }
        self.decisions.push((id, Verdict::Sealed));
    }

    fn datagram(&mut self, datagram: &Datagram<'_>) {
        if !self.lookups.push(datagram, &mut self.books, &mut self.calls) {
            self.lose("lookups_full_bytes", u64::from(datagram.length));
        }
    }

    /// What was counted since the last harvest; `now` is on the kernel's clock.
    pub(super) fn harvest(&mut self, now: u64) -> Harvest {
        self.lookups.tick(now, &mut self.books, &mut self.calls);
        let mut counter = Counter { books: &mut self.books, records: &mut self.records };
        self.seals.tick(now, IDLE, &mut counter);
        let mut idle = Vec::new();
        for (id, entry) in &mut self.entries {
            let last = match entry {
                Entry::Parsed(conversation) => {
                    conversation.tick(now, &mut self.records);
                    count(&mut self.records, conversation, &mut self.books);
                    cover(conversation);
                    conversation.last
                }
                Entry::Met(Open { time, .. }, _)
                | Entry::Sealed(time)
                | Entry::Left(time)
                | Entry::Other(_, time) => *time,
            };
            if now.saturating_sub(last) > IDLE {
                idle.push(*id);
            }
        }
        for id in idle {
            // Of one that was left nothing comes; perhaps its end was lost.
            if matches!(self.entries.get(&id), Some(Entry::Met(..) | Entry::Parsed(_))) {
                self.decisions.push((id, Verdict::Again));
            }
            self.remove(id, now);
        }
        let (pages, samples, unsampled) = self.books.harvest();
        if unsampled > 0 {
            self.lose("sample_over_budget", unsampled);
        }
        Harvest { pages, samples, losses: std::mem::take(&mut self.losses).into_iter().collect() }
    }
}

/// Counts the calls among the records; HTTP/1 is counted in the kernel.
fn count(records: &mut Vec<any::Record>, conversation: &Conversation, books: &mut Books) {
    for record in records.drain(..) {
        if let any::Record::Call(call) = record {
            books.count(conversation.books(), &call);
        }
    }
}

/// Adds what the parser made of the bytes.
fn cover(conversation: &mut Conversation) {
    let covered = conversation.newly_covered();
    conversation.books().for_each(|book| Books::cover(book, covered));
}
