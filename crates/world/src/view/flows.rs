use super::SCHEMA_VERSION;
use crate::{Observer, World};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use taproot_model::{Endpoint, Name, Span, Transport};

/// Connections summed per pair of instances: `taproot flows -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flows {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The time summed over.
    pub span: Span,
    /// One row a pair and port, most bytes first.
    pub flows: Vec<FlowRow>,
}

/// One pair of instances and a port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowRow {
    /// The calling end.
    pub client: Endpoint,
    /// The called end.
    pub server: Endpoint,
    /// Addresses the client dialled instead (a `ClusterIP`).
    pub via: Vec<SocketAddr>,
    /// TCP or UDP.
    pub transport: Transport,
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
    /// Of these, while connecting.
    pub syn_retransmits: u64,
    /// Connections established.
    pub connects: u64,
    /// Failed attempts by errno name.
    pub failed_connects: BTreeMap<Name, u64>,
    /// Resets sent by the client.
    pub client_resets: u64,
    /// Resets sent by the server.
    pub server_resets: u64,
    /// Connections dropped because the accept queue was full.
    pub listen_overflows: u64,
    /// Connections open at the end of the span.
    pub open: u64,
    /// Dropped packets by the kernel's reason.
    pub drops: BTreeMap<Name, u64>,
    /// Median round-trip time, seconds.
    pub rtt_p50: Option<f64>,
    /// Median time to connect, seconds.
    pub connect_p50: Option<f64>,
}

impl Flows {
    /// Flows with any traffic or trouble within `span`.
    pub fn of(world: &World, span: Span) -> Self {
        let mut flows: Vec<_> = world.edges().filter_map(|e| row(world, &e, span)).collect();
        flows.sort_by_key(|f| std::cmp::Reverse(f.request_bytes + f.response_bytes));
        Self { schema_version: SCHEMA_VERSION, span, flows }
    }
}

fn row(world: &World, edge: &crate::EdgeInfo<'_>, span: Span) -> Option<FlowRow> {
    let t = world.flow(edge.key, Observer::Merged, span);
    if t == crate::FlowTotals::default() {
        return None;
    }
    Some(FlowRow {
        client: world.as_known(edge.client),
        server: world.as_known(edge.server),
        via: edge.via().copied().collect(),
        transport: edge.key.transport,
        request_bytes: t.request_bytes,
        response_bytes: t.response_bytes,
        request_packets: t.request_packets,
        response_packets: t.response_packets,
        retransmits: t.retransmits,
        syn_retransmits: t.syn_retransmits,
        connects: t.connects,
        failed_connects: t.failed_connects,
        client_resets: t.client_resets,
        server_resets: t.server_resets,
        listen_overflows: t.listen_overflows,
        open: t.open,
        drops: t.drops,
        rtt_p50: t.rtt.quantile(0.5).map(|ns| ns / 1e9),
        connect_p50: t.connect_time.quantile(0.5).map(|ns| ns / 1e9),
    })
}
