//! Which packets belong together: one conversation under all its tuples.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use taproot_model::{Mac, Tuple};
use taproot_probes::trace::Event;

/// Both ends of a conversation, the same for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    low: SocketAddr,
    high: SocketAddr,
    protocol: u8,
    /// Of what is not IP: its type and, where that has no addresses of its own, the links'.
    frame: Option<(u16, [Option<Mac>; 2])>,
}

impl Ends {
    fn of(tuple: &Tuple) -> Self {
        let (a, b) = (tuple.source, tuple.destination);
        Self { low: a.min(b), high: a.max(b), protocol: tuple.protocol, frame: None }
    }

    fn of_event(event: &Event) -> Self {
        let frame = event.frame.as_ref().map(|frame| {
            let mut links = [frame.source(), frame.destination()]
                .map(|mac| mac.filter(|_| frame.arp().is_none()));
            links.sort_unstable();
            (frame.ether_type, links)
        });
        Self { frame, ..Self::of(&event.hop.tuple) }
    }
}

/// A datagram that goes in pieces: what they have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Datagram {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    ip_id: u16,
}

impl Datagram {
    fn of(event: &Event) -> Self {
        let tuple = &event.hop.tuple;
        Self {
            from: tuple.source.ip(),
            to: tuple.destination.ip(),
            protocol: tuple.protocol,
            ip_id: event.hop.id.ip_id,
        }
    }
}

/// Conversations by number. A translated one has several tuples; conntrack says
/// which are one, and they are merged then, also when the legs came first.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    by_ends: HashMap<Ends, usize>,
    by_cookie: HashMap<u64, usize>,
    /// By the first piece, which is the only one with ports.
    by_datagram: HashMap<Datagram, usize>,
    /// The number that stands for each; its own where it was not merged.
    parent: Vec<usize>,
}

impl Conversations {
    /// Takes in what an event says about tuples that are one.
    pub(crate) fn learn(&mut self, event: &Event) {
        if event.fragment.is_some_and(|at| at > 0) {
            return;
        }
        let this = self.number(Ends::of_event(event));
        if event.translated
            && let (Some(original), Some(reply)) = (&event.hop.original, &event.reply)
        {
            let (original, reply) = (self.number(Ends::of(original)), self.number(Ends::of(reply)));
            self.merge(original, reply);
            self.merge(original, this);
        }
        if event.fragment.is_some() {
            self.by_datagram.insert(Datagram::of(event), this);
        }
        let cookie = event.hop.socket.as_ref().map_or(0, |socket| socket.cookie);
        // A socket that is being closed has lost its port.
        if cookie != 0 && event.hop.tuple.source.port() != 0 {
            self.by_cookie.entry(cookie).or_insert(this);
        }
    }

    /// The conversation of an event.
    pub(crate) fn of(&mut self, event: &Event) -> usize {
        if event.fragment.is_some_and(|at| at > 0)
            && let Some(&known) = self.by_datagram.get(&Datagram::of(event))
        {
            return self.root(known);
        }
        let cookie = event.hop.socket.as_ref().map_or(0, |socket| socket.cookie);
        if event.hop.tuple.source.port() == 0
            && let Some(&known) = self.by_cookie.get(&cookie)
        {
            return self.root(known);
        }
        self.number(Ends::of_event(event))
    }

    fn number(&mut self, ends: Ends) -> usize {
        let next = self.parent.len();
        let number = *self.by_ends.entry(ends).or_insert(next);
        if number == next {
            self.parent.push(next);
        }
        self.root(number)
    }

    fn root(&self, mut number: usize) -> usize {
        while self.parent[number] != number {
            number = self.parent[number];
        }
        number
    }

    fn merge(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}
