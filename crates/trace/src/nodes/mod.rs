//! Traces of several nodes as one: a packet's path goes on where another node saw it.
//!
//! Nothing is written into packets: what tells a packet from all others on one node
//! (addresses, identification, sequence numbers; inside of a tunnel those of the packet
//! within) tells it on the next one as well. Nodes' clocks differ, so the hops are put in
//! order by causality: [`clock`] finds the difference of two clocks for which no packet
//! arrives before it was sent.

mod clock;
mod sighting;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use taproot_model::{Blame, Name, Step, Timestamp};
use taproot_probes::trace::{Account, Event};

use crate::judge::Oracle;
use crate::names::Names;
use crate::path::{Path, Trace};
use crate::record::Recording;
use clock::Difference;
pub use clock::{Basis, Clock};

/// Recorded traces of several nodes, put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    trace: Trace,
    clocks: Vec<Clock>,
    places: BTreeMap<u32, String>,
    addresses: BTreeMap<SocketAddr, String>,
    faults: Vec<Fault>,
}

/// What a node knew of a packet's end.
#[derive(Clone, Debug, PartialEq)]
struct Fault {
    at: Timestamp,
    skb: u64,
    shape: Shape,
    blame: Blame,
}

/// What ends of packets for one cause have in common: namespace, device, how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape(Option<u32>, Name, Name, Name);

impl Shape {
    fn of(event: &Event) -> Self {
        let (reason, function) = match &event.hop.step {
            Step::Dropped(drop) => (drop.reason.clone(), drop.function.clone()),
            _ => (event.hop.hook.clone(), Name::default()),
        };
        Self(event.hop.place.netns, event.hop.place.device.clone(), reason, function)
    }
}

impl Joined {
    /// Puts the recordings of nodes together, each under the name that its hops will
    /// carry. The first one's clock is the one that counts.
    pub fn of(nodes: Vec<(String, Recording)>) -> Self {
        let differences = differences(&nodes);
        let mut out = Self {
            trace: Trace::default(),
            clocks: clocks(&nodes, &differences),
            places: BTreeMap::new(),
            addresses: BTreeMap::new(),
            faults: Vec::new(),
        };
        let mut events = Vec::new();
        let mut account = Account::default();
        let mut taken = BTreeSet::new();
        for (index, ((node, recording), difference)) in
            nodes.into_iter().zip(differences).enumerate()
        {
            let namespaces = numbers(&recording.events, &mut taken);
            let own = Own { index, node: Name::from(&node), difference, namespaces };
            add(&mut account, &recording.account);
            out.learn(&own, &recording);
            events.extend(recording.events.into_iter().map(|event| own.event(event)));
        }
        out.trace = Trace::assemble(events, account);
        out
    }

    /// All packets' paths, over all nodes.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What is known of each node's clock, in the order of the nodes.
    pub fn clocks(&self) -> &[Clock] {
        &self.clocks
    }

    /// Takes over who is who on a node, and what is at fault there.
    fn learn(&mut self, own: &Own, recording: &Recording) {
        for (inode, number) in &own.namespaces {
            let name = match recording.places.get(inode) {
                // A pod or node is called so everywhere.
                Some(name) if name.starts_with("pod ") || name.starts_with("node ") => name.clone(),
                Some(name) => format!("{name} on {}", own.node),
                None => format!("netns {inode} on {}", own.node),
            };
            self.places.insert(*number, name);
        }
        for (address, name) in &recording.addresses {
            self.addresses.entry(*address).or_insert_with(|| name.clone());
        }
        for fault in &recording.faults {
            let is_it = |event: &&Event| event.hop.at == fault.at && event.hop.id.skb == fault.skb;
            let Some(event) = recording.events.iter().find(is_it) else { continue };
            let event = own.event(event.clone());
            self.faults.push(Fault {
                at: event.hop.at,
                skb: event.hop.id.skb,
                shape: Shape::of(&event),
                blame: fault.blame.clone(),
            });
        }
    }
}

impl Names for Joined {
    fn place(&self, netns: u32) -> Option<String> {
        self.places.get(&netns).cloned()
    }

    fn address(&self, address: SocketAddr) -> Option<String> {
        self.addresses.get(&address).cloned()
    }
}

