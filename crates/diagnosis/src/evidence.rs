use crate::traced::Traced;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use taproot_model::{Entity, MetricKind, Name, Span};
use taproot_world::{
    EdgeKey, FlowTotals, Happenings, Observer, RequestKey, RequestTotals, Series, SeriesKey, World,
};

/// An edge of the call graph as the engine walks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What tells it apart.
    pub key: EdgeKey,
    /// Calling service.
    pub client: Name,
    /// Called service.
    pub server: Name,
    /// The address that the client dials, if known.
    pub address: Option<SocketAddr>,
    /// Whether the calling end was observed.
    pub client_seen: bool,
    /// Whether the called end was observed.
    pub server_seen: bool,
}

/// All that the engine ever asks. Live data, a recording and a benchmark's data
/// set can each answer; what one of them lacks it leaves empty, and the report
/// says so. Times outside [`Evidence::span`] are answered with nothing.
pub trait Evidence {
    /// The time covered.
    fn span(&self) -> Span;
    /// The finest step that means anything.
    fn resolution(&self) -> Duration;
    /// Everyone known.
    fn entities(&self) -> Vec<Entity>;
    /// Who calls whom.
    fn links(&self) -> Vec<Link>;
    /// Transport totals of an edge.
    fn flow(&self, edge: &EdgeKey, observer: Observer, span: Span) -> FlowTotals;
    /// Requests of an edge by method, route and status.
    fn requests(
        &self,
        edge: &EdgeKey,
        observer: Observer,
        span: Span,
    ) -> BTreeMap<RequestKey, RequestTotals>;
    /// Which resource series an entity has.
    fn metric_keys(&self, entity: &str) -> Vec<(SeriesKey, MetricKind)>;
    /// One of them.
    fn metric(&self, entity: &str, key: &SeriesKey, span: Span) -> Option<Series>;
    /// What happened.
    fn happenings(&self, span: Span) -> Happenings;
    /// What the evidence itself had to drop, by reason.
    fn dropped(&self) -> BTreeMap<Name, u64>;
    /// What traces of packets found, where some were made.
    fn traces(&self) -> Vec<Traced> {
        Vec::new()
    }
}

impl Evidence for World {
    fn span(&self) -> Span {
        Self::span(self)
    }

    fn resolution(&self) -> Duration {
        Self::resolution(self)
    }

    fn entities(&self) -> Vec<Entity> {
        Self::entities(self).cloned().collect()
    }

    fn links(&self) -> Vec<Link> {
        let link = |e: taproot_world::EdgeInfo<'_>| Link {
            key: e.key.clone(),
            client: self.service_of(e.client),
            server: self.service_of(e.server),
            address: Some(e.via().next().copied().unwrap_or(e.server.addr)),
            client_seen: e.seen_by(Observer::Client),
            server_seen: e.seen_by(Observer::Server),
        };
        self.edges().map(link).collect()
    }

    fn flow(&self, edge: &EdgeKey, observer: Observer, span: Span) -> FlowTotals {
        Self::flow(self, edge, observer, span)
    }

    fn requests(
        &self,
        edge: &EdgeKey,
        observer: Observer,
        span: Span,
    ) -> BTreeMap<RequestKey, RequestTotals> {
        Self::requests(self, edge, observer, span)
    }

    fn metric_keys(&self, entity: &str) -> Vec<(SeriesKey, MetricKind)> {
        Self::metric_keys(self, entity).map(|(key, kind)| (key.clone(), kind)).collect()
    }

    fn metric(&self, entity: &str, key: &SeriesKey, span: Span) -> Option<Series> {
        Self::metric(self, entity, key, span)
    }

    fn happenings(&self, span: Span) -> Happenings {
        Self::happenings(self, span)
    }

    fn dropped(&self) -> BTreeMap<Name, u64> {
        self.evicted().by_reason.iter().map(|(reason, n)| (Name::from(reason), *n)).collect()
    }
}
