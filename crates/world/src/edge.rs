use crate::bins::Bins;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use taproot_model::{
    Edge, Endpoint, EntityId, Flow, Histogram, Name, Protocol, Requests, Role, Transport,
};

/// Translated addresses kept for one edge; more say nothing new.
const MAX_VIA: usize = 8;

/// What tells edges apart. Ids are unique per container, so an address that
/// passed from one pod to another makes two edges, not one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EdgeKey {
    /// Who calls.
    pub client: EntityId,
    /// Who is called.
    pub server: EntityId,
    /// The server's port.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
}

impl EdgeKey {
    pub(crate) fn new(edge: &Edge, transport: Transport) -> Self {
        Self {
            client: edge.client.entity.clone(),
            server: edge.server.entity.clone(),
            port: edge.server.addr.port(),
            transport,
        }
    }
}

/// Whose observations of an edge are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Observer {
    /// The calling end.
    Client,
    /// The called end.
    Server,
    /// Both ends as one, nothing counted twice.
    Merged,
}

/// Transport totals of one edge over some time, in the direction of the call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FlowTotals {
    /// Payload bytes client to server.
    pub request_bytes: u64,
    /// Payload bytes server to client.
    pub response_bytes: u64,
    /// Packets client to server.
    pub request_packets: u64,
    /// Packets server to client.
    pub response_packets: u64,
    /// Segments sent again, by either end.
    pub retransmits: u64,
    /// Of these, SYN or SYN-ACK.
    pub syn_retransmits: u64,
    /// Connections established.
    pub connects: u64,
    /// Attempts that failed, by errno name.
    pub failed_connects: BTreeMap<Name, u64>,
    /// Resets sent by the client.
    pub client_resets: u64,
    /// Resets sent by the server.
    pub server_resets: u64,
    /// Connections dropped because the accept queue was full.
    pub listen_overflows: u64,
    /// Connections open at the end.
    pub open: u64,
    /// Packets dropped, by the kernel's reason.
    pub drops: BTreeMap<Name, u64>,
    /// Round-trip times, nanoseconds.
    pub rtt: Histogram,
    /// Times from SYN to established, nanoseconds.
    pub connect_time: Histogram,
}

fn add_counts(into: &mut BTreeMap<Name, u64>, from: &BTreeMap<Name, u64>) {
    for (name, n) in from {
        *into.entry(name.clone()).or_default() += n;
    }
}

fn max_counts(into: &mut BTreeMap<Name, u64>, from: &BTreeMap<Name, u64>) {
    for (name, n) in from {
        let slot = into.entry(name.clone()).or_default();
        *slot = (*slot).max(*n);
    }
}

impl FlowTotals {
    fn add_flow(&mut self, flow: &Flow) {
        // A server sends responses; the client and an end not yet known send requests.
        let (request, response) = if flow.edge.role == Role::Server {
            ((flow.rx_bytes, flow.rx_packets), (flow.tx_bytes, flow.tx_packets))
        } else {
            ((flow.tx_bytes, flow.tx_packets), (flow.rx_bytes, flow.rx_packets))
        };
        let (client, server) = if flow.edge.role == Role::Server {
            (flow.resets_received, flow.resets_sent)
        } else {
            (flow.resets_sent, flow.resets_received)
        };
        self.request_bytes += request.0;
        self.request_packets += request.1;
        self.response_bytes += response.0;
        self.response_packets += response.1;
        self.client_resets += client;
        self.server_resets += server;
        self.retransmits += flow.retransmits;
        self.syn_retransmits += flow.syn_retransmits;
        self.connects += flow.connects;
        self.listen_overflows += flow.listen_overflows;
        self.open = self.open.max(flow.open);
        add_counts(&mut self.failed_connects, &flow.failed_connects);
        add_counts(&mut self.drops, &flow.drops);
        self.rtt.merge(&flow.rtt);
        self.connect_time.merge(&flow.connect_time);
    }

    /// Adds later totals of the same end.
    pub fn then(&mut self, later: &Self) {
        self.request_bytes += later.request_bytes;
        self.response_bytes += later.response_bytes;
        self.request_packets += later.request_packets;
        self.response_packets += later.response_packets;
        self.retransmits += later.retransmits;
        self.syn_retransmits += later.syn_retransmits;
        self.connects += later.connects;
        self.client_resets += later.client_resets;
        self.server_resets += later.server_resets;
        self.listen_overflows += later.listen_overflows;
        self.open = later.open;
        add_counts(&mut self.failed_connects, &later.failed_connects);
        add_counts(&mut self.drops, &later.drops);
        self.rtt.merge(&later.rtt);
        self.connect_time.merge(&later.connect_time);
    }

