//! From single hops to the way of each packet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use taproot_model::{Drop, Frame, Hop, Step, Timestamp, Tuple};
use taproot_probes::trace::{Account, Event};

use crate::conversation::Conversations;

/// A route lookup of a system call belongs to the packet that follows it so soon. Its ends
/// are compared as well.
const LOOKUP_TO_PACKET: Duration = Duration::from_millis(50);
/// The same where one thread did both: what it sends next is what it looked up, however
/// long it had to wait for a CPU between the two.
const WITHIN_THREAD: Duration = Duration::from_secs(2);

/// Flags of the last of joined segments: FIN and PSH.
const LAST_FLAGS: u8 = 0x09;

/// The way of one packet. A packet that TCP sends again has a path of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Number of its conversation within the trace.
    pub conversation: usize,
    /// Its hops in order of time, at least one.
    pub hops: Vec<Event>,
    /// Indexes of hops before which something is missing.
    pub holes: Vec<usize>,
}

/// What belongs to a connection, not to one of its packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// The tuple that its first packet was sent with.
    pub tuple: Tuple,
    /// Indexes of its packets' paths, in order of time.
    pub paths: Vec<usize>,
    /// What its sockets went through, in order of time.
    pub socket: Vec<Event>,
}

/// All that a trace saw, put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Every packet's path, in order of its first hop.
    pub paths: Vec<Path>,
    /// Conversations by number.
    pub conversations: BTreeMap<usize, Conversation>,
    /// What the kernel produced, delivered and lost.
    pub account: Account,
}

/// What tells a packet from the others of its conversation; translation leaves it.
///
/// Where there is an identification, the length says no more, and changes: pieces of a
/// datagram are put together and cut again, devices join segments and split them. The
/// first segment's identification and number stay, its last flags do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Print {
    conversation: usize,
    sequence: u32,
    acknowledgement: u32,
    ip_id: u16,
    length: u16,
    tcp_flags: u8,
    icmp: Option<(u8, u8)>,
    /// What stands in a frame that is not IP, as one number.
    frame: Option<u64>,
}

impl Path {
    /// The first packet hop's tuple: as it was sent, where that was seen.
    pub fn tuple(&self) -> &Tuple {
        let packet = self.hops.iter().find(|event| has_packet(&event.hop));
        &packet.unwrap_or(&self.hops[0]).hop.tuple
    }

    /// The packet itself, where it is not IP.
    pub fn frame(&self) -> Option<&Frame> {
        self.hops.iter().find_map(|event| event.frame.as_ref())
    }

    /// The last hop.
    pub fn last(&self) -> &Event {
        &self.hops[self.hops.len() - 1]
    }

    /// When it began.
    pub fn at(&self) -> Timestamp {
        self.hops[0].hop.at
    }

    /// The hop where it was dropped, and how. None where it was delivered as well:
    /// then a copy was dropped.
    pub fn dropped(&self) -> Option<(usize, &Drop)> {
        if self.hops.iter().any(|event| event.hop.step == Step::Delivered) {
            return None;
        }
        self.hops.iter().enumerate().find_map(|(at, event)| match &event.hop.step {
            Step::Dropped(drop) => Some((at, drop)),
            _ => None,
        })
    }

    /// Whether it was sent by a socket that this trace saw.
    pub fn began_here(&self) -> bool {
        self.hops.iter().any(|event| event.own_socket)
    }

    /// The namespace that its first packet hop was in.
    pub fn source_netns(&self) -> Option<u32> {
        self.hops.iter().find(|event| has_packet(&event.hop)).and_then(|e| e.hop.place.netns)
    }
}

impl Trace {
    /// Puts hops together, in whatever order they come.
    pub fn assemble(mut events: Vec<Event>, account: Account) -> Self {
        events.sort_by_key(|event| event.hop.at);
        let mut conversations = Conversations::default();
        for event in events.iter().filter(|event| has_ends(event)) {
            conversations.learn(event);
        }
        let mut maker = Maker { conversations, ..Maker::default() };
        for event in events {
            maker.take(event);
        }
        maker.finish(account)
    }
}

/// Whether the step is about a packet with all its headers.
fn has_packet(hop: &Hop) -> bool {
    matches!(
        hop.step,
        Step::Received
            | Step::Queued
            | Step::Transmitted
            | Step::Delivered
            | Step::Dropped(_)
            | Step::IcmpSent { .. }
            | Step::ResetSent
            | Step::SocketFull
    )
}

/// Lookups name addresses of their own; what else there is names the conversation's.
fn has_ends(event: &Event) -> bool {
    !matches!(event.hop.step, Step::Routed(_) | Step::Neighbour(_))
}

