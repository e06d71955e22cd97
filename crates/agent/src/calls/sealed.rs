//! What connections say inside of TLS.
//!
//! A connection that has come to TLS is sealed: what passes its socket says nothing any
//! more. Its plaintext comes from a TLS library at one of its ends, or from both, and
//! goes through parsers of its own. Of both ends of one connection the first to tell is
//! listened to, as the plaintext of one is that of the other.

use foldhash::HashMap;
use taproot_probes::payload::{Plain, Verdict};
use taproot_protocols::any::{Kind, Record};
use taproot_protocols::http1;

use super::conversation::{Conversation, Parties};
use super::tally::{Books, Covered};

/// Connections remembered at most.
const MOST: usize = 16_384;
/// Most bytes that TLS adds to a record: head, nonce, tag, padding.
const RECORD: u64 = 64;
/// Most bytes that it says for itself after the handshake: tickets, new keys, the end.
const TICKETS: u64 = 16 << 10;

/// What was seen of a connection's TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// Nothing, or not all: the connection was joined late.
    Unseen,
    /// Its beginning.
    Begun,
    /// All of it; it was over at that time.
    Over(u64),
}

/// Who tells the plaintext: one end's connection, and since when it knows its session.
type Source = (u64, u64);

/// How much of a connection is told, and how much of it is TLS's own: bytes.
#[derive(Default)]
struct Weight {
    /// Where the plaintext was last, by direction.
    ends: [u32; 2],
    /// Plaintext, both ways, told or not.
    plain: u64,
    /// Times that plaintext was told.
    times: u64,
    /// What passed since there is plaintext, at this end and at the other.
    passed: [u64; 2],
    /// Of that the records' heads and tails, as far as it was counted.
    framing: [u64; 2],
    /// And what was never plaintext of the session.
    foreign: [u64; 2],
}

impl Weight {
    fn plain(&mut self, outbound: bool, offset: u32, length: u32) {
        let end = &mut self.ends[usize::from(outbound)];
        let next = offset.wrapping_add(length);
        self.plain += u64::from(next.wrapping_sub(*end));
        self.times += 1;
        *end = next;
    }

    /// What has passed since this was last asked beside the plaintext: what TLS adds to
    /// it, and, beyond the most that it may add, what was encrypted elsewhere, as by the
    /// kernel for `SSL_sendfile`.
    fn pass(&mut self, end: usize, bytes: u64) -> Covered {
        self.passed[end] += bytes;
        let most = TICKETS + self.plain.max(RECORD * self.times);
        let beside = self.passed[end].saturating_sub(self.plain);
        let more = |counted: &mut [u64; 2], all: u64| {
            let new = all.saturating_sub(counted[end]);
            counted[end] += new;
            new
        };
        Covered {
            parsed: more(&mut self.framing, beside.min(most)),
            encrypted: more(&mut self.foreign, beside.saturating_sub(most)),
            ..Covered::default()
        }
    }
}

struct Sealed {
    parties: Parties,
    handshake: Handshake,
    source: Option<Source>,
    inside: Option<Box<Conversation>>,
    weight: Weight,
    last: u64,
}

/// Every sealed connection.
#[derive(Default)]
pub(super) struct Seals {
    sealed: HashMap<u64, Sealed>,
    /// The other ends of them.
    aliases: HashMap<u64, u64>,
    decisions: Vec<(u64, Verdict)>,
    memory: usize,
}

/// What counting takes.
pub(super) struct Counter<'a> {
    pub(super) books: &'a mut Books,
    pub(super) records: &'a mut Vec<Record>,
}

impl Counter<'_> {
    /// Counts the calls among the records; the kernel sees none of them.
    fn count(&mut self, conversation: &Conversation) {
        for record in self.records.drain(..) {
            let call = match record {
                Record::Call(call) => call,
                Record::Http1(http1::Record::Exchange(exchange)) => exchange.into(),
                Record::Http1(http1::Record::Orphan(_)) => continue,
            };
            self.books.count(conversation.books(), &call);
        }
    }

    /// Adds what the parser made of the bytes. Requests of HTTP/1 carry their sizes.
    fn cover(conversation: &mut Conversation) {
        let mut covered = conversation.newly_covered();
        if conversation.kind() == Some(Kind::Http1) {
            covered = Covered { parsed: 0, ..covered };
        }
        conversation.books().for_each(|book| Books::cover(book, covered));
    }

    fn close(&mut self, mut conversation: Box<Conversation>, time: u64) {
        conversation.close(time, self.records);
        self.count(&conversation);
        Self::cover(&mut conversation);
    }
}

impl Sealed {
    /// Whether a session whose process is observed since then is seen from its first
    /// byte on. One that is met again is not.
    fn is_whole(&self, watched: u64) -> bool {
        match self.handshake {
            Handshake::Unseen => false,
            Handshake::Begun => self.source.is_none(),
            Handshake::Over(at) => self.source.is_none() && watched <= at,
        }
    }
}

impl Seals {
    /// A connection has come to TLS; false when there is no room for another one. What
    /// is sealed already learns what is known by now.
    pub(super) fn seal(&mut self, id: u64, parties: Parties, handshake: Handshake) -> bool {
        let room = self.sealed.len() < MOST;
        if !room && !self.sealed.contains_key(&id) {
            return false;
        }
        self.aliases.extend(parties.twin().map(|twin| (twin, id)));
        let sealed = self.sealed.entry(id).or_insert_with(|| Sealed {
            parties: parties.clone(),
            handshake,
            source: None,
            inside: None,
            weight: Weight::default(),
            last: 0,
        });
        sealed.handshake = handshake;
        if let (Some(inside), Some(twin)) = (&mut sealed.inside, parties.other_end()) {
            inside.join(twin.0, twin.1.clone());
        }
        sealed.parties = parties;
        true
    }