impl Oracle for Joined {
    /// What the node where it ended said of this very packet, or of another one that
    /// ended there for the same reason.
    fn blame(&self, _: &Path, at: &Event) -> Option<Blame> {
        let is_it = |fault: &&Fault| fault.at == at.hop.at && fault.skb == at.hop.id.skb;
        let alike = |fault: &&Fault| fault.shape == Shape::of(at);
        let found = self.faults.iter().find(is_it);
        found.or_else(|| self.faults.iter().find(alike)).map(|fault| fault.blame.clone())
    }
}

/// What makes a node's hops unlike those of others.
struct Own {
    index: usize,
    node: Name,
    difference: Difference,
    namespaces: BTreeMap<u32, u32>,
}

impl Own {
    fn event(&self, mut event: Event) -> Event {
        let hop = &mut event.hop;
        hop.at = self.difference.corrected(hop.at);
        hop.node = self.node.clone();
        hop.place.netns = hop.place.netns.map(|inode| self.namespaces[&inode]);
        hop.id.skb = self.tagged(hop.id.skb);
        hop.id.head = self.tagged(hop.id.head);
        if let Some(socket) = &mut hop.socket {
            socket.cookie = self.tagged(socket.cookie);
        }
        event
    }

    /// Kernels hand out the same addresses and numbers; the upper bits, which are the
    /// same in all of them, tell the node.
    fn tagged(&self, number: u64) -> u64 {
        if number == 0 { 0 } else { number ^ ((self.index as u64) << 56) }
    }
}

/// A number for each namespace of a node: its inode, or where another node has that
/// inode as well, one that nobody has.
fn numbers(events: &[Event], taken: &mut BTreeSet<u32>) -> BTreeMap<u32, u32> {
    let own: BTreeSet<u32> = events.iter().filter_map(|event| event.hop.place.netns).collect();
    let mut free = (0..=u32::MAX).rev();
    let mut out = BTreeMap::new();
    for inode in &own {
        let is_free = |number: &u32| !taken.contains(number) && !own.contains(number);
        let number = if taken.contains(inode) { free.find(is_free) } else { Some(*inode) };
        out.insert(*inode, number.unwrap_or(*inode));
    }
    taken.extend(out.values());
    out
}

fn add(sum: &mut Account, of: &Account) {
    sum.produced += of.produced;
    sum.delivered += of.delivered;
    sum.ring_full += of.ring_full;
    sum.over_budget += of.over_budget;
    sum.legs_full += of.legs_full;
    sum.interrupted += of.interrupted;
    sum.over = match (sum.over, of.over) {
        (Some((from, to)), Some((first, last))) => Some((from.min(first), to.max(last))),
        (known, other) => known.or(other),
    };
    let earlier = |a: Option<Timestamp>, b: Option<Timestamp>| a.into_iter().chain(b).min();
    sum.every_until = earlier(sum.every_until, of.every_until);
    sum.functions_until = earlier(sum.functions_until, of.functions_until);
}

/// How each node's clock differs from the first one's: by packets that both saw, or by
/// way of a node whose difference is known.
fn differences(nodes: &[(String, Recording)]) -> Vec<Difference> {
    let seen: Vec<sighting::Seen> =
        nodes.iter().map(|(_, recording)| sighting::seen(&recording.trace())).collect();
    let mut known: Vec<Option<Difference>> = vec![None; nodes.len()];
    if let Some(first) = known.first_mut() {
        *first = Some(Difference::none());
    }
    loop {
        let pairs = (0..nodes.len()).filter(|at| known[*at].is_none()).flat_map(|there| {
            let from = (0..nodes.len()).filter_map(|here| Some((here, known[here].as_ref()?)));
            from.map(|(here, of)| (there, sighting::bounds(&seen[here], of, &seen[there])))
                .collect::<Vec<_>>()
        });
        let found = pairs.filter_map(|(at, bounds)| Some((at, Difference::within(&bounds)?)));
        let Some((at, best)) = found.max_by_key(|(_, found)| found.worth()) else { break };
        known[at] = Some(best);
    }
    known.into_iter().map(|found| found.unwrap_or_else(Difference::unknown)).collect()
}

fn clocks(nodes: &[(String, Recording)], differences: &[Difference]) -> Vec<Clock> {
    nodes.iter().zip(differences).map(|((node, _), found)| found.clock(node)).collect()
}

#[cfg(test)]
mod tests;
