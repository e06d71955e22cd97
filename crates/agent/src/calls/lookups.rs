//! DNS over UDP: who asks whom, socket by socket.

use std::net::IpAddr;

use foldhash::HashMap;
use taproot_model::Role;
use taproot_probes::payload::Datagram;
use taproot_protocols::Call;
use taproot_protocols::dns::Datagrams;

use super::tally::{Book, Books};
use crate::names::Seen;

/// Pairs of a socket and a peer remembered at most.
const MOST: usize = 8192;
/// How long one is remembered after its last datagram, nanoseconds.
const IDLE: u64 = 30_000_000_000;

struct Pair {
    datagrams: Datagrams,
    book: Book,
    last: u64,
}

/// Everybody who asks or answers.
#[derive(Default)]
pub(super) struct Lookups {
    pairs: HashMap<(u64, IpAddr, u16), Pair>,
}

/// Whether a header says that this is an answer.
fn is_answer(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

fn end_of(datagram: &Datagram<'_>) -> Seen {
    let asks = is_answer(datagram.bytes) != datagram.outbound;
    let ends = &datagram.ends;
    Seen {
        netns: ends.netns,
        cgroup: ends.cgroup,
        local: ends.local,
        remote: ends.remote,
        port: if asks { ends.remote_port } else { ends.local_port },
        role: if asks { Role::Client } else { Role::Server },
    }
}

impl Lookups {
    /// Takes a datagram; false when there is no room for another pair.
    pub(super) fn push(
        &mut self,
        datagram: &Datagram<'_>,
        books: &mut Books,
        calls: &mut Vec<Call>,
    ) -> bool {
        let id = (datagram.id, datagram.ends.remote, datagram.ends.remote_port);
        if self.pairs.len() >= MOST && !self.pairs.contains_key(&id) {
            return false;
        }
        let pair = self.pairs.entry(id).or_insert_with(|| Pair {
            datagrams: Datagrams::default(),
            book: books.book(end_of(datagram)),
            last: datagram.time,
        });
        pair.last = datagram.time;
        let length = u64::from(datagram.length);
        pair.datagrams.push(datagram.bytes, length, datagram.time, calls);
        calls.drain(..).for_each(|call| books.count(std::iter::once(&pair.book), &call));
        true
    }

    /// Gives up on questions that nobody answered, and on pairs that fell silent.
    pub(super) fn tick(&mut self, now: u64, books: &mut Books, calls: &mut Vec<Call>) {
        self.pairs.retain(|_, pair| {
            pair.datagrams.tick(now, calls);
            let alive = now.saturating_sub(pair.last) < IDLE;
            if !alive {
                pair.datagrams.close(calls);
            }
            calls.drain(..).for_each(|call| books.count(std::iter::once(&pair.book), &call));
            alive
        });
    }
}
