use super::capture::captures;
use super::golden::Sums;
use super::{Capture, Golden, SCHEMA_VERSION};
use crate::{EdgeInfo, FlowTotals, Observer, World};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use taproot_model::{EntityKind, Name, Span, Transport};

/// The service map: `taproot map -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Map {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The time summed over.
    pub span: Span,
    /// Services, by name.
    pub services: Vec<MapService>,
    /// Edges between services, by names and port.
    pub edges: Vec<MapEdge>,
    /// What the picture had to drop, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapService {
    /// Its name.
    pub service: Name,
    /// What its instances are.
    pub kind: EntityKind,
    /// Instances seen in the window, by name.
    pub instances: Vec<Name>,
    /// Nodes they run on.
    pub nodes: Vec<Name>,
    /// Requests it served.
    pub inbound: Golden,
    /// How much of its traffic was understood.
    pub capture: Capture,
}

/// All connections from one service to another on one port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapEdge {
    /// Calling service.
    pub client: Name,
    /// Called service.
    pub server: Name,
    /// Its port.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
    /// Which ends were observed.
    pub seen_by: Vec<Observer>,
    /// Golden signals.
    pub golden: Golden,
    /// Payload bytes client to server.
    pub request_bytes: u64,
    /// Payload bytes server to client.
    pub response_bytes: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Connection attempts that failed.
    pub failed_connects: u64,
    /// Packets the kernel dropped.
    pub drops: u64,
    /// Median round-trip time, seconds.
    pub rtt_p50: Option<f64>,
}

#[derive(Default)]
struct Service {
    kind: EntityKind,
    instances: BTreeSet<Name>,
    nodes: BTreeSet<Name>,
    inbound: Sums,
    capture: Capture,
}

#[derive(Default)]
struct Link {
    seen_by: BTreeSet<Observer>,
    sums: Sums,
    flow: FlowTotals,
}

impl Link {
    fn add(&mut self, world: &World, edge: &EdgeInfo<'_>, span: Span) {
        for end in [Observer::Client, Observer::Server] {
            if edge.seen_by(end) {
                self.seen_by.insert(end);
            }
        }
        self.sums.add(world, edge.key, span);
        let open = self.flow.open;
        self.flow.then(&world.flow(edge.key, Observer::Merged, span));
        self.flow.open += open;
    }
}

type LinkKey = (Name, Name, u16, Transport);

impl Map {
    /// The map over `span`. Services are those with an edge or an instance in the window.
    pub fn of(world: &World, span: Span) -> Self {
        let mut services = BTreeMap::<Name, Service>::new();
        let captures = captures(world, span);
        for entity in world.entities().filter(|e| e.kind != EntityKind::Node) {
            let service = services.entry(entity.service.clone()).or_default();
            service.kind = entity.kind;
            service.capture.add(captures.get(&entity.id).unwrap_or(&Capture::default()));
            service.instances.insert(entity.instance().clone());
            if !entity.node.is_empty() {
                service.nodes.insert(entity.node.clone());
            }
        }
        let mut links = BTreeMap::<LinkKey, Link>::new();
        for edge in world.edges() {
            let (client, server) = (world.service_of(edge.client), world.service_of(edge.server));
            services.entry(server.clone()).or_default().inbound.add(world, edge.key, span);
            let key = (client, server, edge.key.port, edge.key.transport);
            links.entry(key).or_default().add(world, &edge, span);
        }
        Self {
            schema_version: SCHEMA_VERSION,
            span,
            services: services.into_iter().map(|(n, s)| s.view(n, span)).collect(),
            edges: links.into_iter().map(|(k, l)| l.view(k, span)).collect(),
            dropped: world.evicted().by_reason.clone(),
        }
    }
}

impl Service {
    fn view(self, service: Name, span: Span) -> MapService {
        MapService {
            service,
            kind: self.kind,
            instances: self.instances.into_iter().collect(),
            nodes: self.nodes.into_iter().collect(),
            inbound: self.inbound.golden(span),
            capture: self.capture.finished(),
        }
    }
}

impl Link {
    fn view(self, (client, server, port, transport): LinkKey, span: Span) -> MapEdge {
        MapEdge {
            client,
            server,
            port,
            transport,
            seen_by: self.seen_by.into_iter().collect(),
            golden: self.sums.golden(span),
            request_bytes: self.flow.request_bytes,
            response_bytes: self.flow.response_bytes,
            retransmits: self.flow.retransmits,
            failed_connects: self.flow.failed(),
            drops: self.flow.dropped(),
            rtt_p50: self.flow.rtt.quantile(0.5).map(|ns| ns / 1e9),
        }
    }
}
