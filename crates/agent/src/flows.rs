//! Transport totals, drops and listening queues as signals.

use std::collections::{BTreeMap, HashMap};

use taproot_model::{
    Edge, Endpoint, Flow, Histogram, Metric, MetricKind, Name, Role, Signal, Timestamp, Transport,
    metric,
};
use taproot_probes::flow::{Batch, DropDelta, EdgeDelta, EdgeKey, ListenerDelta};

use crate::clock::Clock;
use crate::names::{Names, Seen};

/// Edges remembered at most; beyond, all are named afresh.
const REMEMBERED: usize = 16_384;

/// Who was at the two ends of an edge, by edge and control group, when its last
/// connection was made. A connection keeps its owner, also when its address has
/// passed to another since.
pub(crate) type Remembered = HashMap<(EdgeKey, u64), Edge>;

/// What all flows of one poll have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Poll {
    pub(crate) clock: Clock,
    pub(crate) at: Timestamp,
    pub(crate) interval: u64,
}

/// Turns one poll of the flow collector into signals.
pub(crate) fn signals(
    batch: Batch,
    remembered: &mut Remembered,
    names: &mut Names,
    poll: Poll,
    out: &mut Vec<Signal>,
) {
    let Poll { at, interval, .. } = poll;
    for delta in batch.edges {
        names.resolver.learn_netns(delta.key.netns, u64::from(delta.netns_inode));
        if let Some(flow) = edge(delta, remembered, names, poll, out) {
            out.push(flow);
        }
    }
    for delta in batch.drops {
        if let Some(flow) = dropped(&delta, names, at, interval, out) {
            out.push(flow);
        }
    }
    batch.listeners.iter().for_each(|l| listener(l, names, at, interval, out));
}

/// The edge of a delta as it was named when its last connection was made: within
/// one interval an address may pass from one pod to the next.
fn named(
    delta: &EdgeDelta,
    seen: &Seen,
    remembered: &mut Remembered,
    names: &mut Names,
    poll: Poll,
    out: &mut Vec<Signal>,
) -> Option<Edge> {
    let id = (delta.key, delta.cgroup);
    if delta.key.transport == Transport::Tcp
        && delta.connects == 0
        && let Some(known) = remembered.get(&id)
    {
        return Some(known.clone());
    }
    let connected = (delta.last_connect > 0).then(|| poll.clock.at(delta.last_connect));
    let edge = names.edge(seen, connected.unwrap_or(poll.at), out)?;
    // A stranger may get a name in a moment: ask again then.
    let known = |end: &Endpoint| !end.entity.starts_with("external:");
    if known(&edge.client) && known(&edge.server) {
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(id, edge.clone());
    }
    Some(edge)
}

fn edge(
    delta: EdgeDelta,
    remembered: &mut Remembered,
    names: &mut Names,
    poll: Poll,
    out: &mut Vec<Signal>,
) -> Option<Signal> {
    let key = delta.key;
    let seen = Seen {
        netns: key.netns,
        cgroup: delta.cgroup,
        local: key.local,
        remote: key.remote,
        port: key.port,
        role: key.role,
    };
    let edge = named(&delta, &seen, remembered, names, poll, out)?;
    Some(Signal::Flow(Box::new(Flow {
        at: poll.at,
        interval: poll.interval,
        edge,
        transport: key.transport,
        tx_bytes: delta.tx_bytes,
        rx_bytes: delta.rx_bytes,
        tx_packets: delta.tx_packets,
        rx_packets: delta.rx_packets,
        retransmits: delta.retransmits,
        syn_retransmits: delta.syn_retransmits,
        connects: delta.connects,
        failed_connects: delta.failed_connects,
        resets_sent: delta.resets_sent,
        resets_received: delta.resets_received,
        listen_overflows: 0,
        open: delta.open,
        drops: BTreeMap::new(),
        rtt: delta.rtt,
        connect_time: delta.connect_time,
    })))
}

/// Drops belong to an edge, seen from the end that sent the packet.
fn dropped(
    delta: &DropDelta,
    names: &mut Names,
    at: Timestamp,
    interval: u64,
    out: &mut Vec<Signal>,
) -> Option<Signal> {
    let ends = delta.ends?;
    let seen = Seen {
        netns: delta.netns,
        cgroup: 0,
        local: ends.client,
        remote: ends.server,
        port: ends.port,
        role: Role::Client,
    };
    let edge = names.edge_of_drop(&seen, delta.netns_inode, at, out)?;
    let mut flow = Flow::empty(at, interval, edge, ends.transport);
    flow.rtt = Histogram::default();
    flow.drops.insert(delta.reason.clone(), delta.count);
    Some(Signal::Flow(Box::new(flow)))
}

fn listener(
    delta: &ListenerDelta,
    names: &mut Names,
    at: Timestamp,
    interval: u64,
    out: &mut Vec<Signal>,
) {
    names.resolver.learn_netns(delta.netns, u64::from(delta.netns_inode));
    if delta.overflows == 0 {
        return;
    }
    let Some(owner) = names.inside(delta.cgroup) else { return };
    names.tell(&owner, out);
    out.push(Signal::Metric(Metric {
        at,
        interval,
        entity: owner.id.clone(),
        name: metric::LISTEN_OVERFLOWS.into(),
        attribute: Name::default(),
        kind: MetricKind::Delta,
        value: delta.overflows as f64,
    }));
}