    /// Joins what the other end saw at the same time: what both count is taken
    /// once (the larger), what each end does alone (sending again) is added.
    pub fn join(&mut self, other: &Self) {
        self.request_bytes = self.request_bytes.max(other.request_bytes);
        self.response_bytes = self.response_bytes.max(other.response_bytes);
        self.request_packets = self.request_packets.max(other.request_packets);
        self.response_packets = self.response_packets.max(other.response_packets);
        self.retransmits += other.retransmits;
        self.syn_retransmits += other.syn_retransmits;
        self.connects = self.connects.max(other.connects);
        self.client_resets = self.client_resets.max(other.client_resets);
        self.server_resets = self.server_resets.max(other.server_resets);
        self.listen_overflows = self.listen_overflows.max(other.listen_overflows);
        self.open = self.open.max(other.open);
        max_counts(&mut self.failed_connects, &other.failed_connects);
        max_counts(&mut self.drops, &other.drops);
        self.rtt.merge(&other.rtt);
        self.connect_time.merge(&other.connect_time);
    }

    /// Attempts that failed, all errnos.
    pub fn failed(&self) -> u64 {
        self.failed_connects.values().sum()
    }

    /// Packets dropped, all reasons.
    pub fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }
}

/// What tells the request series of one edge apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RequestKey {
    /// Protocol.
    pub protocol: Protocol,
    /// Method or operation.
    pub method: Name,
    /// Route template.
    pub route: Name,
    /// Status; 0 with `error` and without `code` means unanswered.
    pub status: u16,
    /// The status where it is a word; else empty.
    pub code: Name,
    /// Whether its observer counts it as an error.
    pub error: bool,
}

impl RequestKey {
    /// No answer came.
    pub fn unanswered(&self) -> bool {
        self.status == 0 && self.error && self.code.is_empty()
    }

    /// The service failed the request: no answer, or an answer that blames the
    /// server. A 4xx blames the client and is no failure of the service.
    pub fn failed(&self) -> bool {
        self.error && !(self.protocol.has_http_status() && (400..500).contains(&self.status))
    }
}

/// Request totals over some time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestTotals {
    /// How many.
    pub count: u64,
    /// Request bytes.
    pub request_bytes: u64,
    /// Response bytes.
    pub response_bytes: u64,
    /// First byte of the request to last byte of the response, nanoseconds.
    pub latency: Histogram,
}

impl RequestTotals {
    /// Adds other totals.
    pub fn then(&mut self, later: &Self) {
        self.count += later.count;
        self.request_bytes += later.request_bytes;
        self.response_bytes += later.response_bytes;
        self.latency.merge(&later.latency);
    }
}

/// Observations of one edge by one of its ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    pub(crate) flow: Bins<FlowTotals>,
    pub(crate) requests: BTreeMap<RequestKey, Bins<RequestTotals>>,
}

impl Side {
    pub(crate) fn is_empty(&self) -> bool {
        self.flow.is_empty() && self.requests.is_empty()
    }

    /// Adds a flow; says whether a bin was made.
    pub(crate) fn add_flow(&mut self, bin: u64, flow: &Flow) -> bool {
        let (cell, new) = self.flow.entry(bin);
        cell.add_flow(flow);
        new
    }

    /// Adds requests; `None` if `max` routes are in use, else whether a bin was made.
    pub(crate) fn add_requests(&mut self, bin: u64, add: &Requests, max: usize) -> Option<bool> {
        let key = RequestKey {
            protocol: add.protocol,
            method: add.method.clone(),
            route: add.route.clone(),
            status: add.status,
            code: add.code.clone(),
            error: add.error,
        };
        if self.requests.len() >= max && !self.requests.contains_key(&key) {
            return None;
        }
        let (cell, new) = self.requests.entry(key).or_default().entry(bin);
        cell.count += add.count;
        cell.request_bytes += add.request_bytes;
        cell.response_bytes += add.response_bytes;
        cell.latency.merge(&add.latency);
        Some(new)
    }
}

/// Everything known of one edge. The end not yet known is kept apart and used
/// only where neither other end was seen: it may be either.
#[derive(Clone, Debug)]
pub(crate) struct EdgeData {
    pub(crate) client_end: Endpoint,
    pub(crate) server_end: Endpoint,
    pub(crate) via: BTreeSet<SocketAddr>,
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) unknown: Side,
}

impl EdgeData {
    pub(crate) fn new(edge: &Edge) -> Self {
        Self {
            client_end: edge.client.clone(),
            server_end: edge.server.clone(),
            via: BTreeSet::new(),
            client: Side::default(),
            server: Side::default(),
            unknown: Side::default(),
        }
    }

    pub(crate) fn side(&mut self, edge: &Edge) -> &mut Side {
        if let Some(via) = edge.via
            && self.via.len() < MAX_VIA
        {
            self.via.insert(via);
        }
        match edge.role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
            Role::Unknown => &mut self.unknown,
        }
    }

    pub(crate) fn sides(&self) -> [&Side; 3] {
        [&self.client, &self.server, &self.unknown]
    }

    pub(crate) fn sides_mut(&mut self) -> [&mut Side; 3] {
        [&mut self.client, &mut self.server, &mut self.unknown]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sides().iter().all(|s| s.is_empty())
    }
}
