//! What came since the last look, out of the kernel's running totals.

use std::collections::BTreeMap;
use std::net::IpAddr;

use taproot_model::{Histogram, Name, Transport};

use super::raw::EdgeKey;
use super::skeleton::types::{flow_edge, flow_packets, flow_report};

/// First histogram bucket that the kernel keeps (`FLOW_BUCKET_FIRST`).
const BUCKET_FIRST: u16 = 80;

/// What one edge did since the last poll. All counts are deltas but `open`.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeDelta {
    /// Which edge.
    pub key: EdgeKey,
    /// Inode of the network namespace.
    pub netns_inode: u32,
    /// Control group (v2) that made the socket.
    pub cgroup: u64,
    /// Payload bytes sent, each once.
    pub tx_bytes: u64,
    /// Payload bytes received.
    pub rx_bytes: u64,
    /// Packets handed to the first device (`net_dev_queue`).
    pub tx_packets: u64,
    /// Packets received from the last device (`netif_receive_skb`).
    pub rx_packets: u64,
    /// Whether `rx_packets` are the sockets' own segment counts, because addresses
    /// are translated between device and socket.
    pub rx_by_socket: bool,
    /// Segments sent again.
    pub retransmits: u64,
    /// Of these, SYN or SYN-ACK.
    pub syn_retransmits: u64,
    /// Connections established.
    pub connects: u64,
    /// When the last of all connections was established, monotonic nanoseconds; 0
    /// when all were there before the collector.
    pub last_connect: u64,
    /// Failed attempts by errno name. `ECANCELED` stands for an attempt that the
    /// program gave up before an answer came.
    pub failed_connects: BTreeMap<Name, u64>,
    /// Resets sent.
    pub resets_sent: u64,
    /// Resets received.
    pub resets_received: u64,
    /// Connections open now.
    pub open: u64,
    /// Smoothed round-trip times, nanoseconds: one a live connection and poll, and
    /// one at its end.
    pub rtt: Histogram,
    /// SYN to established, nanoseconds (client).
    pub connect_time: Histogram,
}

/// Packets that the kernel dropped since the last poll, of one edge and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropDelta {
    /// Cookie of the namespace where they died; 0 where unknown.
    pub netns: u64,
    /// Its inode; 0 where unknown.
    pub netns_inode: u32,
    /// Whose packets; `None` where the headers could not be read or were not TCP or UDP.
    pub ends: Option<DropEnds>,
    /// The kernel's reason (`NETFILTER_DROP`). `NOT_SPECIFIED` is often harmless.
    pub reason: Name,
    /// How many.
    pub count: u64,
    /// Kernel address of the code that dropped the last one.
    pub location: u64,
}

/// The edge of dropped packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropEnds {
    /// Client address.
    pub client: IpAddr,
    /// Server address.
    pub server: IpAddr,
    /// The server's port.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
    /// Whether they were on their way to the server.
    pub to_server: bool,
}

/// A listening TCP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerDelta {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Inode of its network namespace.
    pub netns_inode: u32,
    /// Control group (v2) that made the socket.
    pub cgroup: u64,
    /// Port.
    pub port: u16,
    /// Connections that it dropped since the last poll: accept queue full (or no memory).
    pub overflows: u64,
    /// Connections waiting for `accept` now.
    pub backlog: u32,
    /// How many may wait.
    pub backlog_limit: u32,
}

/// Counters as they stood at the last poll.
#[derive(Debug, Default)]
pub(super) struct Seen {
    counters: Counters,
    failures: BTreeMap<u32, u64>,
    rtt: Sparse,
    connect: Sparse,
    /// The poll that last told of it.
    pub(super) told: u32,
    /// Whether no more than a peer's first packet made it.
    pub(super) syn_only: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counters {
    tx_bytes: u64,
    rx_bytes: u64,
    tx_packets: u64,
    rx_packets: u64,
    rx_segments: u64,
    retransmits: u64,
    syn_retransmits: u64,
    connects: u64,
    resets_sent: u64,
    resets_received: u64,
}

#[derive(Debug, Default)]
struct Sparse {
    buckets: Vec<(u16, u32)>,
    sum: u64,
}

impl Seen {
    /// What the edge gained; remembers where it stands now.
    pub(super) fn advance(
        &mut self,
        report: &flow_report,
        failures: Option<&BTreeMap<u32, u64>>,
    ) -> EdgeDelta {
        let edge = &report.edge;
        let now = Counters::of(edge, &report.packets);
        let new = now.since(&self.counters);
        // Translated between device and socket: no packet carries the socket's addresses.
        let rx_by_socket = now.rx_packets == 0 && now.rx_segments > 0;
        self.counters = now;
        EdgeDelta {
            key: EdgeKey::from_raw(&report.key),
            netns_inode: edge.netns_inum,
            cgroup: edge.owner,
            tx_bytes: new.tx_bytes,
            rx_bytes: new.rx_bytes,
            tx_packets: new.tx_packets,
            rx_packets: if rx_by_socket { new.rx_segments } else { new.rx_packets },
            rx_by_socket,
            retransmits: new.retransmits,
            syn_retransmits: new.syn_retransmits,
            connects: new.connects,
            last_connect: edge.connected,
            failed_connects: failures.map_or_else(BTreeMap::new, |f| self.new_failures(f)),
            resets_sent: new.resets_sent,
            resets_received: new.resets_received,
            open: edge.opened.saturating_sub(edge.closed),
            rtt: self.rtt.advance(&edge.rtt, edge.rtt_sum),
            connect_time: self.connect.advance(&edge.connect, edge.connect_sum),
        }
    }