#[derive(Default)]
struct Maker {
    conversations: Conversations,
    paths: Vec<Path>,
    sockets: BTreeMap<usize, Vec<Event>>,
    by_print: HashMap<Print, usize>,
    by_skb: HashMap<u64, usize>,
    /// Lookups that wait for the packet they were done for.
    lookups: Vec<Event>,
    /// Functions that were called since a packet's last hop, by its address.
    calls: HashMap<u64, Vec<Event>>,
}

impl Maker {
    fn take(&mut self, event: Event) {
        match event.hop.step {
            Step::Routed(_) | Step::Neighbour(_) if event.hop.id.skb != 0 => self.beside(event),
            Step::Routed(_) | Step::Neighbour(_) => self.lookups.push(event),
            Step::SocketState { .. }
            | Step::SocketError(_)
            | Step::Retransmitted
            | Step::ResetReceived => {
                let conversation = self.conversations.of(&event);
                self.sockets.entry(conversation).or_default().push(event);
            }
            // Of a packet in the making, too: its next hop says which one it became.
            Step::Called(_) => self.calls.entry(event.hop.id.skb).or_default().push(event),
            _ => self.packet(event),
        }
    }

    /// The calls since the last hop of the packet at this address. What was called for
    /// another one that was there before goes to that one.
    fn calls_of(&mut self, print: Print, event: &Event) -> Vec<Event> {
        let waiting = self.calls.remove(&event.hop.id.skb).unwrap_or_default();
        let is_at_home = |call: &Event| call.hop.place.netns == event.hop.place.netns;
        let mut mine = Vec::new();
        for call in waiting {
            let same = self.print(&call) == print;
            if same && (is_at_home(&call) || !event.own_socket) {
                mine.push(call);
            } else {
                self.call_of_another(call);
            }
        }
        mine
    }

    /// A call that no later hop follows.
    fn call_of_another(&mut self, call: Event) {
        let print = self.print(&call);
        let conversation = print.conversation;
        let next = self.paths.len();
        let at = *self.by_print.entry(print).or_insert(next);
        if at == next {
            self.paths.push(Path { conversation, hops: Vec::new(), holes: Vec::new() });
        }
        self.paths[at].hops.push(call);
    }

    /// A lookup for the packet that the CPU was busy with.
    fn beside(&mut self, event: Event) {
        match self.by_skb.get(&event.hop.id.skb) {
            Some(&at) => self.paths[at].hops.push(event),
            None => self.lookups.push(event),
        }
    }

    fn packet(&mut self, event: Event) {
        let print = self.print(&event);
        let skb = event.hop.id.skb;
        let calls = self.calls_of(print, &event);
        let known = self.by_print.get(&print).copied().filter(|at| !self.repeats(*at, &event));
        let at = if let Some(at) = known {
            at
        } else {
            let hops = self.lookups_of(&event);
            let path = Path { conversation: print.conversation, hops, holes: Vec::new() };
            self.paths.push(path);
            self.by_print.insert(print, self.paths.len() - 1);
            self.paths.len() - 1
        };
        self.by_skb.insert(skb, at);
        self.paths[at].hops.extend(calls);
        self.paths[at].hops.push(event);
    }

    fn print(&mut self, event: &Event) -> Print {
        let (tuple, id) = (&event.hop.tuple, &event.hop.id);
        let frame = event.frame.as_ref().map(|frame| {
            let mut hasher = DefaultHasher::new();
            frame.identity().hash(&mut hasher);
            hasher.finish()
        });
        let (length, flags) = match id.ip_id {
            // Some links fill short frames up.
            0 if frame.is_some() => (0, 0),
            0 => (tuple.length, tuple.tcp_flags),
            _ => (0, tuple.tcp_flags & !LAST_FLAGS),
        };
        Print {
            conversation: self.conversations.of(event),
            sequence: id.sequence,
            acknowledgement: id.acknowledgement,
            ip_id: id.ip_id,
            length,
            tcp_flags: flags,
            icmp: tuple.icmp,
            frame,
        }
    }

    /// Whether the path has this very step already: then it is another packet with
    /// the same headers, sent again. A packet that goes in a circle has fewer hops left.
    fn repeats(&self, at: usize, event: &Event) -> bool {
        if event.hop.step == Step::Delivered {
            return false;
        }
        let hops = &self.paths[at].hops;
        // A packet leaves its socket once: what the path begins with may be the rest
        // of an earlier one, whose first hops came before the trace.
        let been_elsewhere = |known: &Event| {
            has_packet(&known.hop) && known.hop.place.netns != event.hop.place.netns
        };
        let is_first = event.own_socket && event.fragment.is_none_or(|at| at == 0);
        if is_first && event.hop.step == Step::Queued && hops.iter().any(been_elsewhere) {
            return true;
        }
        // Pieces of one datagram follow each other.
        hops.iter().filter(|known| known.fragment == event.fragment).any(|known| {
            let (known, new) = (&known.hop, &event.hop);
            std::mem::discriminant(&known.step) == std::mem::discriminant(&new.step)
                && known.place == new.place
                && known.tuple.ttl == new.tuple.ttl
        })
    }