    /// Whether it, or its other end, is sealed.
    pub(super) fn knows(&self, id: u64) -> bool {
        self.sealed.contains_key(&id) || self.aliases.contains_key(&id)
    }

    /// Bytes of memory that the streams of plaintext hold.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// What is wanted of plaintext since this was last asked.
    pub(super) fn decisions(&mut self) -> impl Iterator<Item = (u64, Verdict)> + use<'_> {
        self.decisions.drain(..)
    }

    fn primary(&self, id: u64) -> u64 {
        self.aliases.get(&id).copied().unwrap_or(id)
    }

    /// Takes plaintext of a connection that is [known](Self::knows).
    pub(super) fn push(&mut self, plain: &Plain<'_>, counter: &mut Counter<'_>) {
        let piece = &plain.piece;
        let primary = self.primary(piece.id);
        let Some(sealed) = self.sealed.get_mut(&primary) else { return };
        sealed.last = piece.time;
        let source = (piece.id, plain.since);
        match sealed.source {
            Some(known) if known == source => {}
            Some((id, _)) if id != piece.id => {
                self.decisions.push((piece.id, Verdict::Nothing));
                return;
            }
            _ => {
                let whole = sealed.is_whole(plain.watched);
                if !whole && !plain.settled {
                    return; // an answer to it may be read by somebody unseen
                }
                sealed.source = Some(source);
                sealed.weight.ends = [0; 2];
                let mut parties = sealed.parties.clone();
                if piece.id != primary {
                    parties.local = parties.local.peer();
                }
                let fresh = Box::new(Conversation::new(parties, whole, piece.time));
                if let Some(before) = sealed.inside.replace(fresh) {
                    self.memory = self.memory.saturating_sub(before.memory());
                    counter.close(before, piece.time);
                }
            }
        }
        let Some(inside) = &mut sealed.inside else { return };
        sealed.weight.plain(piece.outbound, piece.offset, piece.length);
        let held = inside.memory();
        inside.push(piece, counter.records);
        counter.count(inside);
        self.memory = (self.memory + inside.memory()).saturating_sub(held);
        self.decisions.extend(inside.verdict().map(|verdict| (piece.id, verdict)));
    }

    /// Bytes have passed, encrypted: what TLS adds to its plaintext, where that is told.
    pub(super) fn passed(&mut self, id: u64, bytes: u64) {
        let primary = self.primary(id);
        let Some(sealed) = self.sealed.get_mut(&primary) else { return };
        let end = usize::from(id != primary);
        let Some(book) = sealed.parties.books().nth(end) else { return };
        let more = if sealed.source.is_some() {
            sealed.weight.pass(end, bytes)
        } else {
            Covered { encrypted: bytes, ..Covered::default() }
        };
        Books::cover(book, more);
    }

    /// Nothing more is wanted of what a connection carries.
    pub(super) fn give_up(&mut self, id: u64, time: u64, counter: &mut Counter<'_>) {
        let primary = self.primary(id);
        let inside = self.sealed.get_mut(&primary).and_then(|sealed| sealed.inside.take());
        if let Some(inside) = inside {
            self.memory = self.memory.saturating_sub(inside.memory());
            counter.close(inside, time);
            self.decisions.push((id, Verdict::Nothing));
        }
    }

    /// A connection is gone. Its other end may still tell what it read.
    pub(super) fn close(&mut self, id: u64, time: u64, counter: &mut Counter<'_>) {
        let primary = self.primary(id);
        let Some(sealed) = self.sealed.get(&primary) else { return };
        if sealed.source.is_none_or(|(source, _)| source == id) {
            self.remove(primary, time, counter);
        }
    }

    fn remove(&mut self, primary: u64, time: u64, counter: &mut Counter<'_>) {
        let Some(sealed) = self.sealed.remove(&primary) else { return };
        if let Some(twin) = sealed.parties.twin() {
            self.aliases.remove(&twin);
        }
        if let Some(inside) = sealed.inside {
            self.memory = self.memory.saturating_sub(inside.memory());
            counter.close(inside, time);
        }
    }

    /// Stops waiting for what is overdue, tells coverage, and forgets what has been
    /// silent for longer than `idle` nanoseconds.
    pub(super) fn tick(&mut self, now: u64, idle: u64, counter: &mut Counter<'_>) {
        let mut silent = Vec::new();
        for (id, sealed) in &mut self.sealed {
            if sealed.last > 0 && now.saturating_sub(sealed.last) > idle {
                silent.push(*id);
            }
            if let Some(inside) = &mut sealed.inside {
                inside.tick(now, counter.records);
                counter.count(inside);
                Counter::cover(inside);
            }
        }
        for id in silent {
            self.remove(id, now, counter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tls_adds_is_understood_and_what_it_cannot_have_added_is_not() {
        let mut weight = Weight::default();
        weight.plain(true, 0, 100);
        weight.plain(false, 0, 1_000);
        let told = weight.pass(0, 1_100 + 58 + 510);
        assert_eq!((told.parsed, told.encrypted), (568, 0), "two records' own, and a ticket");
        // A file that the kernel has encrypted and sent: nobody was shown it.
        let told = weight.pass(0, 1_000_000);
        let most = TICKETS + 1_100;
        assert_eq!((told.parsed, told.encrypted), (most - 568, 1_000_568 - most));
        let told = weight.pass(1, 1_100);
        assert_eq!((told.parsed, told.encrypted), (0, 0), "the other end is weighed by itself");
    }
}