    fn new_failures(&mut self, failures: &BTreeMap<u32, u64>) -> BTreeMap<Name, u64> {
        let mut out = BTreeMap::new();
        for (&error, &count) in failures {
            let seen = self.failures.entry(error).or_default();
            if count > *seen {
                out.insert(failure_name(error), count - *seen);
                *seen = count;
            }
        }
        out
    }
}

fn failure_name(error: u32) -> Name {
    match error {
        0 => Name::from("ECANCELED"),
        _ => crate::pressure::errno_name(error)
            .map_or_else(|| Name::from(format!("errno {error}")), Name::from),
    }
}

impl Counters {
    fn of(edge: &flow_edge, packets: &flow_packets) -> Self {
        Self {
            tx_bytes: edge.tx_bytes + packets.tx_bytes,
            rx_bytes: edge.rx_bytes + packets.rx_bytes,
            tx_packets: edge.tx_packets + packets.tx_packets,
            rx_packets: packets.rx_packets,
            rx_segments: edge.rx_segments,
            retransmits: edge.retransmits,
            syn_retransmits: edge.syn_retransmits,
            connects: edge.connects,
            resets_sent: edge.resets_sent,
            resets_received: edge.resets_received,
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            tx_bytes: self.tx_bytes.saturating_sub(before.tx_bytes),
            rx_bytes: self.rx_bytes.saturating_sub(before.rx_bytes),
            tx_packets: self.tx_packets.saturating_sub(before.tx_packets),
            rx_packets: self.rx_packets.saturating_sub(before.rx_packets),
            rx_segments: self.rx_segments.saturating_sub(before.rx_segments),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
            syn_retransmits: self.syn_retransmits.saturating_sub(before.syn_retransmits),
            connects: self.connects.saturating_sub(before.connects),
            resets_sent: self.resets_sent.saturating_sub(before.resets_sent),
            resets_received: self.resets_received.saturating_sub(before.resets_received),
        }
    }
}

impl Sparse {
    fn advance(&mut self, now: &[u32], sum: u64) -> Histogram {
        let new: Vec<(u16, u32)> =
            (0u16..).zip(now).filter(|(_, n)| **n > 0).map(|(at, n)| (at, *n)).collect();
        let before = std::mem::replace(&mut self.buckets, new);
        let gained = self.buckets.iter().map(|&(at, n)| {
            let had = before.binary_search_by_key(&at, |b| b.0).map_or(0, |i| before[i].1);
            (at + BUCKET_FIRST, u64::from(n.wrapping_sub(had)))
        });
        let out = Histogram::from_buckets(gained, sum.wrapping_sub(self.sum));
        self.sum = sum;
        out
    }
}

impl EdgeDelta {
    /// Whether anything happened, or a connection is open that nothing happens on.
    pub fn is_worth_telling(&self) -> bool {
        self.open > 0 || self.is_active()
    }

    /// Whether anything happened.
    pub fn is_active(&self) -> bool {
        self.tx_packets + self.rx_packets + self.connects + self.resets_sent > 0
            || self.tx_bytes + self.rx_bytes + self.retransmits + self.resets_received > 0
            || !self.failed_connects.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank<T: crate::Pod>() -> T {
        crate::from_bytes(&vec![0; size_of::<T>()]).expect("long enough")
    }

    fn step(seen: &mut Seen, edge: &flow_edge, failures: &BTreeMap<u32, u64>) -> EdgeDelta {
        let report = flow_report { key: blank(), edge: *edge, packets: blank() };
        seen.advance(&report, Some(failures))
    }

    #[test]
    fn only_what_is_new_comes_out() {
        let mut edge: flow_edge = blank();
        let mut seen = Seen::default();
        edge.tx_bytes = 100;
        edge.opened = 2;
        edge.rtt[3] = 4;
        edge.rtt_sum = 9000;
        let first = step(&mut seen, &edge, &BTreeMap::from([(111, 2)]));
        assert_eq!((first.tx_bytes, first.open, first.rtt.count()), (100, 2, 4));
        assert_eq!(first.rtt.buckets(), [(83, 4)]);
        assert_eq!(first.failed_connects, BTreeMap::from([(Name::from("ECONNREFUSED"), 2)]));

        edge.tx_bytes = 130;
        edge.closed = 2;
        edge.rtt[3] = 5;
        edge.rtt_sum = 11_000;
        let second = step(&mut seen, &edge, &BTreeMap::from([(111, 2), (0, 1)]));
        assert_eq!((second.tx_bytes, second.open), (30, 0));
        assert_eq!((second.rtt.count(), second.rtt.sum()), (1, 2000));
        assert_eq!(second.failed_connects, BTreeMap::from([(Name::from("ECANCELED"), 1)]));
        assert!(!step(&mut seen, &edge, &BTreeMap::new()).is_worth_telling());
    }

    #[test]
    fn translated_edges_fall_back_to_the_sockets_count() {
        let mut edge: flow_edge = blank();
        edge.rx_segments = 7;
        let delta = step(&mut Seen::default(), &edge, &BTreeMap::new());
        assert!(delta.rx_by_socket);
        assert_eq!(delta.rx_packets, 7);
    }

    #[test]
    fn what_packets_told_is_added() {
        let mut report = flow_report { key: blank(), edge: blank(), packets: blank() };
        report.edge.tx_packets = 5;
        report.edge.rx_segments = 9;
        report.packets.tx_packets = 2;
        report.packets.rx_packets = 8;
        let delta = Seen::default().advance(&report, None);
        assert_eq!((delta.tx_packets, delta.rx_packets, delta.rx_by_socket), (7, 8, false));
    }
}