    /// The lookups that a system call did for this packet, if it is its first hop.
    fn lookups_of(&mut self, event: &Event) -> Vec<Event> {
        if !event.own_socket {
            return Vec::new();
        }
        let (at, netns) = (event.hop.at, event.hop.place.netns);
        let to = event.hop.tuple.destination.ip();
        // Before a port is chosen, and where rules need none, the lookup has none.
        let fits =
            |known: SocketAddr, own: SocketAddr| known.port() == 0 || known.port() == own.port();
        let patience = |lookup: &Event| {
            let same = lookup.thread != 0 && lookup.thread == event.thread;
            if same { WITHIN_THREAD } else { LOOKUP_TO_PACKET }
        };
        let mine = |lookup: &Event| {
            let (known, own) = (&lookup.hop.tuple, &event.hop.tuple);
            lookup.hop.place.netns == netns
                && looked_up(&lookup.hop) == Some(to)
                && fits(known.source, own.source)
                && fits(known.destination, own.destination)
                && at.since(lookup.hop.at) < patience(lookup)
        };
        let (mine, others) = std::mem::take(&mut self.lookups).into_iter().partition(mine);
        self.lookups = others;
        mine
    }

    fn finish(mut self, account: Account) -> Trace {
        let mut left: Vec<Event> =
            std::mem::take(&mut self.calls).into_values().flatten().collect();
        // The same events make the same paths, in whatever order a table gives them out.
        left.sort_by_key(|call| call.hop.at);
        for call in left {
            self.call_of_another(call);
        }
        // A lookup that failed, and no packet came of it.
        for lookup in std::mem::take(&mut self.lookups) {
            if matches!(&lookup.hop.step, Step::Routed(route) if route.error != 0) {
                let conversation = self.conversations.of(&lookup);
                let path = Path { conversation, hops: vec![lookup], holes: Vec::new() };
                self.paths.push(path);
            }
        }
        for path in &mut self.paths {
            path.hops.sort_by_key(|event| event.hop.at);
            let is_copied = path.frame().is_some_and(Frame::is_for_many);
            path.holes = if is_copied { unexplained(&path.hops) } else { holes(&path.hops) };
        }
        self.paths.sort_by_key(Path::at);
        let mut conversations: BTreeMap<usize, Conversation> = BTreeMap::new();
        for (at, path) in self.paths.iter().enumerate() {
            let entry = conversations.entry(path.conversation).or_insert_with(|| Conversation {
                tuple: path.tuple().clone(),
                paths: Vec::new(),
                socket: self.sockets.remove(&path.conversation).unwrap_or_default(),
            });
            entry.paths.push(at);
        }
        Trace { paths: self.paths, conversations, account }
    }
}

/// The destination of a route lookup.
fn looked_up(hop: &Hop) -> Option<IpAddr> {
    match &hop.step {
        Step::Routed(route) => Some(route.destination),
        _ => None,
    }
}

/// Where the path jumps: a packet that is in another namespace than before without
/// having been received there from a device, or received without having been sent.
fn holes(hops: &[Event]) -> Vec<usize> {
    let packets: Vec<(usize, &Hop)> = hops
        .iter()
        .enumerate()
        .filter(|(_, event)| has_packet(&event.hop))
        .map(|(at, event)| (at, &event.hop))
        .collect();
    packets
        .windows(2)
        .filter(|pair| {
            let (before, after) = (pair[0].1, pair[1].1);
            let moved = before.place.netns.is_some()
                && after.place.netns.is_some()
                && before.place.netns != after.place.netns;
            let sent = matches!(before.step, Step::Queued | Step::Transmitted);
            moved && !(sent && after.step == Step::Received)
        })
        .map(|pair| pair[1].0)
        .collect()
}

/// The same where a bridge sends copies to many: they go side by side, so that the hop
/// before is another's. A namespace that it gets to without having been sent that often.
fn unexplained(hops: &[Event]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut been = BTreeSet::new();
    let mut under_way = 0usize;
    for (at, event) in hops.iter().enumerate().filter(|(_, event)| has_packet(&event.hop)) {
        let Some(netns) = event.hop.place.netns else { continue };
        let is_first = been.is_empty();
        if been.insert(netns) && !is_first {
            let arrives = event.hop.step == Step::Received && under_way > 0;
            if !arrives {
                found.push(at);
            }
            under_way = under_way.saturating_sub(1);
        }
        under_way += usize::from(event.hop.step == Step::Transmitted);
    }
    found
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
